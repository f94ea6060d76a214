//! The driver of one member: a task that fetches, keeps what nobody has started, and goes on when the server
//! has lost something.

mod active;
mod fetch;
mod lost;

use std::sync::Arc;
use std::time::Duration;

use bus_api::adapter::Backoff;
use bus_api::{Error, Result};
use tokio::time::Instant;

use crate::core::Anchor;
use crate::error::{closed, is_final};
use crate::held::Held;
use crate::last_topic::LastTopic;
use crate::presence::{Presence, valid_for};
use crate::pull::{Pulled, Puller};
use crate::settle::{extend, late, release};
use crate::shared::EndsWith;
use crate::socket::Reach;
use crate::subscribe::Handle;

use active::{Gathering, Standing};

pub(crate) use fetch::{damaged, pending};

/// How long a pull stays open at the server.
const EXPIRES: Duration = Duration::from_secs(10);
/// Most messages taken up at once.
const MOST: usize = 512;
/// How long until it is looked again whether both connections reach the same run of the server.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a member that leaves tries to say so.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why a turn of the driver ended early.
enum Stop {
    /// The server could not be asked, or refused; tried again later.
    Failed(Error),
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
    puller: Option<Puller>,
    /// The connections that the puller was made on.
    feed: Reach,
    main: Reach,
    standing: Standing,
    /// The consumer has to be looked for.
    doubtful: bool,
    /// After a break: something was handed over that never arrived; perhaps the client could not read it.
    unseen: Option<bool>,
    gathering: Option<Gathering>,
    last_topic: LastTopic,
    present_at: Instant,
    extend_at: Instant,
}

