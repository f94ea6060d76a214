//! Runs programs on the bus and compares every delivery with the reference.

use std::time::Duration;

use bus_api::{DeadLetter, ErrorKind, Filter, Start};
use tokio::time::{Instant, timeout};

use crate::context::{Client, Context};
use crate::model::program::{SLOTS, SUBSCRIPTIONS, Step, TOPICS};
use crate::model::reference::{ATTEMPTS, Grave, Handle, Reference};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Inbox, Ledger, Note, PATIENCE, QUIET, Token, Want, eventually, group, ms, secs,
};

/// How long a step waits for a delivery that may or may not come.
const SOON: Duration = ms(60);

/// A member, on a connection of its own, with what it holds.
struct Member {
    client: Client,
    subscription: usize,
    inbox: Inbox,
    held: Vec<(Token, Handle)>,
}

/// A program at work.
pub(super) struct Interpreter<'a> {
    context: &'a Context,
    operator: &'a Client,
    /// Tells the programs of a case apart: the first token of its topics, a part of its groups.
    run: usize,
    lease: Duration,
    reference: Reference,
    members: [Option<Member>; SLOTS],
    /// Until then a dead member may count as a live one.
    haunted_until: Option<Instant>,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(context: &'a Context, operator: &'a Client, run: usize) -> Self {
        let capabilities = operator.capabilities();
        Self {
            context,
            operator,
            run,
            lease: capabilities.min_lease.max(secs(1)),
            reference: Reference::new(capabilities.dedup),
            members: Default::default(),
            haunted_until: None,
        }
    }

    /// Runs `program` to its end, settles the rest, and compares what is left.
    pub(super) async fn execute(mut self, program: &[Step]) -> Result<(), Violation> {
        for (index, step) in program.iter().enumerate() {
            self.step(*step).await.map_err(|violation| {
                violation.because(format_args!("in step {index}, {step:?}"))
            })?;
        }
        self.finish()
            .await
            .map_err(|violation| violation.because("after the last step"))
    }

    fn want(&self, subscription: usize) -> Want {
        let (name, pattern) = SUBSCRIPTIONS[subscription];
        group(
            &format!("{name}{}", self.run),
            &format!("m{}.{pattern}", self.run),
        )
        .attempts(ATTEMPTS)
        .backoff(ms(20))
        .lease(self.lease)
    }

    async fn step(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Publish { topic, count } => {
                for _ in 0..count {
                    // Entered first: a delivery may overtake the confirmation.
                    let number = self.reference.publish(topic);
                    let topic = format!("m{}.{}", self.run, TOPICS[topic]);
                    self.operator.publish(&Note::new(&topic, number)).await?;
                }
                Ok(())
            }
            Step::Join { slot, subscription } => self.join(slot, subscription).await,
            Step::Leave { slot } => self.leave(slot).await,
            Step::Crash { slot } => {
                self.crash(slot).await;
                Ok(())
            }
            Step::Take { slot, count } => self.take(slot, count).await,
            Step::Ack { slot, pick } => match self.pick(slot, pick) {
                Some((token, handle)) => {
                    token.ack().await?;
                    self.reference.ack(handle);
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Nack { slot, pick, delay } => self.nack(slot, pick, delay).await,
            Step::Wreck { slot, count } => {
                for _ in 0..count {
                    if !self.take_one(slot, SOON).await? {
                        break;
                    }
                    // The one that was taken last.
                    let last = self.members[slot].as_ref().map_or(0, |m| m.held.len());
                    self.nack(slot, last.saturating_sub(1), 0).await?;
                }
                Ok(())
            }
            Step::Drop { slot, pick } => {
                if let Some((token, handle)) = self.pick(slot, pick) {
                    drop(token);
                    self.reference.dropped(handle, slot);
                }
                Ok(())
            }
            Step::Redrive { subscription } => self.redrive(subscription).await,
            Step::Reset {
                subscription,
                earliest,
            } => self.reset(subscription, earliest).await,
        }
    }

    async fn join(&mut self, slot: usize, subscription: usize) -> Result<(), Violation> {
        if self.members[slot].is_some() {
            return Ok(());
        }
        let client = self.context.client().await?;
        let inbox = client.join(self.want(subscription)).await?;
        self.reference.join(subscription);
        self.members[slot] = Some(Member {
            client,
            subscription,
            inbox,
            held: Vec::new(),
        });
        Ok(())
    }

    async fn leave(&mut self, slot: usize) -> Result<(), Violation> {
        let Some(member) = self.members[slot].take() else {
            return Ok(());
        };
        for (token, handle) in member.held {
            token.ack().await?;
            self.reference.ack(handle);
        }
        member.inbox.leave().await?;
        member.client.close().await?;
        Ok(())
    }

    async fn crash(&mut self, slot: usize) {
        let Some(member) = self.members[slot].take() else {
            return;
        };
        member.client.connection.disturb.kill().await;
        self.reference.crash(member.subscription, slot);
        self.haunted_until = Some(Instant::now() + self.lease + PATIENCE);
        // A process that was killed drops nothing.
        std::mem::forget(member);
    }

    async fn nack(&mut self, slot: usize, pick: usize, delay: u16) -> Result<(), Violation> {
        if let Some((token, handle)) = self.pick(slot, pick) {
            let (asked, delay) = (Instant::now(), ms(u64::from(delay)));
            token.nack_after(delay).await?;
            self.reference.fail(handle, Some(asked + delay));
        }
        Ok(())
    }

    fn pick(&mut self, slot: usize, pick: usize) -> Option<(Token, Handle)> {
        let held = &mut self.members[slot].as_mut()?.held;
        if held.is_empty() {
            return None;
        }
        let index = pick % held.len();
        Some(held.swap_remove(index))
    }

    async fn take(&mut self, slot: usize, count: u8) -> Result<(), Violation> {
        for _ in 0..count {
            if !self.take_one(slot, SOON).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a delivery came.
    async fn take_one(&mut self, slot: usize, patience: Duration) -> Result<bool, Violation> {
        let Some(member) = &mut self.members[slot] else {
            return Ok(false);
        };
        let Ok(next) = timeout(patience, member.inbox.raw()).await else {
            return Ok(false);
        };
        let Some(parcel) = next else {
            return Err(Violation::new(format_args!(
                "the subscription of member {slot} ended"
            )));
        };
        let token = parcel?.token()?;
        let (number, attempt) = (token.number(), token.attempt());
        let handle = self
            .reference
            .deliver(member.subscription, slot, number, attempt)?;
        member.held.push((token, handle));
        Ok(true)
    }

    async fn listed(&self, subscription: usize) -> Result<Vec<DeadLetter>, Violation> {
        let want = self.want(subscription);
        let name = want.group.as_deref().unwrap_or_default();
        let mut entries = self.operator.buried(name).await?;
        entries.retain(|entry| entry.subscription.pattern.as_str() == want.pattern);
        Ok(entries)
    }

    /// Waits until the bus lists what was given up for certain, and agrees on the rest.
    async fn agree(&mut self, subscription: usize) -> Result<Vec<DeadLetter>, Violation> {
        let certain = self.reference.dead(subscription);
        let mut entries = Vec::new();
        let this = &*self;
        eventually("what was given up is listed", async || {
            entries = this.listed(subscription).await?;
            let graves = graves(&entries)?;
            Ok(certain.iter().all(|grave| graves.contains(grave)))
        })
        .await?;
        self.reference.agree(subscription, &graves(&entries)?)?;
        Ok(entries)
    }

    async fn redrive(&mut self, subscription: usize) -> Result<(), Violation> {
        if !self.reference.exists(subscription) {
            return Ok(());
        }
        let entries = self.agree(subscription).await?;
        if entries.is_empty() {
            return Ok(());
        }
        // By id: what is given up meanwhile is not meant.
        let filter = entries
            .iter()
            .fold(Filter::default(), |filter, entry| filter.id(entry.id));
        self.reference.redrive(subscription);
        let want = self.want(subscription);
        let name = want.group.as_deref().unwrap_or_default();
        self.operator
            .redrive(name, &filter, entries.len() as u64)
            .await
    }

    async fn reset(&mut self, subscription: usize, earliest: bool) -> Result<(), Violation> {
        if !self.reference.exists(subscription) {
            return Ok(());
        }
        let start = if earliest {
            Start::Earliest
        } else {
            Start::Latest
        };
        let live = self
            .members
            .iter()
            .flatten()
            .any(|member| member.subscription == subscription);
        let want = self.want(subscription);
        if live {
            return match self.operator.reset(&want, &start, false).await {
                Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(()),
                other => Err(Violation::new(format_args!(
                    "a reset under live members gave {other:?}"
                ))),
            };
        }
        // What is being given up at this moment would come again, or not.
        self.agree(subscription).await?;
        let haunted = self
            .haunted_until
            .is_some_and(|until| Instant::now() < until);
        self.operator.reset(&want, &start, haunted).await?;
        self.reference.reset(subscription, earliest);
        Ok(())
    }

    /// Settles everything that is owed, and compares what is left.
    async fn finish(&mut self) -> Result<(), Violation> {
        for slot in 0..SLOTS {
            self.leave(slot).await?;
        }
        for subscription in 0..SUBSCRIPTIONS.len() {
            if self.reference.exists(subscription) {
                self.settle(subscription).await?;
            }
        }
        // Who comes last sees every message once, whatever became of it elsewhere, and no copy.
        let mut late = self
            .operator
            .join(group(
                &format!("late{}", self.run),
                &format!("m{}.>", self.run),
            ))
            .await?;
        let ledger = Ledger::expecting(self.reference.published().into_keys());
        late.take_all(&ledger).await?;
        late.leave().await
    }

    async fn settle(&mut self, subscription: usize) -> Result<(), Violation> {
        self.join(0, subscription).await?;
        let mut progress = Instant::now();
        while self.reference.is_open(subscription) {
            if self.take_one(0, SOON).await? {
                progress = Instant::now();
                if let Some((token, handle)) = self.pick(0, 0) {
                    token.ack().await?;
                    self.reference.ack(handle);
                }
                continue;
            }
            let graves = graves(&self.listed(subscription).await?)?;
            let certain = self.reference.dead(subscription);
            if certain.iter().all(|grave| graves.contains(grave)) {
                self.reference.agree(subscription, &graves)?;
            }
            ensure!(
                progress.elapsed() < self.lease + PATIENCE,
                "{:?} still owes {:?}",
                SUBSCRIPTIONS[subscription],
                self.reference.owed(subscription)
            );
        }
        if let Some(member) = &mut self.members[0] {
            member.inbox.quiet_for(QUIET).await?;
        }
        self.agree(subscription).await?;
        let want = self.want(subscription);
        let operator = self.operator;
        eventually("nothing is left to settle", async || {
            Ok(operator.info(&want).await?.lag == 0)
        })
        .await?;
        ensure_eq!(operator.info(&want).await?.dropped, 0, "dropped messages");
        self.leave(0).await
    }
}

fn graves(entries: &[DeadLetter]) -> Result<Vec<Grave>, Violation> {
    entries
        .iter()
        .map(|entry| Ok((Note::of(&entry.message)?.number, entry.generation)))
        .collect()
}
