//! What a single server still knows of its hand-overs when it runs again.
//!
//! A server alone writes down who has what a little later than it acts. After a crash it has forgotten its last
//! hand-overs: it hands those messages over once more, to anybody, and takes the ack of whoever had them before for
//! theirs. Of what it remembers it has forgotten when it handed it over: the lease counts from when the message was
//! stored, or was last renewed. Either way the message would come after its confirmed ack.
//!
//! So everybody has to know up to which hand-over the server remembers. It can be asked only before it hands over
//! anything more: no member asks a run of the server for messages before that number is stored, and whoever comes
//! first stores it for all. A question for messages that was on its way when the server ended may reach the new run
//! all the same; when that has handed over anything before it is asked, it counts as remembering nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::adapter::certain;
use bus_api::{Error, ErrorKind, Result, split_version};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::config::Storage;
use crate::core::Core;
use crate::error::unavailable;
use crate::held::{Fetched, Held};
use crate::ours::Confirmed;
use crate::subscribe::{Handle, TRIES};

const VERSION: u8 = 1;
const WHAT: &str = "what a server remembered when it was started";
/// Runs that are known. Whoever held something through more of them holds it no longer.
const MOST: usize = 16;

/// What the server has said is on disk after so long (`ack_durability`).
const FLUSHED: Duration = Duration::from_secs(1);
/// Times are stored in full seconds.
const COARSE: Duration = Duration::from_secs(1);

/// One run of the server, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// The id that the server gave itself.
    server: String,
    /// The last hand-over that it remembered of the runs before.
    remembered: u64,
}

/// The runs of the server that has a consumer, the oldest first. Stored as a version byte and JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runs {
    /// Names the consumer.
    generation: u64,
    runs: Vec<Run>,
}

impl Runs {
    /// Whether the newest run still knows a hand-over of the run of `server`.
    pub(crate) fn remember(&self, server: &str, hand_over: u64) -> bool {
        let at = self.runs.iter().position(|run| run.server == server);
        // What the run after it had forgotten stays forgotten: its numbers are used again.
        at.is_some_and(|at| {
            let after = self.runs.get(at + 1);
            after.is_none_or(|after| hand_over <= after.remembered)
        })
    }

    fn is_newest(&self, server: &str) -> bool {
        self.runs.last().is_some_and(|run| run.server == server)
    }

    fn add(&mut self, server: &str, remembered: u64) {
        self.runs.retain(|run| run.server != server);
        let surplus = (self.runs.len() + 1).saturating_sub(MOST);
        self.runs.drain(..surplus);
        self.runs.push(Run {
            server: server.to_owned(),
            remembered,
        });
    }
}

/// The run of the server that a connection of some number reaches.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    epoch: u64,
    pub(crate) server: Arc<str>,
    runs: Arc<Runs>,
}

impl Handle {
    /// Whether the server may forget hand-overs, in a way that its clients can notice.
    pub(crate) fn may_forget(&self) -> bool {
        let config = &self.core.config;
        let clustered = |info: async_nats::ServerInfo| info.cluster.is_some();
        // The active member of an ordered subscription has no other beside it.
        !self.ordered
            && config.replicas == 1
            && config.storage == Storage::File
            && config.domain.is_none()
            && !self.core.link.socket.server().is_some_and(clustered)
    }

    /// Whether both connections are still to the run of the server that was found last: they are made anew
    /// independently.
    pub(crate) fn knows_run(&self) -> bool {
        let reach = self.core.link.socket.reach();
        let fed_by = self.core.feed.server().map(|info| info.server_id);
        self.run().is_some_and(|run| {
            reach.up && run.epoch == reach.epoch && fed_by.as_deref() == Some(&*run.server)
        })
    }

    /// Whether the server would take a settlement for what it is, of something that was handed over by the run
    /// `of`: not before it was found out what the server still knows.
    pub(crate) fn reaches(&self, of: Option<&str>) -> bool {
        let Some(of) = of else { return true };
        let epoch = self.core.link.socket.reach().epoch;
        self.run()
            .is_some_and(|run| run.epoch == epoch && *run.server == *of)
    }

    /// Says of what the server has confirmed whether it has not been able to forget it until now: a server that ended
    /// soon after may have.
    pub(crate) fn standing(&self) -> impl Fn(&Confirmed) -> bool {
        let socket = &self.core.link.socket;
        let reach = socket.reach();
        let server = socket.server().filter(|_| reach.up);
        move |confirmed| {
            let Some(run) = &confirmed.run else {
                return true;
            };
            if server.as_ref().is_some_and(|info| info.server_id == **run) {
                return true;
            }
            let breaks = reach.epoch.saturating_sub(confirmed.epoch) + u64::from(!reach.up);
            let is_flushed = |lost_at| confirmed.at + FLUSHED <= lost_at;
            breaks == 1 && reach.lost_at.is_some_and(is_flushed)
        }
    }

    /// Until when something is this member's in another run of the server; `None` when that has forgotten it, or takes
    /// the lease for ended.
    pub(crate) fn ours(&self, now: &Reached, of: &str, held: &Held) -> Option<Instant> {
        let lost_at = self.core.link.socket.reach().lost_at?;
        let flushed = |at: &&Instant| **at + FLUSHED <= lost_at;
        let renewed = held.renewed.iter().flatten().find(flushed).copied();
        self.ours_since(now, of, held.hand_over, renewed, held.stored_at)
    }

