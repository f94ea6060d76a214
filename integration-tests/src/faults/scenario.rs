//! One kind of fault, many times, under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bus::{AckDurability, BusClient, Filter, Group, Pattern, SubscriptionId};

use super::crew::{Crew, Ear};
use super::fault::{Cut, Fault};
use super::ledger::{Ledger, Verdict};
use super::load::{Load, RELIEF};
use super::member::Orders;
use super::probe::{PATTERN, Probe, now};
use super::stage::Stage;
use super::table::Row;

const GROUP: &str = "crew";
const MEMBERS: usize = 4;
/// Long enough for a machine that is busy, short enough that what dead members held comes back soon.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// How long everything may take to go on after a fault is over.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the rest may take after the last fault.
const END_TIMEOUT: Duration = Duration::from_secs(120);
/// Confirmed publishes a second under which a fault is worth its name.
const ENOUGH: f64 = 2_000.0;
/// How long they may fail to come: servers that elect leaders, a machine that is busy.
const UNREST: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What a scenario is run with.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) times: u32,
    /// Publishes a second.
    pub(super) rate: u32,
    pub(super) seed: u64,
}

/// A scenario that runs.
struct Scenario {
    plan: Plan,
    dice: fastrand::Rng,
    ledger: Arc<Ledger>,
    crew: Crew,
    /// Publishes a second before each fault.
    rates: Vec<f64>,
    resumed: Vec<Duration>,
}

/// Runs one scenario in a namespace of its own.
pub(super) async fn run(stage: &mut Stage, plan: Plan) -> Result<Row> {
    let begun = Instant::now();
    let dice = fastrand::Rng::with_seed(plan.seed ^ plan.fault as u64);
    let namespace = format!("f-{:08x}", fastrand::u32(..));
    let direct = stage.url(&namespace);
    let url = match plan.fault {
        Fault::Cut => stage.proxied_url(&namespace),
        _ => direct.clone(),
    };
    let ledger = Arc::new(Ledger::default());
    let bus = bus::connect(url.as_str()).await?;
    let ear: Ear = {
        let ledger = Arc::clone(&ledger);
        Arc::new(move |report| ledger.books().note(report))
    };
    let lease = LEASE.max(bus.capabilities().min_lease);
    let orders = Orders {
        url,
        group: GROUP.to_owned(),
        lease: u64::try_from(lease.as_millis())?,
        aborts: false,
    };
    let crew = Crew::start(orders, ear, MEMBERS)
        .await
        .with_context(|| ledger.books().complaints.join("; "))?;
    let load = Load::start(bus.clone(), Arc::clone(&ledger), plan.rate);
    let mut scenario = Scenario {
        plan,
        dice,
        ledger,
        crew,
        rates: Vec::new(),
        resumed: Vec::new(),
    };
    scenario.go_on(Instant::now()).await?;
    scenario.resumed.clear();
    for _ in 0..scenario.plan.times {
        scenario.calm().await;
        scenario.strike(stage).await?;
    }
    load.stop().await?;
    let verdict = scenario.end(&bus, &direct).await.context("at the end")?;
    bus.close().await.context("closing")?;
    Ok(scenario.row(begun.elapsed(), verdict))
}

impl Scenario {
    /// Lets load pass for a random while, and until there is enough of it.
    async fn calm(&mut self) {
        let length = Duration::from_millis(self.dice.u64(400..1_000));
        let give_up_at = Instant::now() + UNREST;
        let mut rate = 0.0;
        while rate < ENOUGH && Instant::now() < give_up_at {
            let before = self.ledger.books().confirmed;
            let begun = Instant::now();
            tokio::time::sleep(length).await;
            let published = self.ledger.books().confirmed - before;
            rate = published as f64 / begun.elapsed().as_secs_f64();
        }
        self.rates.push(rate);
    }

    async fn strike(&mut self, stage: &mut Stage) -> Result<()> {
        let away = Duration::from_millis(self.dice.u64(0..1_000));
        match self.plan.fault {
            Fault::ServerKill => {
                let killed = now();
                stage.kill(&mut self.dice, away).await?;
                self.ledger.books().note_kill(killed, now());
            }
            Fault::MemberKill => {
                let unlucky = self.dice.usize(0..self.crew.len());
                self.crew.replace(unlucky)?;
            }
            Fault::Cut => {
                let cut = Cut::ALL[self.dice.usize(0..Cut::ALL.len())];
                stage.cut(cut, away).await;
            }
            Fault::Pause => stage.pause(&mut self.dice, Duration::from_secs(5)).await?,
        }
        self.go_on(Instant::now()).await
    }

