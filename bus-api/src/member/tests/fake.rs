//! A scripted adapter: it hands out what a test gives it and writes down what it is told.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Core;
use crate::connect::Settings;
use crate::contract::*;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Codecs;
use crate::member::{Decision, Member, MemberOptions};

/// A test's own time-out.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), future)
        .await
        .expect("the test takes too long")
}

/// What the adapter was told, and what it is going to say.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) inflow: VecDeque<Result<Inflow>>,
    pub(super) asked: Vec<usize>,
    pub(super) settled: Vec<(Receipt, Settlement)>,
    pub(super) marked: Vec<(Receipt, AttemptRecord)>,
    pub(super) extended: Vec<Receipt>,
    pub(super) left: usize,
    /// Answers to the next settlements; `Ok` when empty.
    pub(super) answers: VecDeque<Result<()>>,
    pub(super) mark_answers: VecDeque<Result<()>>,
    /// Settlements get no answer.
    pub(super) mute: bool,
    /// Acks are confirmed while they are asked for, unless the next answer is an error.
    pub(super) at_once: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    script: Arc<Mutex<Script>>,
    changed: Arc<Notify>,
    /// Whether the subscription is paused.
    pub(super) paused: Arc<tokio::sync::watch::Sender<bool>>,
    /// A test ends before its connection does.
    cores: Arc<Mutex<Vec<Arc<Core>>>>,
}

impl Fake {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Lets the adapter say `inflow` next.
    pub(super) fn say(&self, inflow: Result<Inflow>) {
        self.script().inflow.push_back(inflow);
        self.changed.notify_waiters();
    }

    pub(super) fn deliver(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.say(Ok(Inflow::Deliveries(deliveries.into_iter().collect())));
    }

    pub(super) fn set_mute(&self, mute: bool) {
        self.script().mute = mute;
        self.changed.notify_waiters();
    }

    /// Waits until the script fulfils `condition`.
    pub(super) async fn until(&self, condition: impl Fn(&Script) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(&self.script()) {
                return;
            }
            // With the paused clock this goes on as soon as nothing else does.
            let _ = tokio::time::timeout(Duration::from_millis(10), changed).await;
        }
    }

    pub(super) fn core(&self) -> Arc<Core> {
        let bus: Arc<dyn Bus> = Arc::new(self.clone());
        let core = Arc::new(Core::new(bus, Settings::default(), Codecs::default(), None));
        self.cores.lock().unwrap().push(Arc::clone(&core));
        core
    }

    pub(super) async fn join(&self, options: MemberOptions) -> Member {
        Member::join(&self.core(), options).await.unwrap()
    }
}

/// A subscription of the group `mail`.
pub(super) fn spec() -> SubscriptionSpec {
    let scope = Scope::Group(Group::new("mail").unwrap());
    SubscriptionSpec::new(scope, Pattern::all())
}

/// Three attempts, one second apart.
pub(super) fn options(spec: SubscriptionSpec) -> MemberOptions {
    let policy = Arc::new(|attempt| match attempt {
        1 | 2 => Decision::Retry {
            after: Duration::from_secs(1),
        },
        _ => Decision::DeadLetter,
    });
    MemberOptions::new(spec, 3, policy)
}

pub(super) fn receipt(number: u64) -> Receipt {
    Receipt {
        slot: number,
        epoch: 1,
    }
}

/// The delivery of message `number`.
pub(super) fn delivery(number: u64) -> Delivery {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let id = MessageId::new(&number.to_string());
    let metadata = Metadata::new(id, "test".into(), now);
    Delivery {
        receipt: receipt(number),
        message: Arc::new(Message::new(
            Topic::new("a").unwrap(),
            metadata,
            Bytes::new(),
        )),
        position: Position::new("log".into(), Offset(number, 0), now),
        delivery: 1,
        redelivered: false,
        not_before: None,
        record: None,
        malformed: None,
    }
}

pub(super) fn keyed(number: u64, key: &'static str) -> Delivery {
    let mut delivery = delivery(number);
    Arc::make_mut(&mut delivery.message).key = Some(Bytes::from_static(key.as_bytes()));
    delivery
}

pub(super) fn redelivered(number: u64, record: Option<AttemptRecord>) -> Delivery {
    Delivery {
        redelivered: true,
        record: record.map(|record| record.encode()),
        ..delivery(number)
    }
}

struct FakeReceiver(Fake);

#[async_trait]
impl Receiver for FakeReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        self.0.script().asked.push(max);
        loop {
            let changed = self.0.changed.notified();
            {
                let mut script = self.0.script();
                match script.inflow.pop_front() {
                    Some(Ok(Inflow::Deliveries(all))) if max == 0 => {
                        script.inflow.push_front(Ok(Inflow::Deliveries(all)));
                    }
                    Some(Ok(Inflow::Deliveries(mut all))) => {
                        let rest = all.split_off(all.len().min(max));
                        if !rest.is_empty() {
                            script.inflow.push_front(Ok(Inflow::Deliveries(rest)));
                        }
                        return Ok(Inflow::Deliveries(all));
                    }
                    Some(other) => return other,
                    None => {}
                }
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Settler for Fake {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        loop {
            let changed = self.changed.notified();
            if !self.script().mute {
                break;
            }
            changed.await;
        }
        let mut script = self.script();
        let results = batch
            .into_iter()
            .map(|order| {
                let answer = script.answers.pop_front().unwrap_or(Ok(()));
                if answer.is_ok() {
                    script.settled.push(order);
                }
                answer
            })
            .collect();
        drop(script);
        self.changed.notify_waiters();
        results
    }

    fn ack_at_once(&self, receipt: Receipt) -> bool {
        let mut script = self.script();
        let done = script.at_once && !matches!(script.answers.front(), Some(Err(_)));
        if done {
            script.settled.push((receipt, Settlement::Ack));
        }
        done
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        // A round trip.
        tokio::task::yield_now().await;
        let mut script = self.script();
        let results = batch
            .into_iter()
            .map(|order| {
                let answer = script.mark_answers.pop_front().unwrap_or(Ok(()));
                if answer.is_ok() {
                    script.marked.push(order);
                }
                answer
            })
            .collect();
        drop(script);
        self.changed.notify_waiters();
        results
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        self.script().extended.extend(batch);
        self.changed.notify_waiters();
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn leave(&self, _deadline: Instant) -> Result<()> {
        self.script().left += 1;
        self.changed.notify_waiters();
        Ok(())
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not part of the fake"))
}

#[async_trait]
impl Bus for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: true,
            ack_durability: AckDurability::Process,
            exact_attempts: true,
            immediate_no_responders: true,
            reject_when_full: true,
            ordered_members: OrderedMembers::Many,
            min_lease: Duration::from_millis(10),
            max_payload: 1 << 20,
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        batch.iter().map(|_| unsupported()).collect()
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        Ok(Inbound {
            receiver: Box::new(FakeReceiver(self.clone())),
            settler: Arc::new(self.clone()),
            lease: spec.lease,
            paused: Paused::follow(&self.paused),
        })
    }

    async fn request(&self, _message: Message, _deadline: Instant) -> Result<Message> {
        unsupported()
    }

    async fn respond(&self, _spec: ResponderSpec) -> Result<Requests> {
        unsupported()
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        panic!("not part of the fake")
    }

    fn admin(&self) -> &dyn Admin {
        panic!("not part of the fake")
    }

    fn notices(&self) -> &Notices {
        panic!("not part of the fake")
    }

    async fn close(&self, _deadline: Instant) -> Result<()> {
        Ok(())
    }
}