    /// The same for what comes late, of a run that has ended: it is held from now on as if the newest had handed it
    /// over. False when that has forgotten it.
    pub(crate) fn adopts(&self, late: &mut Fetched) -> bool {
        let (Some(of), Some(now)) = (&late.run, self.run()) else {
            return true;
        };
        if **of == *now.server {
            return true;
        }
        let stored_at = late.delivery.position.stored_at();
        let Some(until) = self.ours_since(&now, of, late.hand_over, None, stored_at) else {
            return false;
        };
        late.until = late.until.min(until);
        late.run = Some(now.server);
        true
    }

    fn ours_since(
        &self,
        now: &Reached,
        of: &str,
        hand_over: u64,
        renewed: Option<Instant>,
        stored_at: SystemTime,
    ) -> Option<Instant> {
        if !now.runs.remember(of, hand_over) {
            return None;
        }
        let since = renewed.or_else(|| self.core.clock.here(stored_at))?;
        let until = (since + certain(self.lease)).checked_sub(COARSE)?;
        (until > Instant::now()).then_some(until)
    }

    /// Finds out which run of the server is reached, and what it remembers. `None` when the consumer is gone.
    ///
    /// # Errors
    /// When the server cannot be asked, or another one is reached meanwhile.
    pub(crate) async fn find_run(&self) -> Result<Option<Reached>> {
        let core = &self.core;
        let record = self.record();
        let consumer = record.consumer(&self.sub);
        let epoch = core.link.socket.reach().epoch;
        for _ in 0..TRIES {
            let (stored, revision) = load(core, &self.sub).await?;
            if stored
                .as_ref()
                .is_some_and(|runs| runs.generation > record.generation)
            {
                self.doubt();
                return Err(unavailable());
            }
            let mut runs = stored
                .filter(|runs| runs.generation == record.generation)
                .unwrap_or_default();
            runs.generation = record.generation;
            // Only an answer proves that the client library knows whom it talks to.
            let server = core.link.socket.server().ok_or_else(unavailable)?.server_id;
            let same = || core.link.socket.reach().epoch == epoch;
            if !same() {
                return Err(unavailable());
            }
            if !runs.is_newest(&server) {
                let info = core.consumer_info(&core.keys.data(), &consumer).await?;
                let Some(info) = info else { return Ok(None) };
                let is_untouched = info.delivered.last_active.is_none();
                let remembered = if is_untouched {
                    info.delivered.consumer_seq
                } else {
                    0
                };
                runs.add(&server, remembered);
                // The clock of the server is read as well.
                core.stream_info(&core.keys.data()).await?;
                if !same() {
                    return Err(unavailable());
                }
                match store(core, &self.sub, &runs, revision).await {
                    Ok(()) => {}
                    Err(failed) if failed.kind() == ErrorKind::Fenced => continue,
                    Err(failed) => return Err(failed),
                }
            }
            if !same() {
                return Err(unavailable());
            }
            let server = Arc::from(server);
            let runs = Arc::new(runs);
            return Ok(Some(Reached {
                epoch,
                server,
                runs,
            }));
        }
        Err(unavailable())
    }
}

async fn load(core: &Core, sub: &str) -> Result<(Option<Runs>, u64)> {
    let question = json!({"last_by_subj": core.keys.runs(sub)});
    let Some(stored) = core.get(&core.keys.books(), &question).await? else {
        return Ok((None, 0));
    };
    let payload = stored.payload();
    let (_, text) = split_version(&payload, VERSION, WHAT)?;
    let runs = serde_json::from_slice(text)
        .map_err(|_| Error::new(ErrorKind::Decode, format!("{WHAT} is damaged")))?;
    Ok((Some(runs), stored.seq))
}

async fn store(core: &Core, sub: &str, runs: &Runs, revision: u64) -> Result<()> {
    let mut payload = vec![VERSION];
    payload.extend(serde_json::to_vec(runs).unwrap_or_default());
    let subject = core.keys.runs(sub);
    core.put(subject, payload.into(), Some(revision))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_had_forgotten_stays_forgotten() {
        let mut runs = Runs::default();
        runs.add("first", 0);
        assert!(runs.remember("first", 500), "nothing came between");
        runs.add("second", 480);
        assert!(runs.remember("first", 480));
        assert!(!runs.remember("first", 481));
        assert!(runs.remember("second", 481));
        runs.add("third", 900);
        assert!(!runs.remember("first", 481), "its number was used again");
        assert!(runs.remember("first", 480));
        assert!(runs.remember("second", 900));
        assert!(!runs.remember("unknown", 1));
    }

    #[test]
    fn old_runs_are_let_go() {
        let mut runs = Runs::default();
        for number in 0..40 {
            runs.add(&number.to_string(), number);
        }
        assert_eq!(runs.runs.len(), MOST);
        assert!(!runs.remember("1", 1));
        assert!(runs.remember("39", 100));
    }
}
