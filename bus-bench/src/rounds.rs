//! The rounds of a run.

use anyhow::{Context, Result, ensure};
use bus::BusUrl;

use crate::arguments::Arguments;
use crate::flat;
use crate::load::Load;
use crate::measured::Measured;
use crate::ours::Ours;
use crate::place::Place;
use crate::report::{Guarantee, Report, draw};
use crate::side::{Sample, Side};
use crate::work::Work;

/// Measures the bus at `url` and the raw clients of its transport, in a runtime of its own.
///
/// The bus gets a namespace of its own instead of that of the URL, and its other options; of raw clients
/// only their addresses and credentials are known.
///
/// # Errors
/// The bus or the server cannot be reached, some work failed, or the plot cannot be written.
pub fn run(url: &BusUrl, arguments: &Arguments) -> Result<Report> {
    ensure!(
        arguments.rounds > 0 && arguments.messages != Some(0),
        "there is nothing to measure"
    );
    let runtime = match arguments.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?,
    };
    let report = runtime.block_on(measure(url, arguments))?;
    if let Some(path) = &arguments.plot {
        let title = format!("Rate of the {} to raw clients", report.sides[0].side);
        draw(path, &title, &report.measured)?;
    }
    Ok(report)
}

async fn measure(url: &BusUrl, arguments: &Arguments) -> Result<Report> {
    // A namespace of its own: nothing of an earlier run, nor of anybody else, is in the way.
    let namespace = format!("bench-{:08x}", fastrand::u32(..));
    let ours = Ours::connect(url, &namespace).await.context("the bus")?;
    let in_process = url.scheme() == "memory";
    let messages = arguments
        .messages
        .unwrap_or(if in_process { 100_000 } else { 20_000 });
    let mut sides: Vec<Box<dyn Side>> = vec![Box::new(ours)];
    if !arguments.alone && !arguments.flat {
        sides.extend(crate::raw::sides(url).await.context("the raw client")?);
    }
    let mut server = None;
    for side in &sides {
        server = server.or(side.server().await);
    }
    let mut report = Report {
        place: Place::here(server),
        rounds: arguments.rounds,
        threads: arguments.threads.max(1),
        sides: sides
            .iter()
            .map(|side| Guarantee {
                side: side.name().to_owned(),
                guarantees: side.guarantees().to_owned(),
            })
            .collect(),
        measured: Vec::new(),
        flat: Vec::new(),
    };
    for bytes in &arguments.payload {
        if arguments.flat {
            let flat = flat::measure(url, &namespace, messages, *bytes, arguments);
            report.flat.push(flat.await?);
            continue;
        }
        for work in Work::ALL {
            if !arguments.wants(&work) || (work.is_in_process() && !in_process) {
                continue;
            }
            let messages = work.share(messages);
            let samples = rounds(&sides, &namespace, work, messages, *bytes, arguments.rounds)
                .await
                .with_context(|| format!("{work}"))?;
            report
                .measured
                .push(Measured::of(work, *bytes, messages, &samples));
        }
    }
    Ok(report)
}

/// All sides in turn, again and again; each round begins with another one.
async fn rounds<'a>(
    sides: &'a [Box<dyn Side>],
    namespace: &str,
    work: Work,
    messages: usize,
    bytes: usize,
    rounds: usize,
) -> Result<Vec<(&'a str, Vec<Sample>)>> {
    let mut samples: Vec<_> = sides
        .iter()
        .map(|side| (side.name(), Vec::with_capacity(rounds)))
        .collect();
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let index = (round + turn) % sides.len();
            let side = &sides[index];
            let load = Load::new(messages, bytes);
            let sample = side.run(work, &load).await;
            let sample = sample.with_context(|| side.name().to_owned())?;
            samples[index].1.extend(sample);
            for side in sides {
                side.clean(namespace, &load.root).await?;
            }
        }
    }
    samples.retain(|(_, samples)| !samples.is_empty());
    Ok(samples)
}
