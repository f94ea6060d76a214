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
use crate::settle::DETAILS;
use crate::value::{Fields, Take, entries, id, offset};
use crate::wire;

const WHAT: &str = "reading dead letters";
/// Entries that one command reads, so that large ones do not hold the server up.
const CHUNK: usize = 64;

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
            format!("({}", id(self.offset))
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
        let mut found: Vec<(Offset, String, Fields)> = Vec::new();
        for root in roots(core).await? {
            let mut from = after
                .as_ref()
                .map_or_else(|| "-".to_owned(), |place| place.from(&root));
            let mut left = limit.saturating_add(1);
            while left > 0 {
                let count = left.min(CHUNK);
                let command = redis::cmd("XRANGE")
                    .arg(core.keys.dead_letters(&root, group))
                    .arg(&from)
                    .arg("+")
                    .arg("COUNT")
                    .arg(count)
                    .take();
                let part = entries(core.control.run(&command).await?, WHAT)?;
                let read = part.len();
                if let Some((last, _)) = part.last() {
                    from = format!("({}", id(*last));
                }
                found.extend(part.into_iter().map(|(at, body)| (at, root.clone(), body)));
                if read < count {
                    break;
                }
                left -= read;
            }
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(at, root, _)| Cursor(format!("{}/{root}", id(*at)).into()));
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
        let mut removed = 0;
        for root in roots(core).await? {
            let (stream, index) = (
                core.keys.dead_letters(&root, group),
                core.keys.dead_index(&root, group),
            );
            for ids in ids.chunks(256) {
                let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
                let command = redis::cmd("HMGET").arg(&index).arg(&names).take();
                let found = core.control.run(&command).await?.array(WHAT)?;
                let mut places = Vec::new();
                let mut known = Vec::new();
                for (name, place) in names.iter().zip(found) {
                    if !matches!(place, Value::Nil) {
                        places.push(place.text(WHAT)?);
                        known.push(name);
                    }
                }
                if places.is_empty() {
                    continue;
                }
                // The index goes last: an entry without its index could not be named any more.
                let command = redis::cmd("XDEL").arg(&stream).arg(&places).take();
                let gone = core.control.run(&command).await?.int(WHAT)?;
                let command = redis::cmd("HDEL").arg(&index).arg(&known).take();
                core.control.run(&command).await?;
                removed += u64::try_from(gone).unwrap_or(0);
            }
        }
        Ok(removed)
    }
}
