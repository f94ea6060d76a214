//! The dead letters of a namespace: a subject per entry.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_api::cloudevents::{self, Extent, Known, Style, dead_letter_details, dead_letter_from};
use bus_api::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, ErrorKind, Group, Offset,
    Position, Result, Topic,
};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use crate::bus::NatsBus;
use crate::core::Core;
use crate::error::{NAME, invalid_argument, senseless};
use crate::keys::Keys;
use crate::oversize;
use crate::pull::{Pulled, Puller, REST};
use crate::reading::First;
use crate::stored;
use crate::wire::{self, EXPECTED, Place, put};

/// The header that holds everything but the message, in base64.
const DETAILS: &str = "bus-dead-letter";
const WHAT: &str = "reading dead letters";
/// How long a page may take.
const PAGE: Duration = Duration::from_secs(5);

/// An entry as it is stored.
pub(crate) struct Written {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// What is stored before, with its subjects: of an entry that is too large for one message.
    pub(crate) parts: Vec<(String, Bytes)>,
}

/// An entry as it is stored at `subject`, where a message has at most `most` bytes.
pub(crate) fn write(
    keys: &Keys,
    subject: &str,
    entry: &DeadLetter,
    most: usize,
) -> Result<Written> {
    let payload = entry.message.payload.clone();
    let whole = headers(entry)?;
    let mut written = if oversize::fits(&whole, &payload, most) {
        Written {
            headers: whole,
            payload,
            parts: Vec::new(),
        }
    } else {
        let (headers, parts) = oversize::cut(keys, subject, &whole, &payload, most)?;
        Written {
            headers,
            payload: Bytes::new(),
            parts,
        }
    };
    put(&mut written.headers, EXPECTED, "0")?;
    Ok(written)
}

fn headers(entry: &DeadLetter) -> Result<HeaderMap> {
    let mut headers = wire::headers(&entry.message, Extent::Whole)?;
    let details = STANDARD.encode(dead_letter_details(entry));
    put(&mut headers, DETAILS, &details)?;
    Ok(headers)
}

fn read<'a>(
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
    place: &Place,
) -> Result<DeadLetter> {
    let mut details = None;
    let mut others = Vec::new();
    for (name, value) in pairs {
        if name == DETAILS.as_bytes() {
            details = STANDARD.decode(value).ok();
        } else {
            others.push((name, value));
        }
    }
    let details = details.ok_or_else(|| senseless(WHAT))?;
    // The message says its own topic; this one is only for damaged entries.
    let position = Position::new(Arc::from(NAME), Offset(place.sequence, 0), place.stored_at);
    let known = Known::at(&position, Topic::new("unknown")?, NAME);
    let decoded = cloudevents::read(Style::Nats, Extent::Whole, others, payload, &known)?;
    dead_letter_from(&details, Arc::new(decoded.message))
}

impl Core {
    /// Reads an entry, which may be in parts; none when it is being removed.
    async fn dead_entry(
        &self,
        subject: &str,
        pairs: Vec<(&[u8], &[u8])>,
        payload: Bytes,
        place: &Place,
    ) -> Result<Option<DeadLetter>> {
        let Some(parts) = oversize::parts(&pairs) else {
            return read(pairs, payload, place).map(Some);
        };
        let Some((headers, payload)) = oversize::collect(self, subject, &parts).await? else {
            return Ok(None);
        };
        let pairs = headers.iter().map(|(name, value)| (&name[..], &value[..]));
        read(pairs, payload, place).map(Some)
    }

    /// Removes the parts of entries of a group that have some.
    async fn remove_parts(&self, group: &Group, ids: &[DeadLetterId]) -> Result<()> {
        let books = self.keys.books();
        for part in self.subjects(&books, &self.keys.parts(group)).await?.keys() {
            let entry = self.keys.entry_of(part);
            if ids.iter().any(|id| entry == Some(&format!("{group}.{id}"))) {
                self.purge(&books, &json!({"filter": part})).await?;
            }
        }
        Ok(())
    }

