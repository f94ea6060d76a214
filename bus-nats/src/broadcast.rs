//! Broadcasts: a consumer of one's own that the server forgets with its subscriber.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, BroadcastSettler, Leave, Leaving};
use bus_api::{
    Delivery, Inbound, Inflow, Pattern, Paused, Receipt, Receiver, Result, SubscriptionSpec,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{nanos, time};
use crate::core::{Anchor, Core};
use crate::error::{closed, is_final};
use crate::last_topic::LastTopic;
use crate::member::{damaged, pending};
use crate::pull::{Pulled, Puller};
use crate::settle::late;
use crate::shared::{EndsWith, Shared};
use crate::socket::Reach;
use crate::start::{self, StoredStart};
use crate::stored::{self, Stored};
use crate::wire::{self, Place};

/// How long the server keeps the consumer of a subscriber that it does not hear of.
const FORGET: Duration = Duration::from_secs(10);
/// How long a pull stays open at the server.
const EXPIRES: Duration = Duration::from_secs(4);
/// Most messages taken up at once.
const MOST: usize = 512;
/// Most messages looked through for ones that the client cannot read.
const LOOKED_THROUGH: u64 = 512;

/// One subscriber without a group.
#[derive(Debug)]
struct Listener {
    core: Arc<Core>,
    shared: Arc<Shared>,
    pattern: Pattern,
    leaving: watch::Sender<bool>,
    left: watch::Sender<bool>,
}

#[async_trait]
impl Leave for Listener {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.leaving.send_replace(true);
        self.shared.driver.notify_one();
        let mut left = self.left.subscribe();
        match tokio::time::timeout_at(deadline, left.wait_for(|left| *left)).await {
            // An error: the driver ended with its runtime or connection.
            Ok(_) => Ok(()),
            Err(_) => Err(late()),
        }
    }
}

/// What a subscriber reads.
#[derive(Debug)]
struct Driver {
    _anchor: Option<Arc<Anchor>>,
    listener: Arc<Listener>,
    log: Arc<str>,
    start: StoredStart,
    /// The last message that was handed over.
    last: Option<u64>,
    /// The consumer's own number of it.
    hand_over: u64,
    last_topic: LastTopic,
    consumer: Option<(String, Puller)>,
    feed: Reach,
    main: Reach,
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    leaving: &Leaving,
    spec: SubscriptionSpec,
) -> Result<Inbound> {
    let start = start::resolve(core, &spec.start).await?;
    let listener = Arc::new(Listener {
        core: Arc::clone(core),
        shared: Arc::default(),
        pattern: spec.pattern.clone(),
        leaving: watch::Sender::new(false),
        left: watch::Sender::new(false),
    });
    leaving.add(&listener);
    let guard = Arc::new(Guard(Arc::clone(&listener)));
    let mut driver = Driver {
        _anchor: core.hold(),
        log: core.log().await?,
        listener,
        start,
        last: None,
        hand_over: 0,
        last_topic: LastTopic::default(),
        consumer: None,
        feed: core.feed.reach(),
        main: core.link.socket.reach(),
    };
    driver.open().await?;
    core.life.spawn(driver.run());
    Ok(Inbound {
        receiver: Box::new(BroadcastReceiver(Arc::clone(&guard))),
        settler: Arc::new(BroadcastSettler::new(guard)),
        lease: spec.lease,
        paused: Paused::never(),
    })
}

