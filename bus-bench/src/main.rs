//! What the bus costs over the raw clients: both sides do the same work in turn, in one run.

mod ours;
mod outcome;
mod raw;
mod side;
mod work;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;

use crate::ours::Ours;
use crate::outcome::{Outcome, table};
use crate::raw::Broadcast;
use crate::side::{Load, Side};
use crate::work::Work;

/// Compares the bus with the raw client of its transport.
#[derive(Debug, Parser)]
struct Args {
    /// The bus to measure.
    #[arg(long, default_value = "memory://", env = "BUS_URL")]
    bus: String,
    /// Messages of a round.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Rounds of each work and side, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// Only work whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.messages > 0,
        "there is nothing to measure"
    );
    let runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?,
    };
    runtime.block_on(run(&args))
}

/// The raw client of the transport of `url`.
fn raw(url: &str) -> Option<Box<dyn Side>> {
    match url.split_once("://")?.0 {
        "memory" => Some(Box::new(Broadcast)),
        _ => None,
    }
}

async fn run(args: &Args) -> Result<()> {
    let ours = Ours::connect(&args.bus).await.context("the bus")?;
    let raw = raw(&args.bus);
    let mut outcomes = Vec::new();
    for work in Work::ALL {
        let wanted = args
            .only
            .as_ref()
            .is_none_or(|only| work.to_string().contains(only));
        if !wanted {
            continue;
        }
        let load = Load {
            messages: work.share(args.messages),
            payload: Bytes::from(vec![b'x'; args.payload]),
        };
        let (mut of_ours, mut of_raw) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            of_ours.extend(
                ours.run(work, &load)
                    .await
                    .with_context(|| format!("{work}"))?,
            );
            if let Some(raw) = &raw {
                of_raw.extend(raw.run(work, &load).await?);
            }
        }
        outcomes.extend(Outcome::of(work, load.messages, &of_ours, &of_raw));
    }
    show(args, &ours, raw.as_deref(), &outcomes)?;
    let wrong = outcomes
        .iter()
        .filter(|o| o.lost + o.duplicated > 0)
        .count();
    ensure!(wrong == 0, "messages were lost or duplicated");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn show(args: &Args, ours: &Ours, raw: Option<&dyn Side>, outcomes: &[Outcome]) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(outcomes)?);
        return Ok(());
    }
    println!("{}", table(outcomes, ours.name(), raw.map(Side::name)));
    println!(
        "{} B payloads, {} rounds of each side in turn, {} thread(s); medians (least–most)",
        args.payload, args.rounds, args.threads
    );
    println!("{}: {}", ours.name(), ours.guarantees());
    if let Some(raw) = raw {
        println!("{}: {}", raw.name(), raw.guarantees());
    }
    Ok(())
}