    /// Up to `limit` entries of a group after a place, and how many come after them.
    async fn dead_page(
        &self,
        group: &Group,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, Option<DeadLetter>)>, u64)> {
        let stream = self.keys.dead();
        let filter = self.keys.dead_letters(group);
        let info = self
            .reading_consumer(&stream, Some(&filter), First::Message(after + 1), false)
            .await?;
        let wanted = usize::try_from(info.num_pending)
            .unwrap_or(usize::MAX)
            .min(limit);
        let mut found = Vec::with_capacity(wanted);
        if wanted > 0 {
            let mut puller = Puller::new(self, &stream, &info.name, PAGE).await?;
            let deadline = Instant::now() + PAGE;
            puller.top_up(self, wanted, true).await?;
            while found.len() < wanted {
                let next = tokio::time::timeout_at(deadline, puller.next()).await;
                let Ok(Some(message)) = next else {
                    return Err(crate::error::no_answer());
                };
                match puller.judge(message) {
                    Pulled::Message(message) => {
                        let place = message.reply.as_deref().and_then(Place::of);
                        let place = place.ok_or_else(|| senseless(WHAT))?;
                        let pairs = wire::pairs(message.headers.as_ref());
                        let payload = message.payload.clone();
                        let entry = self.dead_entry(&message.subject, pairs, payload, &place);
                        found.push((place.sequence, entry.await?));
                    }
                    // Some went away meanwhile; or the server that we reach has not heard of the consumer yet, which is at
                    // another one, and says that there is none.
                    Pulled::Nothing | Pulled::Gone | Pulled::Rest => {
                        let now = self.consumer_info(&stream, &info.name).await?;
                        let now = now.ok_or_else(crate::error::no_answer)?;
                        if now.num_pending == 0 {
                            break;
                        }
                        tokio::time::sleep(REST * 2).await;
                        puller.top_up(self, wanted - found.len(), true).await?;
                    }
                }
            }
        }
        self.let_consumer_go(&stream, &info.name);
        let rest = info.num_pending.saturating_sub(found.len() as u64);
        Ok((found, rest))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterStore for NatsBus {
    async fn groups(&self) -> Result<Vec<Group>> {
        let core = &self.core;
        core.ready().await?;
        let subjects = core
            .subjects(&core.keys.dead(), &core.keys.all('d'))
            .await?;
        let mut groups: Vec<Group> = subjects
            .keys()
            .filter_map(|subject| Group::new(core.keys.group_of(subject)?).ok())
            .collect();
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        let core = &self.core;
        core.ready().await?;
        core.count(&core.keys.dead(), &core.keys.dead_letters(group))
            .await
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
        core.ready().await?;
        let after = match cursor {
            None => 0,
            Some(cursor) => cursor
                .0
                .parse()
                .map_err(|_| invalid_argument("this cursor was not made by this store"))?,
        };
        let (found, rest) = core.dead_page(group, after, limit).await?;
        let next = found
            .last()
            .filter(|_| rest > 0)
            .map(|(last, _)| Cursor(last.to_string().into()));
        Ok(DeadLetterPage {
            entries: found.into_iter().filter_map(|(_, entry)| entry).collect(),
            next,
        })
    }

    async fn get(&self, group: &Group, wanted: DeadLetterId) -> Result<Option<DeadLetter>> {
        let core = &self.core;
        core.ready().await?;
        let question = json!({"last_by_subj": core.keys.dead_letter(group, wanted)});
        let Some(stored) = core.get(&core.keys.dead(), &question).await? else {
            return Ok(None);
        };
        let place = Place {
            count: 1,
            sequence: stored.seq,
            hand_over: 0,
            stored_at: stored.stored_at(),
        };
        let pairs = stored::headers(&stored.header_block());
        let pairs = pairs.iter().map(|(name, value)| (&name[..], &value[..]));
        core.dead_entry(&stored.subject, pairs.collect(), stored.payload(), &place)
            .await
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        let core = &self.core;
        core.ready().await?;
        let mut removed = 0;
        for ids in ids.chunks(256) {
            let purges = ids.iter().map(async |id| {
                let question = json!({"filter": core.keys.dead_letter(group, *id)});
                core.purge(&core.keys.dead(), &question).await
            });
            for purged in futures_util::future::join_all(purges).await {
                match purged {
                    Ok(count) => removed += count,
                    Err(failed) if failed.kind() == ErrorKind::NotFound => {}
                    Err(failed) => return Err(failed),
                }
            }
        }
        core.remove_parts(group, ids).await?;
        Ok(removed)
    }
}