impl Driver {
    async fn run(mut self) {
        let listener = Arc::clone(&self.listener);
        let _ends = EndsWith(Arc::clone(&listener.shared));
        let mut backoff = Backoff::default();
        while !listener.core.life.is_over() && !*listener.leaving.borrow() {
            match self.turn().await {
                Ok(()) => backoff.reset(),
                Err(error) if is_final(&error) => {
                    listener.shared.end(error);
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, pattern = %listener.pattern, "a broadcast waits for the server");
                    self.consumer = None;
                    backoff.wait(&listener.core.life, None).await;
                }
            }
        }
        if let Some((name, _)) = self.consumer.take() {
            let stream = listener.core.keys.data();
            // Without an answer the server forgets it by itself.
            let deleting = listener.core.delete_consumer(&stream, &name);
            let _ = tokio::time::timeout(Duration::from_secs(2), deleting).await;
        }
        listener.shared.end(closed());
        listener.left.send_replace(true);
    }

    /// Makes a consumer that goes on where the last message was.
    async fn open(&mut self) -> Result<()> {
        let core = Arc::clone(&self.listener.core);
        core.streams.doubt();
        let log = core.log().await?;
        if log != self.log {
            // Another log: from its first message.
            self.log = log;
            self.last = None;
            self.start = StoredStart::Sequence(1);
        }
        core.feed.until_up(Instant::now() + core.patience()).await?;
        let (feed, main) = (core.feed.reach(), core.link.socket.reach());
        if feed.epoch != self.feed.epoch && main.epoch == self.main.epoch {
            self.salvage().await?;
        }
        let stream = core.keys.data();
        let name = format!("b-{}", uuid::Uuid::new_v4().simple());
        let info = core
            .create_consumer(&stream, &name, &self.config(&name))
            .await?;
        let puller = Puller::new(&core, &stream, &info.name, EXPIRES).await?;
        self.hand_over = 0;
        if let Some((old, _)) = self.consumer.replace((name, puller)) {
            core.let_consumer_go(&stream, &old);
        }
        (self.feed, self.main) = (feed, main);
        Ok(())
    }

    fn config(&self, name: &str) -> Value {
        let core = &self.listener.core;
        let mut config = json!({
            "name": name, "ack_policy": "none", "replay_policy": "instant", "max_deliver": -1,
            "mem_storage": true, "num_replicas": 1, "inactive_threshold": nanos(FORGET),
            "filter_subject": core.keys.pattern(&self.listener.pattern),
        });
        let start = match self.last {
            Some(last) => StoredStart::Sequence(last + 1),
            None => self.start.clone(),
        };
        match start {
            StoredStart::Sequence(sequence) => {
                config["deliver_policy"] = "by_start_sequence".into();
                config["opt_start_seq"] = sequence.max(1).into();
            }
            StoredStart::Time(at) => {
                config["deliver_policy"] = "by_start_time".into();
                config["opt_start_time"] = time(at).into();
            }
        }
        config
    }

    async fn turn(&mut self) -> Result<()> {
        let listener = Arc::clone(&self.listener);
        let core = &listener.core;
        let feed = core.feed.reach();
        if self.consumer.is_none() || (feed != self.feed && feed.up) {
            self.open().await?;
        }
        let woken = listener.shared.driver.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let Some((_, puller)) = &mut self.consumer else {
            return Ok(());
        };
        if puller.check_silence() {
            return self.open().await;
        }
        puller.top_up(core, listener.shared.room(), false).await?;
        let until = puller
            .next_duty()
            .unwrap_or_else(|| Instant::now() + FORGET / 3);
        let seen = self.feed;
        let first = tokio::select! {
            biased;
            () = core.life.ended() => return Ok(()),
            () = core.feed.renewed_since(seen) => return Ok(()),
            message = puller.next() => message.ok_or_else(closed)?,
            () = woken => return Ok(()),
            () = tokio::time::sleep_until(until) => return self.stay_known().await,
        };
        self.take(first).await
    }

    /// A consumer that nobody pulls from is forgotten: asking about it keeps it.
    async fn stay_known(&mut self) -> Result<()> {
        let core = Arc::clone(&self.listener.core);
        let Some((name, puller)) = &self.consumer else {
            return Ok(());
        };
        if puller.is_waiting() {
            return Ok(());
        }
        if core.consumer_info(&core.keys.data(), name).await?.is_none() {
            self.open().await?;
        }
        Ok(())
    }

    async fn take(&mut self, first: async_nats::Message) -> Result<()> {
        let listener = Arc::clone(&self.listener);
        let Some((_, puller)) = &mut self.consumer else {
            return Ok(());
        };
        let mut deliveries = Vec::new();
        let mut next = Some(first);
        let mut broken = false;
        while let Some(message) = next.take() {
            match puller.judge(message) {
                Pulled::Message(message) => {
                    let Some(place) = message.reply.as_deref().and_then(Place::of) else {
                        continue;
                    };
                    if place.hand_over != self.hand_over + 1 {
                        // Something was lost on the way: it is fetched again.
                        broken = true;
                        break;
                    }
                    self.hand_over = place.hand_over;
                    self.last = Some(place.sequence);
                    let position = place.position(&self.log);
                    let decoded = wire::read(
                        &listener.core.keys,
                        &mut self.last_topic,
                        &message.subject,
                        &position,
                        wire::pairs(message.headers.as_ref()),
                        message.payload,
                    )?;
                    deliveries.push(Delivery {
                        receipt: Receipt { slot: 0, epoch: 0 },
                        message: Arc::new(decoded.message),
                        position,
                        delivery: 1,
                        redelivered: false,
                        not_before: None,
                        record: None,
                        malformed: decoded.malformed,
                    });
                }
                Pulled::Nothing | Pulled::Rest => {}
                Pulled::Gone => {
                    broken = true;
                    break;
                }
            }
            next = if deliveries.len() < MOST {
                puller.ready()
            } else {
                None
            };
        }
        listener.shared.push_unheld(deliveries);
        if broken {
            self.open().await?;
        }
        Ok(())
    }

    /// Takes up what the client library cannot read, and what lies before it.
    async fn salvage(&mut self) -> Result<()> {
        let core = Arc::clone(&self.listener.core);
        let filter = core.keys.pattern(&self.listener.pattern);
        let from = match (self.last, &self.start) {
            (Some(last), _) => last + 1,
            (None, StoredStart::Sequence(sequence)) => *sequence,
            (None, StoredStart::Time(_)) => return Ok(()),
        };
        let to = from.saturating_add(LOOKED_THROUGH);
        let mut all = pending(&core, &filter, from, to).await?;
        let unreadable = |stored: &Stored| stored::unreadable(&stored.header_block()).is_some();
        let Some(last) = all.iter().rposition(unreadable) else {
            return Ok(());
        };
        all.truncate(last + 1);
        let mut deliveries = Vec::new();
        for stored in all {
            let mut delivery = damaged(&core, &self.log, &stored)?;
            if !unreadable(&stored) {
                delivery.malformed = None;
            }
            self.last = Some(stored.seq);
            deliveries.push(delivery);
        }
        self.listener.shared.push_unheld(deliveries);
        Ok(())
    }
}

/// Ends the subscriber when the last half is dropped.
#[derive(Debug)]
struct Guard(Arc<Listener>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.leaving.send_replace(true);
        self.0.shared.driver.notify_one();
    }
}

#[async_trait]
impl Leave for Guard {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.leave(deadline).await
    }
}

#[derive(Debug)]
struct BroadcastReceiver(Arc<Guard>);

#[async_trait]
impl Receiver for BroadcastReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        self.0.0.shared.receive(max).await
    }
}
