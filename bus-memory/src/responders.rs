//! Who answers requests, which requests wait for them, and who waits for replies.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bus_api::{
    Error, Group, IncomingRequest, Message, Namespace, Pattern, PatternIndex, ReplyTo, Topic,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::no_responders;
use crate::slab::{Key, Slab};

/// Responders and requesters of a namespace.
#[derive(Debug)]
pub(crate) struct Responders {
    /// How reply addresses of this namespace begin.
    form: String,
    sets: Slab<Set>,
    known: HashMap<(Group, Pattern), Key>,
    index: PatternIndex<Key>,
    pending: HashMap<Box<str>, Pending>,
}

/// The responders of one group and pattern.
#[derive(Debug)]
struct Set {
    group: Group,
    pattern: Pattern,
    members: Vec<Responder>,
    waiters: VecDeque<(u64, Arc<Notify>)>,
    requests: VecDeque<Waiting>,
}

#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) id: u64,
    pub(crate) connection: u64,
    pub(crate) wake: Arc<Notify>,
}

/// A request that nobody has taken.
#[derive(Debug)]
struct Waiting {
    message: Arc<Message>,
    deadline: Instant,
    reply_to: ReplyTo,
}

/// A requester that waits for its reply.
#[derive(Debug)]
struct Pending {
    connection: u64,
    answer: oneshot::Sender<Result<Message, Error>>,
    /// Groups that have the request and may still answer.
    open: usize,
}

/// What a responder finds.
pub(crate) enum Found {
    Requests(Vec<IncomingRequest>),
    Nothing,
    Gone,
}

