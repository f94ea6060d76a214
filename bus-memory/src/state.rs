//! What a namespace keeps: logs, their messages, and the subscriptions to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{
    Namespace, Pattern, PatternIndex, Result, Retention, RetentionMode, Start, SubscriptionId,
    Topic,
};
use tokio::time::Instant;

use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::dedup::Window;
use crate::error::not_found;
use crate::log::Log;
use crate::responders::Responders;
use crate::retention::Drops;
use crate::slab::{Key, Slab};
use crate::store::Store;
use crate::subscription::Subscription;

/// What a namespace keeps.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) retention: Retention,
    /// Before then no message is older than the namespace keeps them.
    pub(crate) expires_next: Option<Instant>,
    pub(crate) dedup_window: Duration,
    pub(crate) memory_limit: u64,
    pub(crate) store: Store,
    pub(crate) logs: Slab<Log>,
    pub(crate) topics: HashMap<Topic, Key>,
    /// The topic that was looked for last: the next message often has the same.
    last_topic: Option<(Topic, Key)>,
    /// The logs that the call under way has written.
    pub(crate) touched: Vec<Key>,
    incarnations: u64,
    pub(crate) subscriptions: Slab<Subscription>,
    pub(crate) durable: BTreeMap<SubscriptionId, Key>,
    index: PatternIndex<Key>,
    pub(crate) window: Window,
    pub(crate) last_stored_at: SystemTime,
    pub(crate) dead: DeadLetters,
    pub(crate) responders: Responders,
    pub(crate) drops: Drops,
}

impl State {
    pub(crate) fn new(name: &Namespace, config: &Config) -> Self {
        let mut state = Self {
            retention: Retention::default(),
            expires_next: None,
            dedup_window: Duration::ZERO,
            memory_limit: config.memory_limit,
            store: Store::default(),
            logs: Slab::default(),
            topics: HashMap::new(),
            last_topic: None,
            touched: Vec::new(),
            incarnations: 0,
            subscriptions: Slab::default(),
            durable: BTreeMap::new(),
            index: PatternIndex::new(),
            window: Window::default(),
            last_stored_at: SystemTime::UNIX_EPOCH,
            dead: DeadLetters::default(),
            responders: Responders::new(name),
            drops: Drops::default(),
        };
        state.configure(config, true);
        state
    }

    /// Takes over what a connection is configured with.
    pub(crate) fn configure(&mut self, config: &Config, first: bool) {
        let (given, defaults) = (&config.settings, bus_api::Settings::default());
        if first || given.retention != defaults.retention {
            self.retention = given.retention.clone();
            self.expires_next = None;
            self.store.drop_settled = given.retention.mode == RetentionMode::Settled;
        }
        if first || given.dedup_window != defaults.dedup_window {
            self.dedup_window = given.dedup_window;
        }
        if first || config.memory_limit != Config::DEFAULT_MEMORY_LIMIT {
            self.memory_limit = config.memory_limit;
        }
    }

    /// The log of a topic, made when it is new.
    pub(crate) fn log(&mut self, topic: &Topic, broker: &str) -> Key {
        if let Some((last, key)) = &self.last_topic
            && last == topic
        {
            return *key;
        }
        let key = match self.topics.get(topic) {
            Some(key) => *key,
            None => self.new_log(topic, broker),
        };
        self.last_topic = Some((topic.clone(), key));
        key
    }

    fn new_log(&mut self, topic: &Topic, broker: &str) -> Key {
        self.incarnations += 1;
        let incarnation = format!("{broker}-{}", self.incarnations);
        let subscriptions = self.index.matching(topic).copied().collect();
        let key = self
            .logs
            .insert(Log::new(topic.clone(), &incarnation, subscriptions));
        self.topics.insert(topic.clone(), key);
        key
    }