impl Driver {
    /// Joins: says that the member is there.
    pub(crate) async fn join(handle: Arc<Handle>) -> Result<Self> {
        let now = Instant::now();
        let mut driver = Self {
            _anchor: handle.core.hold(),
            puller: None,
            feed: Reach::default(),
            main: handle.core.link.socket.reach(),
            standing: Standing::new(&handle),
            doubtful: false,
            unseen: None,
            gathering: None,
            last_topic: LastTopic::default(),
            present_at: now,
            extend_at: now + handle.lease / 3,
            handle,
        };
        match driver.be_present().await {
            // It is said again at once, and until it has arrived.
            Err(failed) if failed.is_retryable() => driver.present_at = Instant::now(),
            said => said?,
        }
        Ok(driver)
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
            if handle.core.life.is_over() {
                break Ok(());
            }
            match self.turn().await {
                Ok(()) => backoff.reset(),
                Err(Stop::End(error)) => {
                    self.farewell().await;
                    handle.shared.end(error);
                    break Ok(());
                }
                Err(Stop::Failed(error)) => {
                    tracing::debug!(%error, subscription = %handle.id, "a member waits for the server");
                    handle.shared.expire();
                    self.doubtful = true;
                    tokio::select! {
                        () = backoff.wait(&handle.core.life, None) => {}
                        () = leaving(&handle) => {}
                    }
                }
            }
        };
        handle.left.send_replace(Some(ended));
    }

    /// Does everything that is to be done now, then waits for something to happen.
    async fn turn(&mut self) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let woken = handle.shared.driver.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let seen_main = handle.core.link.socket.reach();
        if handle.take_doubt() || self.doubtful {
            self.look_for_consumer().await?;
        }
        self.stand().await?;
        self.duties().await?;
        self.connect().await?;
        if self.doubtful {
            // What was pulled now would lie unread while the server is asked.
            return Ok(());
        }
        self.look_for_missing().await?;
        let active = self.standing.may_fetch();
        let mut until = self.present_at.min(self.extend_at);
        until = until.min(self.standing.next_duty(&handle));
        let seen = self.feed;
        let changed = async {
            tokio::select! {
                () = handle.core.feed.changed_from(seen) => {}
                () = handle.core.link.socket.changed_from(seen_main) => {}
            }
        };
        let room = self.room();
        let Some(puller) = &mut self.puller else {
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(until) => {}
                () = changed => {}
                () = handle.core.life.ended() => {}
            }
            return Ok(());
        };
        let known = handle.knows_run() || !handle.may_forget();
        if !known {
            until = until.min(Instant::now() + LOOK_AGAIN);
        }
        let room = if active && known { room } else { 0 };
        puller.top_up(&handle.core, room, false).await?;
        let until = puller.next_duty().map_or(until, |duty| until.min(duty));
        let first = tokio::select! {
            biased;
            () = handle.core.life.ended() => return Ok(()),
            () = changed => return Ok(()),
            message = puller.next() => match message {
                Some(message) => message,
                None => return Err(Stop::Failed(closed())),
            },
            () = woken => return Ok(()),
            () = tokio::time::sleep_until(until) => return Ok(()),
        };
        self.take(first).await
    }

    /// Takes up what came.
    async fn take(&mut self, first: async_nats::Message) -> Turn<()> {
        let Some(puller) = &mut self.puller else {
            return Ok(());
        };
        let came_after = puller.came_after();
        let mut messages = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match puller.judge(message) {
                Pulled::Message(message) => messages.push(message),
                Pulled::Nothing | Pulled::Rest => {}
                Pulled::Gone => self.doubtful = true,
            }
            next = if messages.len() < MOST {
                puller.ready()
            } else {
                None
            };
        }
        self.fetched(messages, came_after).await
    }

    /// What comes up with time.
    async fn duties(&mut self) -> Turn<()> {
        let now = Instant::now();
        if self.puller.as_mut().is_some_and(Puller::check_silence) {
            self.doubtful = true;
        }
        if self.extend_at <= now {
            self.extend_at = now + self.handle.lease / 3;
            self.handle.shared.expire();
            let buffered = self.handle.shared.receipts(true);
            if !buffered.is_empty() {
                let handle = Arc::clone(&self.handle);
                // Beside the driver: an answer that does not come must not hold it up.
                self.handle.core.life.spawn(async move {
                    extend(&handle, &buffered).await;
                });
            }
        }
        if self.present_at <= now {
            self.present_at = now + valid_for(self.handle.lease) / 3;
            let (handle, presence) = (Arc::clone(&self.handle), self.presence());
            // One that does not arrive is followed by the next, before the last one has run out.
            self.handle.core.life.spawn(async move {
                // After its farewell it would bring the member back.
                if !*handle.leaving.borrow() {
                    let _ = handle.core.be_present(&handle.sub, &presence).await;
                }
            });
        }
        Ok(())
    }

    /// Makes the subscription that messages come over, again after every break.
    async fn connect(&mut self) -> Turn<()> {
        let core = Arc::clone(&self.handle.core);
        let (feed, main) = (core.feed.reach(), core.link.socket.reach());
        if !feed.up {
            self.puller = None;
            self.feed = feed;
            return Ok(());
        }
        if main.up && !self.recall().await? {
            return Ok(());
        }
        if self.puller.is_some() && feed == self.feed && self.unseen.is_none() {
            return Ok(());
        }
        let again = self.feed.epoch > 0 && feed != self.feed;
        let broke_alone = again && main == self.main;
        let consumer = self.handle.record().consumer(&self.handle.sub);
        let expires = self.standing.expires(EXPIRES);
        self.puller = Some(Puller::new(&core, &core.keys.data(), &consumer, expires).await?);
        (self.feed, self.main) = (feed, main);
        self.doubtful |= again;
        if again && self.standing.may_fetch() {
            self.unseen = Some(broke_alone || self.unseen.unwrap_or(false));
        }
        if let Some(broke_over_damage) = self.unseen {
            self.salvage(broke_over_damage).await?;
            self.unseen = None;
        }
        Ok(())
    }

    /// Finds out what the server still knows when it has been started again, before it is asked for messages;
    /// false when its consumer is gone.
    async fn recall(&mut self) -> Turn<bool> {
        let handle = Arc::clone(&self.handle);
        if handle.knows_run() || !handle.may_forget() {
            return Ok(true);
        }
        let Some(run) = handle.find_run().await? else {
            self.doubtful = true;
            return Ok(false);
        };
        let ours = |of: &str, held: &Held| handle.ours(&run, of, held);
        handle.shared.recalled(&run.server, ours);
        handle.set_run(Some(run));
        Ok(true)
    }

    /// The run of the server whose hand-overs come; none where it does not matter. Not the one that was found last:
    /// the connection for messages may not know of its end yet.
    fn of_run(&self) -> Option<Arc<str>> {
        self.handle.run()?;
        self.puller.as_ref()?.server.clone()
    }

    async fn be_present(&mut self) -> Result<()> {
        let valid = valid_for(self.handle.lease);
        self.handle
            .core
            .be_present(&self.handle.sub, &self.presence())
            .await?;
        self.present_at = Instant::now() + valid / 3;
        Ok(())
    }

    fn presence(&self) -> Presence {
        let (lowest, highest) = self.handle.shared.bounds();
        Presence {
            version: Presence::VERSION,
            member: self.handle.member.clone(),
            millis: u64::try_from(valid_for(self.handle.lease).as_millis()).unwrap_or(u64::MAX),
            lowest,
            highest,
            generation: self.handle.record().generation,
        }
    }

    /// Stops fetching, and hands back what is buffered and what is not settled.
    async fn leave(&mut self) -> Result<()> {
        let handle = Arc::clone(&self.handle);
        if let Some(puller) = self.puller.take().filter(Puller::is_waiting) {
            let came_after = puller.came_after();
            let late = puller.quiesce(&handle.core).await;
            // What cannot be looked up comes again when the lease ends.
            let _ = self.fetched(late, came_after).await;
        }
        self.gathered();
        handle.shared.shut();
        handle.shared.end(closed());
        let mut result = Ok(());
        let held = handle.shared.receipts(false);
        for outcome in release(&handle, &held).await {
            match outcome {
                Err(failed) if failed.kind() != bus_api::ErrorKind::Fenced => {
                    result = Err(late().caused_by(failed));
                }
                _ => {}
            }
        }
        self.farewell().await;
        result
    }

    /// Says that the member has gone.
    async fn farewell(&mut self) {
        let handle = &self.handle;
        let gone = async {
            self.standing.stand_down(handle).await;
            // It is forgotten all the same, a few seconds later.
            let _ = handle.core.be_gone(&handle.sub, &handle.member).await;
        };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }
}

async fn leaving(handle: &Handle) {
    let mut leaving = handle.leaving.subscribe();
    // The sender lives in the handle.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}