    /// Waits until messages are confirmed and settled again, and until members keep up.
    async fn go_on(&mut self, healed: Instant) -> Result<()> {
        let (confirmed, settled) = {
            let books = self.ledger.books();
            (books.confirmed, books.settled)
        };
        let mut resumed = None;
        loop {
            let (goes_on, backlog, ended) = {
                let books = self.ledger.books();
                let goes_on = books.confirmed > confirmed && books.settled > settled;
                (goes_on, books.waiting, books.complaints.first().cloned())
            };
            if goes_on && resumed.is_none() {
                resumed = Some(healed.elapsed());
            }
            if let (Some(resumed), true) = (resumed, backlog < RELIEF) {
                self.resumed.push(resumed);
                return Ok(());
            }
            if let Some(complaint) = ended {
                bail!(
                    "{}, round {}: {complaint}",
                    self.plan.fault,
                    self.rates.len()
                );
            }
            if healed.elapsed() > RESUME_TIMEOUT {
                bail!(
                    "{}, round {}: {RESUME_TIMEOUT:?} after the end of the fault, {}",
                    self.plan.fault,
                    self.rates.len(),
                    self.stuck(confirmed, settled, backlog)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn stuck(&self, confirmed: u64, settled: u64, backlog: u64) -> String {
        let books = self.ledger.books();
        format!(
            "{} publishes were confirmed and {} messages settled since; {backlog} wait",
            books.confirmed - confirmed,
            books.settled - settled
        )
    }

    /// Waits until everything that was confirmed has its end, and judges.
    async fn end(&self, bus: &BusClient, direct: &str) -> Result<Verdict> {
        let begun = Instant::now();
        let id = SubscriptionId::new(Group::new(GROUP)?, Pattern::new(PATTERN)?);
        let mut wrong = Vec::new();
        loop {
            let left = match bus.subscriptions().get(&id).await {
                Ok(info) if info.lag == 0 => {
                    // `retention=settled`, without limits that could be exceeded.
                    if info.dropped > 0 {
                        wrong.push(format!("{} unsettled messages were removed", info.dropped));
                    }
                    break;
                }
                Ok(info) => format!("{} messages still wait", info.lag),
                // A server that recovers, or a busy machine.
                Err(error) if error.is_retryable() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if begun.elapsed() > END_TIMEOUT {
                let open = self.ledger.books().open();
                wrong.push(format!(
                    "{END_TIMEOUT:?} after the last fault {open} confirmed messages have no confirmed end: \
                     {left}"
                ));
                break;
            }
            tokio::time::sleep(POLL * 10).await;
        }
        let judge = bus::connect(direct).await?;
        let dead = buried(&judge).await?;
        let flushed = match judge.capabilities().ack_durability {
            AckDurability::Flushed(bound) => bound,
            _ => Duration::ZERO,
        };
        judge.close().await?;
        let mut verdict = self.ledger.books().judge(&dead, flushed);
        verdict.violations.extend(wrong);
        Ok(verdict)
    }

    fn row(&self, took: Duration, verdict: Verdict) -> Row {
        let books = self.ledger.books();
        Row {
            fault: self.plan.fault.to_string(),
            times: self.plan.times,
            rates: self.rates.clone(),
            confirmed: books.confirmed,
            indeterminate: books.indeterminate,
            rejected: books.rejected,
            settled: books.settled,
            fenced: books.fenced,
            refusals: books.refusals.clone(),
            resumed: self.resumed.iter().max().copied().unwrap_or_default(),
            took,
            verdict,
        }
    }
}

/// How many dead letters each number has.
pub(super) async fn buried(bus: &BusClient) -> Result<BTreeMap<u64, u64>> {
    let letters = bus.dead_letters(GROUP);
    let (mut found, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = letters
            .page(&Filter::default(), cursor.as_ref(), 500)
            .await?;
        for letter in page.entries {
            let probe = letter.decode::<Probe>().context("a dead letter")?;
            *found.entry(probe.number).or_default() += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}