    /// Removes a log and what it held. Returns its name.
    pub(crate) fn lose_log(&mut self, topic: &Topic) -> Option<Arc<str>> {
        let key = self.topics.remove(topic)?;
        self.last_topic = None;
        let log = self.logs.remove(key)?;
        let numbers: Vec<_> = self
            .store
            .iter()
            .filter(|(_, stored)| stored.log == key)
            .map(|(number, _)| number)
            .collect();
        for number in &numbers {
            self.store.remove(*number);
        }
        for subscription in &log.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(*subscription) {
                subscription.forget_log(&numbers);
            }
        }
        self.window.forget_log(key);
        Some(Arc::clone(log.name()))
    }

    /// Makes a subscription that starts at `start`.
    pub(crate) fn create(
        &mut self,
        id: Option<SubscriptionId>,
        pattern: &Pattern,
        start: &Start,
    ) -> Result<Key> {
        let (numbers, not_before) = self.resolve(pattern, start)?;
        let subscription = Subscription::new(id.clone(), pattern.clone(), not_before);
        let key = self.subscriptions.insert(subscription);
        self.index.insert(pattern, key);
        for (_, log) in self.logs.iter_mut() {
            if pattern.matches(log.topic()) {
                log.subscriptions.push(key);
            }
        }
        if let Some(id) = id {
            self.durable.insert(id, key);
        }
        self.feed(key, &numbers);
        Ok(key)
    }

    /// Removes a subscription with all that is known of it; its members are told.
    pub(crate) fn remove(&mut self, key: Key) {
        let Some(mut subscription) = self.subscriptions.remove(key) else {
            return;
        };
        self.index.remove(&subscription.pattern, &key);
        for (_, log) in self.logs.iter_mut() {
            log.subscriptions.retain(|known| *known != key);
        }
        if let Some(id) = &subscription.id {
            self.durable.remove(id);
        }
        for number in subscription.clear() {
            self.store.settle(number);
        }
        subscription.wake_all();
    }

    /// Moves a subscription; what it held is fenced.
    pub(crate) fn restart(&mut self, key: Key, start: &Start) -> Result<()> {
        let Some(pattern) = self
            .subscriptions
            .get(key)
            .map(|subscription| subscription.pattern.clone())
        else {
            return Ok(());
        };
        let (numbers, not_before) = self.resolve(&pattern, start)?;
        self.rewind(key, &numbers, not_before, 0);
        Ok(())
    }

    /// Bookkeeping of a subscription is lost. Its members, if any, recreate it at the lowest position that
    /// they knew to be unsettled; says whether they did.
    pub(crate) fn lose_subscription(&mut self, key: Key) -> bool {
        let Some(subscription) = self.subscriptions.get(key) else {
            return false;
        };
        if subscription.members().is_empty() {
            self.remove(key);
            return false;
        }
        let next = self.store.next();
        let lowest = subscription.oldest(&self.store).unwrap_or(next);
        let wanted = self.matching_logs(&subscription.pattern);
        let numbers: Vec<_> = self
            .store
            .iter_from(lowest)
            .filter(|(_, stored)| wanted.contains(&stored.log))
            .map(|(number, _)| number)
            .collect();
        self.rewind(key, &numbers, None, next);
        true
    }

    /// The logs whose topics match: asked once for each log, not for each of its messages.
    fn matching_logs(&self, pattern: &Pattern) -> BTreeSet<Key> {
        let matching = self
            .logs
            .iter()
            .filter(|(_, log)| pattern.matches(log.topic()));
        matching.map(|(key, _)| key).collect()
    }

    /// Replaces what a subscription has to settle.
    pub(crate) fn rewind(
        &mut self,
        key: Key,
        numbers: &[u64],
        not_before: Option<SystemTime>,
        suspect_below: u64,
    ) {
        // What is wanted again is counted before what was wanted is released, so that nothing goes that
        // only this subscription keeps.
        for number in numbers {
            self.store.want(*number);
        }
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            for number in subscription.clear() {
                self.store.settle(number);
            }
            subscription.restart(not_before, suspect_below);
        }
        self.feed(key, numbers);
        for number in numbers {
            self.store.settle(*number);
        }
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.wake_all();
        }
    }

    fn feed(&mut self, key: Key, numbers: &[u64]) {
        for number in numbers {
            let Some(stored_at) = self.store.get(*number).map(|stored| stored.stored_at) else {
                continue;
            };
            if let Some(subscription) = self.subscriptions.get_mut(key)
                && subscription.offer(*number, stored_at)
            {
                self.store.want(*number);
            }
        }
    }

    /// The stored messages from `start` on, and the time before which later ones are not meant.
    fn resolve(&self, pattern: &Pattern, start: &Start) -> Result<(Vec<u64>, Option<SystemTime>)> {
        let (own, number, time) = match start {
            Start::Latest => return Ok((Vec::new(), None)),
            Start::Time(time) => (None, 0, *time),
            Start::Position(position) => {
                let log = self
                    .logs
                    .iter()
                    .find(|(_, log)| log.name() == position.log())
                    .map(|(key, _)| key)
                    .ok_or_else(|| {
                        not_found("the log of the start position does not exist (any more)")
                            .with("log", position.log())
                    })?;
                (Some(log), position.offset().0, position.stored_at())
            }
            // `Start` may grow; what is not known starts with everything that there is.
            _ => (None, 0, SystemTime::UNIX_EPOCH),
        };
        let wanted = self.matching_logs(pattern);
        let numbers = self
            .store
            .iter()
            .filter(|(known, stored)| {
                if Some(stored.log) == own {
                    *known >= number
                } else {
                    stored.stored_at >= time
                }
            })
            .filter(|(_, stored)| wanted.contains(&stored.log))
            .map(|(number, _)| number)
            .collect();
        let not_before = match start {
            Start::Time(time) => Some(*time),
            _ => None,
        };
        Ok((numbers, not_before))
    }
}
