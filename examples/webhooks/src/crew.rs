//! Everybody who takes part: `audit`, the members of `ci`, `notify`, and the one who knows repositories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use bus::{BusClient, Filter, Running};

use crate::audit::Audit;
use crate::checks::Checks;
use crate::ci::{self, Builds};
use crate::dead_letters;
use crate::input::Input;
use crate::notify::Notifier;
use crate::plan::Plan;
use crate::progress::{Bar, Progress};
use crate::publish::publish;
use crate::report::Group;
use crate::repository_info::{self, Known};
use crate::wait::until;

/// How long the workers may take to finish when they are told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// The consumers, running.
pub struct Crew {
    pub audit: Arc<Audit>,
    pub builds: Arc<Builds>,
    pub members: Vec<ci::Member>,
    pub notifier: Arc<Notifier>,
    pub known: Arc<Known>,
    /// What the transport has confirmed.
    pub confirmed: Arc<AtomicU64>,
    running: Vec<(&'static str, Running)>,
}

impl Crew {
    /// Starts them all. When this returns, nothing that is published afterwards is missed.
    pub async fn start(bus: &BusClient, plan: &Plan, known: Known) -> Result<Self> {
        let mut crew = Self {
            audit: Audit::new(plan.published),
            builds: Builds::new(plan.published),
            members: Vec::new(),
            notifier: Notifier::new(plan.published),
            known: Arc::new(known),
            confirmed: Arc::default(),
            running: Vec::new(),
        };
        crew.members
            .resize_with(ci::MEMBERS, || ci::Member::new(&crew.builds));
        let (audit, notify) = (
            crew.audit.worker(bus).start().await?,
            crew.notifier.worker(bus).start().await?,
        );
        crew.running.extend([("audit", audit), ("notify", notify)]);
        for member in &crew.members {
            crew.running.push(("ci", member.worker(bus).start().await?));
        }
        let answers = repository_info::worker(bus, Arc::clone(&crew.known))
            .start()
            .await?;
        crew.running.push(("repositories", answers));
        Ok(crew)
    }

    /// Publishes everything and waits until everybody has done with it.
    pub async fn work(
        &self,
        bus: &BusClient,
        plan: &Plan,
        input: &Input,
        repeat: u32,
        live: bool,
    ) -> Result<()> {
        let progress = Progress::show(live, self.bars(plan));
        let result = self.publish_and_wait(bus, plan, input, repeat).await;
        progress.finish().await;
        result
    }

    async fn publish_and_wait(
        &self,
        bus: &BusClient,
        plan: &Plan,
        input: &Input,
        repeat: u32,
    ) -> Result<()> {
        publish(bus, &input.events, repeat, &self.confirmed).await?;
        until(plan.published, async || Ok(self.audit.tally.distinct())).await?;
        until(plan.builds, async || Ok(self.builds.tally.distinct())).await?;
        until(plan.published - plan.given_up, async || {
            Ok(self.notifier.posted.distinct())
        })
        .await?;
        let dead = bus.dead_letters("notify");
        until(plan.given_up, async || {
            Ok(dead.count(&Filter::default()).await?)
        })
        .await
    }

    fn bars(&self, plan: &Plan) -> Vec<Bar> {
        let (confirmed, audit) = (Arc::clone(&self.confirmed), Arc::clone(&self.audit));
        let (builds, notifier) = (Arc::clone(&self.builds), Arc::clone(&self.notifier));
        vec![
            Bar::new("publish", plan.published, move || {
                confirmed.load(Ordering::Relaxed)
            }),
            Bar::new("audit", plan.published, move || audit.tally.distinct()),
            Bar::new("ci", plan.builds, move || builds.tally.distinct()),
            Bar::new("notify", plan.published, move || {
                notifier.delivered.distinct()
            }),
        ]
    }

    /// Whether `ci` kept the order: one at a time, each after the one before.
    pub fn check_order(&self, checks: &mut Checks) -> bool {
        let overlapping = self.builds.overlapping.load(Ordering::Relaxed);
        let disordered = self.builds.disordered.load(Ordering::Relaxed);
        let done = self.members.iter().map(ci::Member::done).sum();
        checks.count("ci: overlapping", 0, overlapping)
            & checks.count("ci: out of order", 0, disordered)
            & checks.count("ci: builds of all members", self.builds.tally.seen(), done)
    }

    /// What `audit` and `ci` have seen so far.
    pub fn seen_by_others(&self) -> u64 {
        self.audit.tally.seen() + self.builds.tally.seen()
    }

    /// Repairs `notify` and sends it back what it gave up; returns how many that were.
    pub async fn repair(&self, bus: &BusClient, plan: &Plan) -> Result<u64> {
        self.notifier.repair();
        let redriven = dead_letters::redrive(bus).await?;
        until(plan.given_up, async || Ok(self.notifier.again.distinct())).await?;
        Ok(redriven)
    }

    /// Lets them all finish: afterwards no count moves any more.
    pub async fn stop(&mut self, checks: &mut Checks) -> Result<()> {
        for (name, running) in self.running.drain(..) {
            let report = running.shutdown(DRAIN).await;
            if let Some(error) = report.error {
                bail!("{name} ended: {error}");
            }
            checks.count(format!("{name}: unsettled at the end"), 0, report.unsettled);
        }
        Ok(())
    }

    /// The counts of each subscriber, checked.
    pub fn groups(&self, plan: &Plan, dead: u64, redriven: u64, checks: &mut Checks) -> Vec<Group> {
        let (audit, builds, notifier) = (&self.audit.tally, &self.builds.tally, &self.notifier);
        let groups = vec![
            Group {
                name: "audit",
                expected: plan.published,
                delivered: audit.distinct(),
                duplicated: audit.duplicates(),
                lost: plan.published.saturating_sub(audit.distinct()),
                ..Group::default()
            },
            Group {
                name: "ci",
                expected: plan.builds,
                delivered: builds.distinct(),
                duplicated: builds.duplicates(),
                lost: plan.builds.saturating_sub(builds.distinct()),
                ..Group::default()
            },
            Group {
                name: "notify",
                expected: plan.published,
                delivered: notifier.delivered.distinct(),
                retried: notifier.retried(),
                dead_lettered: dead,
                redriven,
                lost: plan.published.saturating_sub(notifier.posted.distinct()),
                duplicated: notifier.delivered.duplicates() + notifier.posted.duplicates(),
            },
        ];
        for group in &groups {
            let name = group.name;
            checks.count(
                format!("{name}: delivered"),
                group.expected,
                group.delivered,
            );
            checks.count(format!("{name}: lost"), 0, group.lost);
            checks.count(format!("{name}: duplicated"), 0, group.duplicated);
        }
        checks.count("notify: retried", plan.retried, notifier.retried());
        groups
    }
}
