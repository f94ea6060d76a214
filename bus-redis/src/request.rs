//! Asking, and the form of what travels between requesters and responders.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus_api::adapter::Backoff;
use bus_api::cloudevents::Extent;
use bus_api::{ErrorKind, Message, Offset, Position, Result, Topic, split_version};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::core::Core;
use crate::endpoint::{self, Channel};
use crate::error::{closed, error, too_large};
use crate::keys::Keys;
use crate::responders::Responders;
use crate::script::{self, REQUEST};
use crate::value::{Fields, Take};
use crate::wire;

/// The version of what lies in the lists of requests and comes as a reply.
const VERSION: u8 = 1;
/// The field of a request that says where the reply goes.
pub(crate) const REPLY_TO: &str = "bus-reply-to";

/// How often the way of the replies is checked.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// What a message usually takes in a record beside its payload.
pub(crate) const ROOM: usize = 640;
/// A version of the responders that the server never has.
const UNKNOWN: &str = "?";
/// Records of requests and their replies are gone after this time at the latest.
const LONGEST: Duration = Duration::from_secs(600);

/// Appends a record: a version byte, then names and values, each with its length in front.
pub(crate) fn pack(record: &mut Vec<u8>, reply_to: Option<&str>, message: &Message) {
    record.push(VERSION);
    let mut field = |name: &str, value: &[u8]| {
        for item in [name.as_bytes(), value] {
            let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
            record.extend(length.to_be_bytes());
            record.extend_from_slice(item);
        }
    };
    if let Some(address) = reply_to {
        field(REPLY_TO, address.as_bytes());
    }
    wire::each(message, Extent::Whole, &mut field);
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
    responders: Mutex<Option<Arc<Responders>>>,
    started: AtomicBool,
    listening: watch::Sender<bool>,
}

impl Requester {
    pub(crate) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            inbox: format!("{}{}", core.keys.inbox_prefix(), Uuid::new_v4().simple()),
            waiting: Arc::default(),
            responders: Mutex::default(),
            started: AtomicBool::new(false),
            listening: watch::Sender::new(false),
        })
    }

    fn responders(&self) -> MutexGuard<'_, Option<Arc<Responders>>> {
        self.responders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let reply_to = format!("{}/{token}", self.inbox);
        let mut record = Vec::with_capacity(ROOM + message.size());
        pack(&mut record, Some(&reply_to), message);
        if !self.put(&message.topic, &record, deadline).await? {
            return Err(error(
                ErrorKind::NoResponders,
                "nobody answers requests of this topic",
            )
            .with("topic", &message.topic));
        }
        let record = answered.await.map_err(|_| closed())?;
        self::message(&unpack(&record)?)
    }

    /// Puts a record where one live responder of each group that takes this topic finds it; false when there is
    /// none. The server is asked once, and again when the responders have changed.
    async fn put(&self, topic: &Topic, record: &[u8], deadline: Instant) -> Result<bool> {
        loop {
            let connection = self.core.control.connection().await?;
            let number = connection.0;
            let known = self.responders().clone();
            let known = known.filter(|known| known.are_fresh(number));
            let candidates = known.as_ref().map(|known| known.candidates(topic));
            let candidates = candidates.unwrap_or_default();
            let keys = &self.core.keys;
            let mut names = vec![keys.responders(), keys.responders_version()];
            names.extend(candidates.iter().map(|found| keys.requests(&found.queue)));
            let mut call = script::call(&REQUEST, names.iter().map(String::as_str));
            match &known {
                Some(known) => call
                    .arg(&known.version[..])
                    .arg(known.millis(deadline, LONGEST)),
                None => call.arg(UNKNOWN).arg(0),
            };
            // Where nobody is to get it, it need not travel.
            call.arg(if candidates.is_empty() { &[] } else { record });
            for found in &candidates {
                call.arg(found.member);
            }
            let told = self.core.control.run_over(connection, &call).await?;
            let told = told.array("asking")?;
            if told.is_empty() {
                return Ok(!candidates.is_empty());
            }
            let told = Arc::new(Responders::read(told, number)?);
            *self.responders() = Some(told);
        }
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
    use std::time::SystemTime;

    use bus_api::{MessageId, Metadata, Namespace};

    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_damage_is_an_error() {
        let metadata = Metadata::new(MessageId::new("1"), "shop".into(), SystemTime::UNIX_EPOCH);
        let asked = Message::new(Topic::new("a.b").unwrap(), metadata, "cd".into());
        let mut packed = Vec::new();
        pack(&mut packed, Some("there"), &asked);
        let packed = Bytes::from(packed);
        let mut fields = unpack(&packed).unwrap();
        assert_eq!(fields.remove(0), (REPLY_TO.into(), "there".into()));
        assert_eq!(message(&fields).unwrap(), asked);
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
