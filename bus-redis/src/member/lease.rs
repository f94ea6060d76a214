//! Leases: keeping one's own, taking over from the dead, leaving.

use std::time::Duration;

use bus_api::adapter::{Backoff, certain};
use bus_api::{Notice, Result, Topic};
use tokio::time::Instant;

use super::fetch::is_fenced;
use super::{Driver, Recover, Stop, Turn};
use crate::error::{closed, deleted, is_final, senseless};
use crate::keys::{PARKED, home};
use crate::script::{self, BEAT, MOVE, PART};
use crate::settle;
use crate::subscribe;
use crate::value::Take;

/// How often a member looks whether its subscription is paused, without a hint.
const PAUSE_POLL: Duration = Duration::from_secs(1);
/// Streams of one call that moves what the dead held.
const STREAMS: usize = 128;

impl Driver {
    /// Renews the lease on a root, or joins it.
    pub(super) async fn beat(&mut self, root: &str) -> Turn<()> {
        const WHAT: &str = "renewing a lease";
        let (keys, joined) = {
            let root = self.root(root);
            (root.keys.clone(), root.joined)
        };
        let lease = u64::try_from(self.handle.lease.as_millis()).unwrap_or(u64::MAX);
        let may_reap = Instant::now() >= self.rest_until;
        let mut call = self.call(&BEAT, root, &[&keys.dead, &keys.paused]);
        call.arg(lease)
            .arg(u8::from(!joined))
            .arg(u8::from(may_reap));
        let asked_at = Instant::now();
        let parts = self.handle.core.control.run(&call).await?.array(WHAT)?;
        let [alive, lock, wait, dead, paused] = &parts[..] else {
            return Err(senseless(WHAT).into());
        };
        if alive.int(WHAT)? == 0 {
            return Err(Stop::Fenced);
        }
        let (lock, wait) = (lock.int(WHAT)? == 1, wait.int(WHAT)?);
        let mut dead_names = Vec::new();
        for name in dead.clone().array(WHAT)? {
            dead_names.push(name.text(WHAT)?);
        }
        let ordered = self.handle.ordered;
        let mut next = self.handle.lease / 3;
        if root == home(&self.handle.id.pattern) {
            let paused = paused.int(WHAT)? == 1;
            let learn = |known: &mut bool| std::mem::replace(known, paused) != paused;
            self.handle.paused.send_if_modified(learn);
            // Should the hint be lost on its way.
            next = next.min(PAUSE_POLL);
        }
        if let Ok(wait) = u64::try_from(wait) {
            // The lease of another ends then: look again just after it.
            next = next.min(Duration::from_millis(wait.saturating_add(2)));
        }
        let now = Instant::now();
        let until = asked_at + certain(self.handle.lease);
        let root_state = self.root(root);
        root_state.until = until;
        root_state.joined = true;
        root_state.beat_at = now + next.max(Duration::from_millis(5));
        root_state.due_at = root_state.due_at.min(now);
        let was_active = root_state.active;
        if ordered && was_active && !lock {
            return Err(Stop::Fenced);
        }
        if ordered && !lock {
            return Ok(());
        }
        if ordered && !was_active {
            // Whatever was parked or held in another order goes back into the order of the log.
            dead_names.push(PARKED.to_owned());
            self.take_over(root, &dead_names).await?;
            let root = self.root(root);
            root.active = true;
            for state in root.topics.values_mut() {
                state.recover = Some(Recover {
                    from: "-".to_owned(),
                    taken_over: true,
                });
            }
            return Ok(());
        }
        self.root(root).active = true;
        if !dead_names.is_empty() {
            self.take_over(root, &dead_names).await?;
        }
        Ok(())
    }

    /// Leases were renewed: what is held is certain as long as the one that ends first.
    pub(super) fn note_leases(&self) {
        let joined = self.roots.values().filter(|root| root.joined);
        if let Some(until) = joined.map(|root| root.until).min() {
            let (_, epoch) = self.handle.identity();
            self.handle.shared.renewed(until, epoch);
        }
    }

    /// The keys of the streams of a root that may have the group.
    fn streams(&self, root: &str) -> Vec<String> {
        let mut topics: std::collections::BTreeSet<Topic> = self
            .handle
            .topics()
            .into_iter()
            .filter(|topic| topic.root() == root)
            .collect();
        if let Some(root) = self.roots.get(root) {
            topics.extend(root.topics.keys().cloned());
        }
        topics
            .iter()
            .map(|topic| self.handle.core.keys.stream(topic))
            .collect()
    }

    /// Takes what these consumers held: for all members to share, or, in an ordered subscription, into the
    /// hands of the active one.
    async fn take_over(&mut self, root: &str, dead: &[String]) -> Turn<()> {
        let target = if self.handle.ordered {
            crate::keys::ONE
        } else {
            PARKED
        };
        self.move_all(root, dead, target).await?;
        let keys = self.root(root).keys.clone();
        let gone: Vec<&String> = dead.iter().filter(|name| *name != PARKED).collect();
        if !gone.is_empty() {
            let command = redis::cmd("SREM").arg(&keys.dead).arg(gone).take();
            self.handle.core.control.run(&command).await?;
        }
        let channel = self.root(root).channel.clone();
        let wake = redis::cmd("PUBLISH")
            .arg(channel)
            .arg(format!("m {}", self.handle.sub))
            .take();
        self.handle.core.control.run(&wake).await?;
        self.root(root).due_at = Instant::now();
        Ok(())
    }

