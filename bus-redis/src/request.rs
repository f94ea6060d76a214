//! Asking, and the form of what travels between requesters and responders.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::adapter::Backoff;
use bus_api::cloudevents::Extent;
use bus_api::{ErrorKind, Message, Offset, Pattern, Position, Result, Topic, split_version};
use bytes::Bytes;
use futures_util::StreamExt;
use redis::{Pipeline, Value};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::core::Core;
use crate::endpoint::{self, Channel};
use crate::error::{closed, error, senseless, too_large};
use crate::keys::Keys;
use crate::script::{self, REQUEST};
use crate::value::{Fields, Take, millis};
use crate::{link, wire};

/// The version of what lies in the lists of requests and comes as a reply.
const VERSION: u8 = 1;
/// The field of a request that says where the reply goes.
pub(crate) const REPLY_TO: &str = "bus-reply-to";

/// How often the way of the replies is checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Records of requests and their replies are gone after this time at the latest.
const LONGEST: Duration = Duration::from_secs(600);

/// Packs fields: a version byte, then each item with its length in front.
pub(crate) fn pack(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for item in items {
        let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
        out.extend(length.to_be_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// Unpacks fields.
///
/// # Errors
/// `Unsupported` for a newer version, `Decode` for a damaged record.
pub(crate) fn unpack(record: &Bytes) -> Result<Fields> {
    let damaged = || error(ErrorKind::Decode, "a request or reply is damaged");
    split_version(record, VERSION, "a request or reply")?;
    let mut rest = record.slice(1..);
    let mut items = Vec::new();
    while !rest.is_empty() {
        let length = rest.get(..4).ok_or_else(damaged)?;
        let length: [u8; 4] = length.try_into().map_err(|_| damaged())?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| damaged())?;
        let end = length.checked_add(4).ok_or_else(damaged)?;
        if end > rest.len() {
            return Err(damaged());
        }
        items.push(rest.slice(4..end));
        rest = rest.slice(end..);
    }
    let mut items = items.into_iter();
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        fields.push((name, value));
    }
    Ok(fields)
}

/// Reads a message that was packed whole.
pub(crate) fn message(fields: &Fields) -> Result<Message> {
    let topic = Topic::new("unknown")?;
    let now = bus_api::clock::now();
    let position = Position::new("request".into(), Offset(0, 0), now);
    let decoded = wire::read(&topic, &position, fields, Extent::Whole)?;
    Ok(decoded.message)
}

/// Splits a reply address into its channel and token, when it has the form of this namespace.
pub(crate) fn split_address<'a>(keys: &Keys, address: &'a str) -> Option<(&'a str, &'a str)> {
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let (channel, token) = address.rsplit_once('/')?;
    let inbox = channel.strip_prefix(&keys.inbox_prefix())?;
    (is_id(inbox) && is_id(token)).then_some((channel, token))
}

type Waiting = Mutex<HashMap<String, oneshot::Sender<Bytes>>>;

/// Asks; all requests of a connection share one channel for their replies.
#[derive(Debug)]
pub(crate) struct Requester {
    core: Arc<Core>,
    inbox: String,
    waiting: Arc<Waiting>,
    started: AtomicBool,
    listening: watch::Sender<bool>,
}

