//! The driver of one member: a task that fetches, keeps the lease, and takes over from the dead.

mod fetch;
mod lease;
mod lost;
mod read;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::adapter::{Backoff, Life};
use bus_api::{Error, Offset, Pattern, Result, Topic};
use tokio::time::Instant;

use crate::core::Anchor;
use crate::error::is_final;
use crate::keys::{SubKeys, home};
use crate::registry::Interest;
use crate::shared::EndsWith;
use crate::start::SubRecord;
use crate::subscribe::Handle;

/// How often topics are looked at without a hint.
const SWEEP: Duration = Duration::from_secs(1);
/// Topics looked at in one sweep; more are spread so that each comes up within five seconds.
const SLICE: usize = 256;

/// What a member is told from outside.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<News>);

#[derive(Debug, Default)]
struct News {
    topics: HashSet<Topic>,
    roots: HashSet<String>,
    missed: bool,
}

impl Inbox {
    fn take(&self) -> News {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Interest for Handle {
    fn pattern(&self) -> &Pattern {
        &self.id.pattern
    }

    fn hinted(&self, topic: &Topic) {
        self.inbox.change(|news| {
            news.topics.insert(topic.clone());
        });
        self.shared.driver.notify_one();
    }

    fn stirred(&self, root: &str, sub: &str) {
        if self.sub == sub {
            self.inbox.change(|news| {
                news.roots.insert(root.to_owned());
            });
            self.shared.driver.notify_one();
        }
    }

    fn missed(&self) {
        self.inbox.change(|news| news.missed = true);
        self.shared.driver.notify_one();
    }
}

/// One root as a member sees it.
#[derive(Debug)]
struct Root {
    keys: SubKeys,
    channel: String,
    /// Its lease is on record.
    joined: bool,
    /// It may read: always, but for ordered subscriptions only with the lock.
    active: bool,
    beat_at: Instant,
    /// What is held of it is this member's until then for certain.
    until: Instant,
    due_at: Instant,
    topics: BTreeMap<Topic, State>,
    dirty: VecDeque<Topic>,
}

/// One topic as a member sees it.
#[derive(Debug, Default)]
struct State {
    dirty: bool,
    /// The group was seen on it.
    grouped: bool,
    /// The highest message that this member read.
    last_read: Option<Offset>,
    /// What the server thinks this member holds has to be looked through from here on.
    recover: Option<Recover>,
}

#[derive(Clone, Debug)]
struct Recover {
    from: String,
    /// It was another member's: a handler may have started it.
    taken_over: bool,
}

impl Recover {
    /// All that this member may hold.
    fn own() -> Self {
        Self {
            from: "-".to_owned(),
            taken_over: false,
        }
    }
}

/// Why a turn of the driver ended early.
enum Stop {
    /// The server could not be asked, or refused; tried again later.
    Failed(Error),
    /// The lease ended, or the subscription was reset or deleted.
    Fenced,
    /// It cannot go on.
    End(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if is_final(&error) {
            Self::End(error)
        } else {
            Self::Failed(error)
        }
    }
}

type Turn<T> = std::result::Result<T, Stop>;

/// The task behind a member.
#[derive(Debug)]
pub(crate) struct Driver {
    /// The connection lives as long as the member.
    _anchor: Option<Arc<Anchor>>,
    handle: Arc<Handle>,
    record: SubRecord,
    roots: BTreeMap<String, Root>,
    sweep_at: Instant,
    swept: Option<Topic>,
    /// Leases of others ran on while the server could not be reached: nobody is declared dead before.
    rest_until: Instant,
}

impl Driver {
    pub(crate) fn new(handle: Arc<Handle>, record: SubRecord) -> Self {
        let now = Instant::now();
        let mut driver = Self {
            _anchor: handle.core.hold(),
            record,
            roots: BTreeMap::new(),
            sweep_at: now + SWEEP,
            swept: None,
            rest_until: now,
            handle,
        };
        let home = home(&driver.handle.id.pattern).to_owned();
        driver.root(&home);
        for topic in driver.handle.topics() {
            driver.touch(&topic);
        }
        driver
    }

    fn life(&self) -> &Life {
        &self.handle.core.life
    }

    fn root(&mut self, name: &str) -> &mut Root {
        let now = Instant::now();
        let keys = &self.handle.core.keys;
        self.roots.entry(name.to_owned()).or_insert_with(|| Root {
            keys: keys.subscription(name, &self.handle.sub),
            channel: keys.channel(name),
            joined: false,
            active: false,
            beat_at: now,
            until: now,
            due_at: now,
            topics: BTreeMap::new(),
            dirty: VecDeque::new(),
        })
    }

    /// A topic may have new messages.
    fn touch(&mut self, topic: &Topic) {
        let root = self.root(topic.root());
        let state = root.topics.entry(topic.clone()).or_default();
        if !state.dirty {
            state.dirty = true;
            root.dirty.push_back(topic.clone());
        }
    }

    /// Joins every root: the first turn, before `subscribe` returns.
    pub(crate) async fn join(&mut self) -> Result<()> {
        let names: Vec<String> = self.roots.keys().cloned().collect();
        for name in names {
            match self.beat(&name).await {
                Ok(()) => {}
                Err(Stop::Failed(error) | Stop::End(error)) => return Err(error),
                Err(Stop::Fenced) => return Err(crate::error::fenced()),
            }
        }
        self.note_leases();
        Ok(())
    }

    /// Works until the member leaves, the subscription ends, or the connection does.
    pub(crate) async fn run(mut self) {
        let handle = Arc::clone(&self.handle);
        let _ends = EndsWith(Arc::clone(&handle.shared));
        let mut backoff = Backoff::default();
        let ended = loop {
            if *handle.leaving.borrow() {
                break self.leave().await;
            }
            let woken = handle.shared.driver.notified();
            let turn = match self.turn().await {
                Err(Stop::Fenced) => self.fenced().await.map(|()| Some(Instant::now())),
                turn => turn,
            };
            match turn {
                Ok(until) => {
                    backoff.reset();
                    let until = until.unwrap_or_else(|| self.next_duty());
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(until) => {}
                        () = handle.core.life.ended() => break Ok(()),
                    }
                }
                Err(Stop::End(error)) => {
                    handle.shared.end(error);
                    break Ok(());
                }
                Err(Stop::Failed(error)) => {
                    tracing::debug!(%error, subscription = %handle.id, "a member waits for the server");
                    self.doubt();
                    tokio::select! {
                        () = backoff.wait(&handle.core.life, None) => {}
                        () = leaving(&handle) => {}
                    }
                }
                Err(Stop::Fenced) => backoff.wait(self.life(), None).await,
            }
            if handle.core.life.is_over() {
                break Ok(());
            }
        };
        handle.left.send_replace(Some(ended));
    }

    /// A reply may be lost: what the server thinks this member holds is looked through.
    fn doubt(&mut self) {
        self.rest_until = Instant::now() + self.handle.lease;
        for root in self.roots.values_mut() {
            root.beat_at = Instant::now();
            for state in root.topics.values_mut() {
                if state.grouped {
                    state.recover.get_or_insert_with(Recover::own);
                }
            }
        }
        self.sweep_at = Instant::now();
    }

    fn next_duty(&self) -> Instant {
        let room = self.handle.shared.room() > 0;
        self.roots
            .values()
            .flat_map(|root| {
                let due = (room && root.active && !self.handle.ordered).then_some(root.due_at);
                [Some(root.beat_at), due]
            })
            .flatten()
            .fold(self.sweep_at, Instant::min)
    }

    /// Does everything that is to be done now; says when to go on when there is more.
    async fn turn(&mut self) -> Turn<Option<Instant>> {
        self.hear();
        let now = Instant::now();
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.sweep();
        }
        let names: Vec<String> = self.roots.keys().cloned().collect();
        let mut renewed = false;
        for name in &names {
            if self.root(name).beat_at <= Instant::now() {
                self.beat(name).await?;
                renewed = true;
            }
        }
        if renewed {
            self.note_leases();
        }
        let mut more = false;
        for name in &names {
            if self.root(name).active {
                more |= self.fetch(name).await?;
            }
        }
        Ok(more.then(Instant::now))
    }

    fn hear(&mut self) {
        let news = self.handle.inbox.take();
        for topic in &news.topics {
            self.touch(topic);
        }
        let now = Instant::now();
        for name in &news.roots {
            if let Some(root) = self.roots.get_mut(name) {
                root.beat_at = now;
                root.due_at = now;
            }
        }
        if news.missed {
            for topic in self.handle.topics() {
                self.touch(&topic);
            }
            for root in self.roots.values_mut() {
                root.beat_at = now;
            }
        }
    }

    /// Looks at a slice of the topics, hinted or not.
    fn sweep(&mut self) {
        let topics: Vec<Topic> = self.handle.topics().into_iter().collect();
        let slice = SLICE.max(topics.len() / 4);
        let from = match &self.swept {
            Some(last) if topics.len() > SLICE => topics.partition_point(|topic| topic <= last),
            _ => 0,
        };
        let from = if from >= topics.len() { 0 } else { from };
        for topic in topics.iter().skip(from).take(slice) {
            self.touch(topic);
            self.swept = Some(topic.clone());
        }
    }
}

async fn leaving(handle: &Handle) {
    let mut leaving = handle.leaving.subscribe();
    // The sender lives in the handle.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}