    async fn move_all(&self, root: &str, from: &[String], target: &str) -> Turn<()> {
        const WHAT: &str = "taking over";
        let park = self
            .handle
            .core
            .keys
            .subscription(root, &self.handle.sub)
            .park;
        for streams in self.streams(root).chunks(STREAMS) {
            let keys: Vec<&str> = std::iter::once(park.as_str())
                .chain(streams.iter().map(String::as_str))
                .collect();
            loop {
                let mut call = self.call(&MOVE, root, &keys);
                call.arg(&self.handle.sub).arg(target).arg(from);
                let parts = self.handle.core.control.run(&call).await?.array(WHAT)?;
                if is_fenced(&parts) {
                    return Err(Stop::Fenced);
                }
                let left = parts.first().map_or(Ok(0), |left| left.int(WHAT))?;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The lease ended, or the subscription was reset or deleted: goes on under a new name, or ends.
    pub(super) async fn fenced(&mut self) -> Turn<()> {
        let handle = std::sync::Arc::clone(&self.handle);
        let (old, epoch) = handle.identity();
        match subscribe::load(&handle.core, &handle.sub).await? {
            Some(record) if record.deleted => return Err(Stop::End(deleted())),
            Some(record) => {
                let reset = record.epoch != self.record.epoch;
                self.record = record;
                if reset {
                    for root in self.roots.values_mut() {
                        for state in root.topics.values_mut() {
                            state.last_read = None;
                            state.grouped = false;
                        }
                    }
                }
            }
            None => {
                // Not deleted but lost, with everything: made anew as it was.
                subscribe::store(&handle.core, &handle.sub, &self.record).await?;
                let paused = *handle.paused.borrow();
                if paused {
                    subscribe::set_paused(&handle.core, &handle.id, true).await?;
                }
                handle
                    .core
                    .life
                    .notices()
                    .report(Notice::SubscriptionRecreated {
                        subscription: handle.id.clone(),
                    });
            }
        }
        handle.shared.lose(|_| true, epoch);
        // On other roots the old name may still count as alive.
        let mut pipeline = redis::Pipeline::new();
        for root in self.roots.values_mut() {
            let keys = [&root.keys.members, &root.keys.lock, &root.keys.dead];
            let mut part = script::call(&PART, keys.map(String::as_str));
            part.arg(&*old)
                .arg(&root.channel)
                .arg(format!("m {}", handle.sub));
            pipeline.add_command(part);
            if !handle.ordered {
                pipeline.cmd("SADD").arg(&root.keys.dead).arg(&*old);
            }
            root.joined = false;
            root.active = false;
            root.beat_at = Instant::now();
            for state in root.topics.values_mut() {
                state.recover = None;
            }
        }
        handle.core.control.run_all(&pipeline).await?;
        handle.rename();
        for topic in handle.topics() {
            self.touch(&topic);
        }
        Ok(())
    }

    /// Leaves: hands back what lies in the buffer as never started, and the rest as it is.
    pub(super) async fn leave(&mut self) -> Result<()> {
        let handle = std::sync::Arc::clone(&self.handle);
        let mut backoff = Backoff::default();
        let buffered = handle.shared.take_buffer();
        let result = loop {
            match self.try_leave(&buffered).await {
                Ok(()) | Err(Stop::Fenced) => break Ok(()),
                Err(Stop::End(error)) => break Err(error),
                Err(Stop::Failed(error)) if is_final(&error) => break Err(error),
                Err(Stop::Failed(_)) => backoff.wait(self.life(), None).await,
            }
            if handle.core.life.is_over() {
                break Err(closed());
            }
        };
        handle.shared.end(closed());
        result
    }

    async fn try_leave(&mut self, buffered: &[bus_api::Receipt]) -> Turn<()> {
        let handle = std::sync::Arc::clone(&self.handle);
        settle::release(&handle, buffered).await?;
        let (name, _) = handle.identity();
        let names: Vec<String> = self.roots.keys().cloned().collect();
        for root in &names {
            if !self.root(root).joined {
                continue;
            }
            if !handle.ordered {
                match self.move_all(root, &[name.to_string()], PARKED).await {
                    Ok(()) | Err(Stop::Fenced) => {}
                    Err(stop) => return Err(stop),
                }
            }
            let keys = self.root(root).keys.clone();
            let all = [&keys.members, &keys.lock, &keys.dead];
            let mut part = script::call(&PART, all.map(String::as_str));
            part.arg(&*name)
                .arg(&self.root(root).channel)
                .arg(format!("m {}", handle.sub));
            handle.core.control.run(&part).await?;
            self.root(root).joined = false;
        }
        Ok(())
    }
}
