//! Asking: the requests of a namespace share a topic, and so do the replies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::Extent;
use bus_api::{ErrorKind, Message, ReplyTo, Result, Topic};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;
use uuid::Uuid;

use crate::core::Core;
use crate::error::{closed, error, from_client};
use crate::link::Link;
use crate::registry::millis;
use crate::sys::{Aside, When};
use crate::topics::Purpose;
use crate::wire::{self, Record};

/// Header: where the reply goes.
pub(crate) const REPLY_TO: &str = "bus-reply-to";
/// Header: how long after it was stored the requester waits, in milliseconds.
pub(crate) const TIMEOUT: &str = "bus-timeout";
/// Header: when the requester gives up by the brokers' clock, as far as the requester knows it; milliseconds since
/// 1970.
pub(crate) const DEADLINE: &str = "bus-deadline";
/// How long a group that had members is taken to have some.
const REMEMBERED: Duration = Duration::from_secs(1);

type Waiting = Mutex<HashMap<String, oneshot::Sender<Message>>>;

/// Where this connection's replies arrive.
#[derive(Clone, Debug)]
struct Inbox {
    topic: String,
    partition: i32,
}

/// Asks, and waits for replies.
#[derive(Debug)]
pub(crate) struct Requester {
    core: Weak<Core>,
    waiting: Arc<Waiting>,
    inbox: tokio::sync::Mutex<Option<Inbox>>,
    /// Groups that had members, and when.
    answering: Mutex<HashMap<String, Instant>>,
    /// One question about members at a time: whoever waits behind it uses its answer.
    looking: tokio::sync::Mutex<()>,
    /// How far the brokers' clock is ahead of this machine's, at least; milliseconds.
    ahead: Mutex<Option<i64>>,
}

/// A question that waits; dropping it forgets it, so that a late reply finds nobody.
struct Waits<'a> {
    waiting: &'a Waiting,
    id: String,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a reply goes: topic, partition and an id that nobody can guess.
pub(crate) struct Address<'a> {
    pub(crate) partition: i32,
    pub(crate) id: &'a str,
}

impl<'a> Address<'a> {
    /// Reads an address of this namespace; anything else is refused (Q6).
    pub(crate) fn read(reply_to: &'a ReplyTo, replies: &str, partitions: i32) -> Option<Self> {
        let rest = reply_to.as_str().strip_prefix(replies)?.strip_prefix('/')?;
        let (partition, id) = rest.split_once('/')?;
        let partition = partition.parse().ok()?;
        let is_ours = (0..partitions).contains(&partition)
            && id.len() == 32
            && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then_some(Self { partition, id })
    }
}

