//! What the server has lost: the consumer, or the log with it (L4).

use std::sync::Arc;
use std::time::Duration;

use bus_api::{ErrorKind, Notice, Provision};

use super::{Driver, Stop, Turn};
use crate::error::{deleted, no_subscription};
use crate::registry::{Known, SubRecord};
use crate::start::StoredStart;
use crate::subscribe::{anew, ensure_consumer};

/// How long the members have to say what they hold before the consumer is made again.
const SAY: Duration = Duration::from_millis(300);

impl Driver {
    /// Finds out whether the consumer is there; when it is gone, why, and goes on with the next one.
    pub(super) async fn look_for_consumer(&mut self) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        core.streams.doubt();
        let log = core.log().await?;
        let own = handle.record();
        let known = core.load(&handle.sub).await?;
        match known {
            Some(known) if known.record.deleted => Err(Stop::End(deleted())),
            Some(known) if known.record.generation != own.generation => {
                self.go_on_with(known.record).await
            }
            Some(known) => {
                let consumer = own.consumer(&handle.sub);
                let there = core
                    .consumer_info(&core.keys.data(), &consumer)
                    .await?
                    .is_some();
                if there && *own.log == *log {
                    self.doubtful = false;
                    return Ok(());
                }
                self.recreate(known, &log).await
            }
            None => {
                // The bookkeeping itself was lost: this member's knowledge is what is left.
                let known = Known {
                    record: own,
                    revision: 0,
                };
                self.recreate(known, &log).await
            }
        }
    }

    /// Makes the consumer again where its members were, or lets another member do it.
    async fn recreate(&mut self, known: Known, log: &str) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        if core.config.settings.provision != Provision::Create {
            return Err(Stop::End(no_subscription(&handle.id)));
        }
        let log_lost = *known.record.log != *log;
        let start = if log_lost {
            StoredStart::Sequence(1)
        } else {
            self.be_present().await?;
            tokio::time::sleep(SAY).await;
            self.lowest_unsettled(&known.record).await?
        };
        let record = anew(known.record, log, start, log_lost);
        match core.store(&handle.sub, record, known.revision).await {
            Ok(known) => self.go_on_with(known.record).await,
            // Another member was faster: the next look finds its record.
            Err(failed) if failed.kind() == ErrorKind::Fenced => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }

    /// The lowest message that a member holds; without any, the one after the highest that was fetched.
    async fn lowest_unsettled(&self, record: &SubRecord) -> Turn<StoredStart> {
        let members = self.handle.core.members(&self.handle.sub).await?;
        let own = self.presence();
        let of_now = members
            .into_iter()
            .map(|member| member.presence)
            .filter(|presence| {
                presence.generation == record.generation && presence.member != own.member
            })
            .chain([own.clone()]);
        let (mut lowest, mut highest) = (None::<u64>, None::<u64>);
        for presence in of_now {
            lowest = match (lowest, presence.lowest) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            highest = highest.max(presence.highest);
        }
        Ok(match (lowest, highest) {
            (Some(lowest), _) => StoredStart::Sequence(lowest),
            (None, Some(highest)) => StoredStart::Sequence(highest + 1),
            (None, None) => record.start.clone(),
        })
    }

    /// Goes on with another consumer: what was held of the old one is lost.
    async fn go_on_with(&mut self, record: SubRecord) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        ensure_consumer(&handle.core, &handle.sub, &record).await?;
        let own = handle.record();
        let log_lost = own.log != record.log;
        let reset = own.era != record.era;
        self.puller = None;
        self.gathering = None;
        handle.set_run(None);
        self.standing.demote(&handle);
        handle.set_record(record);
        handle.shared.lose_all(log_lost || reset);
        if !log_lost && !reset {
            handle
                .core
                .life
                .notices()
                .report(Notice::SubscriptionRecreated {
                    subscription: handle.id.clone(),
                });
        }
        self.doubtful = false;
        Ok(())
    }
}
