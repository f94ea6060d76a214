//! A message whose handler aborts the process, among others that do no harm (R4).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bus::{Failure, Filter};

use super::crew::{Ear, Member};
use super::member::{ABORT_ATTEMPTS, ABORTS, Orders};
use super::probe::Probe;
use super::report::Report;
use super::scenario::LEASE;
use super::stage::Stage;
use super::table::AbortRow;

const GROUP: &str = "aborting";
/// Events beside the one that aborts.
const OTHERS: u64 = 200;
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Seen {
    /// How often the handler was entered with each number.
    started: BTreeMap<u64, u32>,
    handled: BTreeMap<u64, u32>,
}

/// Publishes them and starts the worker again whenever it has died, until everything has its end.
pub(super) async fn run(stage: &Stage) -> Result<AbortRow> {
    let begun = Instant::now();
    let namespace = format!("f-{:08x}", fastrand::u32(..));
    let url = stage.url(&namespace);
    let bus = bus::connect(url.as_str()).await?;
    let probes: Vec<Probe> = (0..=OTHERS).map(Probe::new).collect();
    for outcome in bus.publish_batch(&probes).await {
        outcome?;
    }
    let orders = Orders {
        url,
        group: GROUP.to_owned(),
        lease: u64::try_from(LEASE.max(bus.capabilities().min_lease).as_millis())?,
        aborts: true,
    };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let ear: Ear = {
        let seen = Arc::clone(&seen);
        Arc::new(move |report| note(&seen, report))
    };
    let mut processes = 1;
    let mut member = Member::start(&orders, &ear)?;
    let letters = bus.dead_letters(GROUP);
    loop {
        let handled = read(&seen, |seen| seen.handled.len());
        if handled as u64 >= OTHERS && letters.count(&Filter::default()).await? > 0 {
            break;
        }
        if member.has_ended()? {
            member = Member::start(&orders, &ear)?;
            processes += 1;
        }
        if begun.elapsed() > TIMEOUT {
            bail!(
                "the aborting message: after {TIMEOUT:?} and {processes} processes, {handled} of {OTHERS} \
                 others are handled"
            );
        }
        tokio::time::sleep(POLL).await;
    }
    let found = letters.page(&Filter::default(), None, 100).await?.entries;
    drop(member);
    bus.close().await?;
    let runs = read(&seen, |seen| {
        seen.started.get(&ABORTS).copied().unwrap_or(0)
    });
    let mut violations = Vec::new();
    if runs > ABORT_ATTEMPTS + 1 {
        violations.push(format!(
            "the handler that aborts ran {runs} times; {ABORT_ATTEMPTS} attempts are allowed"
        ));
    }
    for letter in &found {
        let number = letter.decode::<Probe>()?.number;
        if number != ABORTS || letter.error.kind != Failure::CRASH {
            violations.push(format!("{number} is a dead letter: {}", letter.error));
        }
    }
    if found.len() != 1 {
        violations.push(format!("{} dead letters instead of one", found.len()));
    }
    Ok(AbortRow {
        others: read(&seen, |seen| seen.handled.len()),
        runs,
        processes,
        dead_letters: found.len(),
        took: begun.elapsed(),
        violations,
    })
}

fn note(seen: &Mutex<Seen>, report: &Report) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match *report {
        Report::Started { number } => *seen.started.entry(number).or_default() += 1,
        Report::Acked { number, .. } => *seen.handled.entry(number).or_default() += 1,
        _ => {}
    }
}

fn read<T>(seen: &Mutex<Seen>, of: impl FnOnce(&Seen) -> T) -> T {
    of(&seen.lock().unwrap_or_else(PoisonError::into_inner))
}