impl Requester {
    pub(crate) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            inbox: format!("{}{}", core.keys.inbox_prefix(), Uuid::new_v4().simple()),
            waiting: Arc::default(),
            started: AtomicBool::new(false),
            listening: watch::Sender::new(false),
        })
    }

    pub(crate) async fn request(
        self: &Arc<Self>,
        message: Message,
        deadline: Instant,
    ) -> Result<Message> {
        let most = self.core.config.max_payload;
        if message.payload.len() > most {
            return Err(too_large(message.payload.len(), most));
        }
        let late =
            || error(ErrorKind::Timeout, "no reply came in time").with("topic", &message.topic);
        let asking = self.ask(&message, deadline);
        tokio::select! {
            answer = tokio::time::timeout_at(deadline, asking) => answer.map_err(|_| late())?,
            () = self.core.life.ended() => Err(closed()),
        }
    }

    async fn ask(self: &Arc<Self>, message: &Message, deadline: Instant) -> Result<Message> {
        self.listen().await?;
        let (candidates, until) = self.candidates(&message.topic, deadline).await?;
        let nobody = || {
            error(
                ErrorKind::NoResponders,
                "nobody answers requests of this topic",
            )
            .with("topic", &message.topic)
        };
        if candidates.is_empty() {
            return Err(nobody());
        }
        let token = Uuid::new_v4().simple().to_string();
        let (answer, answered) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), answer);
        let _asked = Asked {
            waiting: &self.waiting,
            token: &token,
        };
        let mut items = vec![
            REPLY_TO.as_bytes().to_vec(),
            format!("{}/{token}", self.inbox).into_bytes(),
        ];
        items.extend(wire::flat(message));
        let responders = self.core.keys.responders();
        let lists: Vec<String> = candidates
            .iter()
            .map(|(queue, _)| self.core.keys.requests(queue))
            .collect();
        let keys = std::iter::once(responders.as_str()).chain(lists.iter().map(String::as_str));
        let mut call = script::call(&REQUEST, keys);
        call.arg(until).arg(pack(&items));
        for (_, member) in &candidates {
            call.arg(member);
        }
        if self.core.control.run(&call).await?.int("asking")? == 0 {
            return Err(nobody());
        }
        let record = answered.await.map_err(|_| closed())?;
        self::message(&unpack(&record)?)
    }

    /// One live responder of each group that takes this topic: the name of its list, and itself. With it the
    /// deadline in milliseconds of the server's clock, never a later one: the answer took its time.
    async fn candidates(
        &self,
        topic: &Topic,
        deadline: Instant,
    ) -> Result<(Vec<(String, String)>, i64)> {
        const WHAT: &str = "looking for responders";
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME").cmd("ZRANGE");
        pipeline.arg(self.core.keys.responders()).arg(0).arg(-1);
        let replies = self.core.control.run_all(&pipeline).await?;
        let Ok([time, members]) = <[Value; 2]>::try_from(replies) else {
            return Err(senseless(WHAT));
        };
        let left = deadline
            .saturating_duration_since(Instant::now())
            .min(LONGEST);
        let until = millis(link::ok(time)?, WHAT)?
            .saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        let mut groups: BTreeMap<String, (String, String)> = BTreeMap::new();
        // In the order of their presence: the last one is the freshest.
        for member in link::ok(members)?.array(WHAT)? {
            let member = member.text(WHAT)?;
            let mut words = member.split(' ');
            let (Some(group), Some(pattern)) = (words.next(), words.next()) else {
                return Err(senseless(WHAT));
            };
            if Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic)) {
                let queue = format!("{group} {pattern}");
                groups.insert(group.to_owned(), (queue, member));
            }
        }
        Ok((groups.into_values().collect(), until))
    }

    /// Listens for replies; starts with the first request.
    async fn listen(self: &Arc<Self>) -> Result<()> {
        if !self.started.swap(true, Ordering::AcqRel) {
            self.core.life.spawn(Arc::clone(self).work());
        }
        let mut listening = self.listening.subscribe();
        listening
            .wait_for(|listening| *listening)
            .await
            .map(drop)
            .map_err(|_| closed())
    }

    async fn work(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        while !self.core.life.is_over() {
            if let Err(error) = self.listen_once(&mut backoff).await {
                tracing::debug!(%error, "replies cannot be heard");
            }
            self.listening.send_replace(false);
            backoff.wait(&self.core.life, None).await;
        }
    }

    async fn listen_once(&self, backoff: &mut Backoff) -> Result<()> {
        let inbox = Channel::Exact(&self.inbox);
        let channel = self.core.endpoint.listen(inbox).await?;
        backoff.reset();
        self.listening.send_replace(true);
        let (mut sink, mut messages) = channel.split();
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = check.tick() => {
                    endpoint::check(&mut sink).await?;
                    continue;
                }
            };
            let Some(message) = message else { break };
            // The token, a space, the record.
            let payload = Bytes::copy_from_slice(message.get_payload_bytes());
            let Some(token) = payload.get(..32).and_then(|t| std::str::from_utf8(t).ok()) else {
                continue;
            };
            let waiting = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(token);
            if let Some(waiting) = waiting {
                // Whoever does not wait any more gets nothing: a late reply is dropped.
                let _ = waiting.send(payload.slice(33.min(payload.len())..));
            }
        }
        Ok(())
    }
}

/// A request under way; leaves nothing behind, also when it is cancelled.
struct Asked<'a> {
    waiting: &'a Waiting,
    token: &'a str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.token);
    }
}

#[cfg(test)]
mod tests {
    use bus_api::Namespace;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_damage_is_an_error() {
        let packed = Bytes::from(pack(&[
            b"a".to_vec(),
            b"".to_vec(),
            b"b".to_vec(),
            b"cd".to_vec(),
        ]));
        let fields = unpack(&packed).unwrap();
        assert_eq!(fields, [("a".into(), "".into()), ("b".into(), "cd".into())]);
        assert!(unpack(&packed.slice(..packed.len() - 1)).is_err());
        assert!(unpack(&Bytes::new()).is_err());
        assert_eq!(
            unpack(&Bytes::from_static(&[2])).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn only_addresses_of_the_namespace_are_replied_to() {
        let keys = Keys::new(Namespace::default());
        let id = "0123456789abcdef0123456789abcdef";
        assert!(split_address(&keys, &format!("bus:{{~q}}:i:{id}/{id}")).is_some());
        for wrong in [
            "forged".to_owned(),
            format!("other:{{~q}}:i:{id}/{id}"),
            format!("bus:{{~q}}:i:{id}/x"),
            format!("bus:{{a}}:s:{id}/{id}"),
        ] {
            assert!(split_address(&keys, &wrong).is_none(), "{wrong}");
        }
    }
}