impl Requester {
    pub(crate) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::downgrade(core),
            waiting: Arc::default(),
            inbox: tokio::sync::Mutex::default(),
            answering: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            ahead: Mutex::default(),
        })
    }

    pub(crate) async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        let core = self.core.upgrade().ok_or_else(closed)?;
        let asked = self.ask(&core, message, deadline);
        tokio::select! {
            reply = asked => reply,
            () = core.life.ended() => Err(closed()),
            () = tokio::time::sleep_until(deadline) => Err(late()),
        }
    }

    async fn ask(&self, core: &Arc<Core>, message: Message, deadline: Instant) -> Result<Message> {
        let most = core.max_payload();
        if message.payload.len() > most {
            return Err(crate::error::too_large(message.payload.len(), most));
        }
        let inbox = self.inbox(core).await?;
        if !self.is_answered(core, &message.topic).await? {
            return Err(no_responders(&message.topic));
        }
        let (answer, answered) = oneshot::channel();
        let id = Uuid::new_v4().simple().to_string();
        lock(&self.waiting).insert(id.clone(), answer);
        let waits = Waits {
            waiting: &self.waiting,
            id,
        };
        let address = format!("{}/{}/{}", inbox.topic, inbox.partition, waits.id);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut headers = wire::headers(&message, Extent::Whole);
        headers.add(REPLY_TO, address.as_bytes());
        headers.add(TIMEOUT, left.as_millis().to_string().as_bytes());
        if let Some(until) = self.broker_deadline(left) {
            headers.add(DEADLINE, until.to_string().as_bytes());
        }
        let record = Record {
            topic: core.names.requests().into(),
            partition: None,
            key: None,
            headers,
            payload: Some(message.payload.clone()),
        };
        let publisher = core.publisher.get().ok_or_else(closed)?;
        let written = publisher.write(core, vec![record]).await;
        for result in written {
            self.note_clock(result?.at);
        }
        self.wait(core, &message.topic, answered).await
    }

    /// The end of `left` by the brokers' clock, never too late. The time that a request takes to be stored is part of
    /// what the requester waits, and a deadline counted from then would be late by it.
    fn broker_deadline(&self, left: Duration) -> Option<i64> {
        let ahead = (*lock(&self.ahead))?;
        let until = SystemTime::now().checked_add(left)?;
        i64::try_from(millis(until)).ok()?.checked_add(ahead)
    }

    /// A request was stored at `stored`, and its confirmation has come only now.
    fn note_clock(&self, stored: SystemTime) {
        let (stored, now) = (millis(stored), millis(SystemTime::now()));
        let (Ok(stored), Ok(now)) = (i64::try_from(stored), i64::try_from(now)) else {
            return;
        };
        let mut ahead = lock(&self.ahead);
        let least = stored - now;
        *ahead = Some(ahead.map_or(least, |known| known.max(least)));
    }

    /// Waits for the reply, as long as somebody is there to give it.
    async fn wait(
        &self,
        core: &Arc<Core>,
        topic: &Topic,
        mut answered: oneshot::Receiver<Message>,
    ) -> Result<Message> {
        let mut nobody = false;
        loop {
            match tokio::time::timeout(REMEMBERED, &mut answered).await {
                // The sender is dropped with the question only.
                Ok(answer) => return answer.map_err(|_| closed()),
                // Whoever has just left may have replied before.
                Err(_) if nobody => return Err(no_responders(topic)),
                Err(_) => nobody = !self.is_answered(core, topic).await?,
            }
        }
    }

    /// Whether a live responder takes requests of `topic`.
    async fn is_answered(&self, core: &Arc<Core>, topic: &Topic) -> Result<bool> {
        core.follow_registry().await?;
        let groups = || -> Vec<String> {
            core.registry.look(|contents| {
                contents
                    .responders
                    .iter()
                    .filter(|(_, pattern)| pattern.matches(topic))
                    .map(|(group, _)| group.clone())
                    .collect()
            })
        };
        if self.remembered(&groups()) {
            return Ok(true);
        }
        let _alone = self.looking.lock().await;
        let mut found = groups();
        if self.remembered(&found) {
            return Ok(true);
        }
        if found.is_empty() || !self.count(core, &found).await? {
            // A responder that has just begun may not have been heard of.
            core.sync_registry().await?;
            found = groups();
            return self.count(core, &found).await;
        }
        Ok(true)
    }

    fn remembered(&self, groups: &[String]) -> bool {
        let answering = lock(&self.answering);
        groups.iter().any(|group| {
            answering
                .get(group)
                .is_some_and(|at| at.elapsed() < REMEMBERED)
        })
    }

    async fn count(&self, core: &Arc<Core>, groups: &[String]) -> Result<bool> {
        if groups.is_empty() {
            return Ok(false);
        }
        let members = core.members(groups).await?;
        let mut answering = lock(&self.answering);
        let mut any = false;
        for (group, members) in groups.iter().zip(members) {
            if members > 0 {
                answering.insert(group.clone(), Instant::now());
                any = true;
            } else {
                answering.remove(group);
            }
        }
        Ok(any)
    }

    /// Starts to read replies, once, from now on.
    async fn inbox(&self, core: &Arc<Core>) -> Result<Inbox> {
        let mut started = self.inbox.lock().await;
        if let Some(inbox) = &*started {
            return Ok(inbox.clone());
        }
        let topic = core.names.replies();
        let wanted = [
            (topic.clone(), Purpose::Requests),
            (core.names.requests(), Purpose::Requests),
        ];
        let known = core.ensure(&wanted).await?;
        let partitions = known.first().map_or(1, |known| known.partitions.max(1));
        let partition = fastrand::i32(0..partitions);
        let logs: Vec<_> = known
            .into_iter()
            .take(1)
            .map(|known| (topic.clone(), known))
            .collect();
        let ends = core.offsets(&logs, When::Latest).await?;
        let end = ends.get(&(topic.clone(), partition)).copied().unwrap_or(0);
        let mut client = core.outside_of_groups();
        core.config.finish(&mut client);
        let consumer: StreamConsumer<Link> = client
            .create_with_context(core.link())
            .map_err(|native| from_client(&native))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(end))
            .and_then(|()| consumer.assign(&list))
            .map_err(|native| from_client(&native))?;
        let waiting = Arc::clone(&self.waiting);
        core.life.spawn(follow(Aside::new(consumer), waiting));
        let inbox = Inbox { topic, partition };
        *started = Some(inbox.clone());
        Ok(inbox)
    }
}

fn no_responders(topic: &Topic) -> bus_api::Error {
    error(
        ErrorKind::NoResponders,
        "nobody answers requests of this topic",
    )
    .with("topic", topic)
}

fn late() -> bus_api::Error {
    error(ErrorKind::Timeout, "no reply came before the deadline")
}

/// Hands replies to whoever waits for them, until the connection is over. A task and no thread of its own: each
/// change of threads would be part of every reply's latency.
async fn follow(consumer: Aside<StreamConsumer<Link>>, waiting: Arc<Waiting>) {
    let unknown = Topic::new("unknown");
    loop {
        consume_budget().await;
        let record = match consumer.recv().await {
            Ok(record) => record,
            Err(native) => {
                tracing::debug!(error = %native, "reading replies");
                continue;
            }
        };
        let Some(id) = record.key().and_then(|key| std::str::from_utf8(key).ok()) else {
            continue;
        };
        // Replies to others, and late ones, find nobody.
        let Some(answer) = lock(&waiting).remove(id) else {
            continue;
        };
        let Ok(topic) = &unknown else {
            return;
        };
        let stored_at = wire::stored_at(record.timestamp());
        let position = wire::position(&record.topic().into(), record.offset(), stored_at);
        if let Ok(decoded) = wire::read(&record, &position, topic, Extent::Whole) {
            // Whoever asked may have gone.
            let _ = answer.send(decoded.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_namespace_are_taken() {
        let id = "0123456789abcdef0123456789abcdef";
        let read = |address: String| {
            let reply_to = ReplyTo::new(address);
            Address::read(&reply_to, "ns.r.0", 3)
                .map(|found| (found.partition, found.id.to_owned()))
        };
        assert_eq!(read(format!("ns.r.0/2/{id}")), Some((2, id.to_owned())));
        for wrong in [
            format!("ns.r.0/3/{id}"),
            format!("ns.r.0/-1/{id}"),
            format!("ns.t.a/0/{id}"),
            "ns.r.0/0/short".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(wrong), None);
        }
    }
}