impl Responders {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        Self {
            form: format!("_reply.{namespace}."),
            sets: Slab::default(),
            known: HashMap::new(),
            index: PatternIndex::new(),
            pending: HashMap::new(),
        }
    }

    // Responders

    pub(crate) fn join(&mut self, group: &Group, pattern: &Pattern, member: Responder) -> Key {
        let id = (group.clone(), pattern.clone());
        let key = match self.known.get(&id) {
            Some(key) => *key,
            None => {
                let key = self.sets.insert(Set {
                    group: group.clone(),
                    pattern: pattern.clone(),
                    members: Vec::new(),
                    waiters: VecDeque::new(),
                    requests: VecDeque::new(),
                });
                self.index.insert(pattern, key);
                self.known.insert(id, key);
                key
            }
        };
        if let Some(set) = self.sets.get_mut(key) {
            set.members.push(member);
        }
        key
    }

    /// The responder takes no more requests; what waits for nobody else is answered with `NoResponders`.
    pub(crate) fn leave(&mut self, key: Key, member: u64) {
        let Some(set) = self.sets.get_mut(key) else {
            return;
        };
        set.members.retain(|known| known.id != member);
        set.waiters.retain(|(known, _)| *known != member);
        if !set.members.is_empty() {
            set.wake_one();
            return;
        }
        let Some(set) = self.sets.remove(key) else {
            return;
        };
        self.index.remove(&set.pattern, &key);
        self.known.remove(&(set.group.clone(), set.pattern));
        for request in set.requests {
            let other = self
                .index
                .matching(&request.message.topic)
                .find(|key| {
                    self.sets
                        .get(**key)
                        .is_some_and(|other| other.group == set.group)
                })
                .copied();
            match other.and_then(|key| self.sets.get_mut(key)) {
                Some(other) => other.push(request),
                None => self.give_up(&request.reply_to),
            }
        }
    }

    pub(crate) fn leave_connection(&mut self, connection: u64) {
        let gone: Vec<_> = self
            .sets
            .iter()
            .flat_map(|(key, set)| {
                set.members
                    .iter()
                    .filter(|member| member.connection == connection)
                    .map(move |member| (key, member.id))
            })
            .collect();
        for (key, member) in gone {
            self.leave(key, member);
        }
    }

    /// Up to `max` requests whose requester still waits.
    pub(crate) fn take(&mut self, key: Key, member: u64, max: usize, now: Instant) -> Found {
        let pending = &self.pending;
        let Some(set) = self.sets.get_mut(key) else {
            return Found::Gone;
        };
        set.waiters.retain(|(known, _)| *known != member);
        let Some(wake) = set
            .members
            .iter()
            .find(|known| known.id == member)
            .map(|known| Arc::clone(&known.wake))
        else {
            return Found::Gone;
        };
        let mut requests = Vec::new();
        while requests.len() < max.max(1) {
            let Some(next) = set.requests.pop_front() else {
                break;
            };
            if next.deadline > now && pending.contains_key(next.reply_to.as_str()) {
                requests.push(IncomingRequest {
                    message: next.message,
                    deadline: next.deadline,
                    reply_to: next.reply_to,
                });
            }
        }
        if requests.is_empty() {
            set.waiters.push_back((member, wake));
            return Found::Nothing;
        }
        set.wake_one();
        Found::Requests(requests)
    }

    /// The responder gave up waiting: what it may have been woken for goes to another one.
    pub(crate) fn give_up_waiting(&mut self, key: Key, member: u64) {
        if let Some(set) = self.sets.get_mut(key) {
            set.waiters.retain(|(known, _)| *known != member);
            set.wake_one();
        }
    }

    pub(crate) fn wake_all(&mut self) {
        for (_, set) in self.sets.iter_mut() {
            set.waiters.clear();
            for member in &set.members {
                member.wake.notify_one();
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.sets.iter().map(|(_, set)| set.members.len()).sum()
    }

    // Requesters

    /// An address that only its holders know.
    pub(crate) fn new_address(&self) -> ReplyTo {
        ReplyTo::new(format!("{}{}", self.form, Uuid::new_v4().simple()))
    }

    /// Whether an address has the form of this namespace's.
    pub(crate) fn is_ours(&self, address: &ReplyTo) -> bool {
        address.as_str().strip_prefix(&self.form).is_some_and(|id| {
            id.len() == 32
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    }

    /// Sends a request to one responder of each group and returns where the answer arrives, or nothing
    /// when there is no responder.
    pub(crate) fn ask(
        &mut self,
        message: Message,
        deadline: Instant,
        reply_to: &ReplyTo,
        connection: u64,
    ) -> Option<oneshot::Receiver<Result<Message, Error>>> {
        let groups = self.one_set_per_group(&message.topic);
        if groups.is_empty() {
            return None;
        }
        let (answer, arrives) = oneshot::channel();
        self.pending.insert(
            reply_to.as_str().into(),
            Pending {
                connection,
                answer,
                open: groups.len(),
            },
        );
        let message = Arc::new(message);
        let now = Instant::now();
        let pending = &self.pending;
        for key in groups {
            if let Some(set) = self.sets.get_mut(key) {
                // Requests that nobody waits for any more do not pile up behind a stalled responder.
                set.drop_stale(|request| {
                    request.deadline <= now || !pending.contains_key(request.reply_to.as_str())
                });
                set.push(Waiting {
                    message: Arc::clone(&message),
                    deadline,
                    reply_to: reply_to.clone(),
                });
            }
        }
        Some(arrives)
    }

    /// Of the sets that answer this topic one of each group: the one with the fewest requests waiting
    /// for each of its members.
    fn one_set_per_group(&self, topic: &Topic) -> Vec<Key> {
        let mut groups: BTreeMap<&Group, (usize, Key)> = BTreeMap::new();
        for key in self.index.matching(topic) {
            let Some(set) = self.sets.get(*key) else {
                continue;
            };
            let load = set.requests.len() / set.members.len().max(1);
            let best = groups.entry(&set.group).or_insert((load, *key));
            if load < best.0 {
                *best = (load, *key);
            }
        }
        groups.into_values().map(|(_, key)| key).collect()
    }

    /// Hands a reply to its requester, if it still waits: the first one wins.
    pub(crate) fn answer(&mut self, reply_to: &ReplyTo, message: Message) {
        if let Some(pending) = self.pending.remove(reply_to.as_str()) {
            // A requester that has gone meanwhile needs no answer.
            let _ = pending.answer.send(Ok(message));
        }
    }

    /// Which connection waits at this address.
    pub(crate) fn requester(&self, reply_to: &ReplyTo) -> Option<u64> {
        Some(self.pending.get(reply_to.as_str())?.connection)
    }

    fn give_up(&mut self, reply_to: &ReplyTo) {
        let Some(pending) = self.pending.get_mut(reply_to.as_str()) else {
            return;
        };
        pending.open = pending.open.saturating_sub(1);
        if pending.open == 0
            && let Some(pending) = self.pending.remove(reply_to.as_str())
        {
            let _ = pending.answer.send(Err(no_responders()));
        }
    }

    /// The requester waits no longer.
    pub(crate) fn forget(&mut self, reply_to: &ReplyTo) {
        self.pending.remove(reply_to.as_str());
    }

    /// Ends the requests of a connection, or of all when none is given.
    pub(crate) fn fail(&mut self, connection: Option<u64>, error: &Error) {
        let failed: Vec<_> = self
            .pending
            .extract_if(|_, pending| connection.is_none_or(|id| pending.connection == id))
            .collect();
        for (_, pending) in failed {
            let _ = pending.answer.send(Err(error.clone()));
        }
    }

    /// Requesters that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.pending.keys().map(AsRef::as_ref)
    }
}

impl Set {
    fn push(&mut self, request: Waiting) {
        self.requests.push_back(request);
        self.wake_one();
    }

    fn wake_one(&mut self) {
        if !self.requests.is_empty()
            && let Some((_, wake)) = self.waiters.pop_front()
        {
            wake.notify_one();
        }
    }

    fn drop_stale(&mut self, is_stale: impl Fn(&Waiting) -> bool) {
        while self.requests.front().is_some_and(&is_stale) {
            self.requests.pop_front();
        }
    }
}
