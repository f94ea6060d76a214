//! The dead letters of a namespace: a stream per group and root, merged by time.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::cloudevents::{Extent, dead_letter_from};
use bus_api::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Group, Offset, Result, Topic,
};
use redis::{Pipeline, Value};

use crate::bus::RedisBus;
use crate::core::Core;
use crate::error::{invalid_argument, senseless};
use crate::link;
use crate::script::{self, REMOVE};
use crate::settle::DETAILS;
use crate::value::{Fields, Take, entries, id, offset};
use crate::wire;

const WHAT: &str = "reading dead letters";
/// Entries that one command reads, so that large ones do not hold the server up.
const CHUNK: usize = 128;
/// Entries that one call removes.
const REMOVED: usize = 256;

/// The roots of the namespace, as the server knows them.
pub(crate) async fn roots(core: &Core) -> Result<Vec<String>> {
    let command = redis::cmd("SMEMBERS").arg(core.keys.roots()).take();
    let mut roots = Vec::new();
    for root in core.control.run(&command).await?.array(WHAT)? {
        roots.push(root.text(WHAT)?);
    }
    roots.sort_unstable();
    Ok(roots)
}

fn entry(mut fields: Fields, at: Offset) -> Result<DeadLetter> {
    let details = fields
        .iter()
        .position(|(name, _)| name == DETAILS)
        .map(|index| fields.swap_remove(index).1)
        .ok_or_else(|| senseless(WHAT))?;
    // The message says its own topic; this one is only for damaged entries.
    let topic = Topic::new("unknown")?;
    let position = wire::position(&topic, at);
    let decoded = wire::read(&topic, &position, &fields, Extent::Whole)?;
    dead_letter_from(&details, Arc::new(decoded.message))
}

/// Everything behind an entry, for `XRANGE`.
fn after_id(offset: Offset) -> String {
    format!("({}", id(offset))
}

/// A place among the merged streams: id and root.
struct Place {
    offset: Offset,
    root: String,
}

impl Place {
    fn read(cursor: &Cursor) -> Result<Self> {
        let wrong = || invalid_argument("this cursor was not made by this store");
        let (at, root) = cursor.0.split_once('/').ok_or_else(wrong)?;
        Ok(Self {
            offset: offset(at).ok_or_else(wrong)?,
            root: root.to_owned(),
        })
    }

    /// Where reading a root goes on.
    fn from(&self, root: &str) -> String {
        if root > self.root.as_str() {
            id(self.offset)
        } else {
            after_id(self.offset)
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterStore for RedisBus {
    async fn groups(&self) -> Result<Vec<Group>> {
        let core = &self.core;
        let mut groups = BTreeSet::new();
        for root in roots(core).await? {
            let command = redis::cmd("SMEMBERS")
                .arg(core.keys.dead_groups(&root))
                .take();
            for name in core.control.run(&command).await?.array(WHAT)? {
                let Ok(group) = Group::new(name.text(WHAT)?) else {
                    continue;
                };
                let stream = core.keys.dead_letters(&root, &group);
                let command = redis::cmd("XLEN").arg(stream).take();
                if core.control.run(&command).await?.int(WHAT)? > 0 {
                    groups.insert(group);
                }
            }
        }
        Ok(groups.into_iter().collect())
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        let core = &self.core;
        let mut pipeline = Pipeline::new();
        for root in roots(core).await? {
            pipeline
                .cmd("XLEN")
                .arg(core.keys.dead_letters(&root, group));
        }
        let mut count = 0;
        for reply in core.control.run_all(&pipeline).await? {
            count += u64::try_from(link::ok(reply)?.int(WHAT)?).unwrap_or(0);
        }
        Ok(count)
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        if limit == 0 {
            return Err(invalid_argument("a page has at least one entry"));
        }
        let core = &self.core;
        core.usable()?;
        let after = cursor.map(Place::read).transpose()?;
        let roots = roots(core).await?;
        let from = |root: &str| match &after {
            None => "-".to_owned(),
            Some(place) => place.from(root),
        };
        // Roots that may have more, and from where on; those that have, have been read equally far.
        let mut open: Vec<(usize, String)> =
            roots.iter().map(|root| from(root)).enumerate().collect();
        let mut found: Vec<(Offset, usize, Fields)> = Vec::new();
        let mut left = limit.saturating_add(1);
        while left > 0 && !open.is_empty() {
            let count = left.min(CHUNK);
            left -= count;
            let mut pipeline = Pipeline::new();
            for (root, from) in &open {
                let stream = core.keys.dead_letters(&roots[*root], group);
                let range = pipeline.cmd("XRANGE").arg(stream).arg(from).arg("+");
                range.arg("COUNT").arg(count);
            }
            let replies = core.control.run_all(&pipeline).await?;
            let mut read = Vec::with_capacity(open.len());
            for ((root, _), reply) in open.drain(..).zip(replies) {
                let part = entries(link::ok(reply)?, WHAT)?;
                if let Some((last, _)) = part.last()
                    && part.len() == count
                {
                    read.push((*last, root));
                }
                found.extend(part.into_iter().map(|(at, body)| (at, root, body)));
            }
            found.sort_by_key(|(at, root, _)| (*at, *root));
            // What lies behind the entry that says that there are more is not of this page.
            let behind = found.get(limit).map(|(at, root, _)| (*at, *root));
            read.retain(|place| behind.is_none_or(|behind| *place < behind));
            open.extend(read.into_iter().map(|(last, root)| (root, after_id(last))));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(at, root, _)| Cursor(format!("{}/{}", id(*at), roots[*root]).into()));
        let entries: Result<Vec<DeadLetter>> = found
            .into_iter()
            .map(|(at, _, fields)| entry(fields, at))
            .collect();
        Ok(DeadLetterPage {
            entries: entries?,
            next,
        })
    }

    async fn get(&self, group: &Group, wanted: DeadLetterId) -> Result<Option<DeadLetter>> {
        let core = &self.core;
        core.usable()?;
        for root in roots(core).await? {
            let command = redis::cmd("HGET")
                .arg(core.keys.dead_index(&root, group))
                .arg(wanted.to_string())
                .take();
            let at = match core.control.run(&command).await? {
                Value::Nil => continue,
                at => at.text(WHAT)?,
            };
            let command = redis::cmd("XRANGE")
                .arg(core.keys.dead_letters(&root, group))
                .arg(&at)
                .arg(&at)
                .take();
            if let Some((at, fields)) = entries(core.control.run(&command).await?, WHAT)?.pop() {
                return entry(fields, at).map(Some);
            }
        }
        Ok(None)
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        let core = &self.core;
        core.usable()?;
        if ids.is_empty() {
            return Ok(0);
        }
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut pipeline = Pipeline::new();
        for root in roots(core).await? {
            let (stream, index) = (
                core.keys.dead_letters(&root, group),
                core.keys.dead_index(&root, group),
            );
            for names in names.chunks(REMOVED) {
                let mut call = script::call(&REMOVE, [stream.as_str(), index.as_str()]);
                call.arg(names);
                pipeline.add_command(call);
            }
        }
        let mut removed = 0;
        for reply in core.control.run_all(&pipeline).await? {
            removed += u64::try_from(link::ok(reply)?.int(WHAT)?).unwrap_or(0);
        }
        Ok(removed)
    }
}
