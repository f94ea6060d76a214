//! `ci`: three members that compete for builds, one at a time per topic and repository, in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bus::{BusClient, Context, Envelope, Event, HandlerResult, Order, State, Topic, Worker};

use crate::events::{CheckRun, PullRequest, Push};
use crate::publish::number;
use crate::tally::Tally;

/// How many members `ci` has.
pub const MEMBERS: usize = 3;

/// What the members of `ci` have done together.
pub struct Builds {
    pub tally: Tally,
    /// Builds that began while another one of the same topic and repository ran.
    pub overlapping: AtomicU64,
    /// Builds that began after a later one of the same topic and repository.
    pub disordered: AtomicU64,
    lanes: Mutex<HashMap<Lane, Progress>>,
}

/// One of the members.
#[derive(Clone)]
pub struct Member {
    builds: Arc<Builds>,
    done: Arc<AtomicU64>,
}

/// What is built one at a time: the bus keeps the order of a key in a topic.
type Lane = (Topic, Vec<u8>);

#[derive(Default)]
struct Progress {
    running: bool,
    last: Option<u64>,
}

impl Builds {
    /// For so many webhooks.
    pub fn new(webhooks: u64) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::new(webhooks),
            overlapping: AtomicU64::new(0),
            disordered: AtomicU64::new(0),
            lanes: Mutex::default(),
        })
    }

    fn begin(&self, lane: &Lane, number: u64) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = lanes.entry(lane.clone()).or_default();
        if progress.running {
            self.overlapping.fetch_add(1, Ordering::Relaxed);
        }
        if progress.last.is_some_and(|last| last >= number) {
            self.disordered.fetch_add(1, Ordering::Relaxed);
        }
        *progress = Progress {
            running: true,
            last: Some(number),
        };
    }

    fn end(&self, lane: &Lane) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(lane.clone()).or_default().running = false;
    }
}

impl Member {
    pub fn new(builds: &Arc<Builds>) -> Self {
        Self {
            builds: Arc::clone(builds),
            done: Arc::default(),
        }
    }

    /// Without a pattern it listens to the topics of what its handlers take.
    pub fn worker(&self, bus: &BusClient) -> Worker<Self> {
        bus.worker("ci")
            .order(Order::PerKey)
            .state(self.clone())
            .on(build::<Push>)
            .on(build::<PullRequest>)
            .on(build::<CheckRun>)
    }

    /// How many builds this member has done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

async fn build<E: Event>(
    e: Envelope<E>,
    State(member): State<Member>,
    ctx: Context,
) -> HandlerResult {
    let number = number(ctx.headers())?;
    let lane = (e.topic, e.key.unwrap_or_default().to_vec());
    member.builds.begin(&lane, number);
    // A build takes its time; whoever is allowed to run beside it now does.
    tokio::task::yield_now().await;
    member.builds.end(&lane);
    member.builds.tally.count(number);
    member.done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
