//! Fault runs: real servers, member processes and connections are taken away under load, through the public
//! API, and every message is counted by its number.

mod abort;
mod crew;
mod fault;
mod ledger;
mod load;
mod member;
mod play;
mod probe;
mod report;
mod scenario;
mod stage;
mod table;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use self::fault::Fault;
use self::member::Orders;
use self::play::Play;
use self::scenario::Plan;
use self::stage::Stage;
use crate::brokers::Kind;

/// The brokers whose adapter is compiled in.
const KINDS: &[Kind] = &[
    #[cfg(feature = "redis")]
    Kind::Redis,
    #[cfg(feature = "nats")]
    Kind::Nats,
    #[cfg(feature = "kafka")]
    Kind::Kafka,
];

/// Servers, members and connections are taken away under load, and every message is counted.
#[derive(Parser)]
#[command(name = "cargo xtask faults", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    director: Director,
}

#[derive(Subcommand)]
enum Part {
    /// A member's process; the run starts these.
    #[command(hide = true)]
    Member(Orders),
}

/// What the run as a whole is told.
#[derive(Args)]
struct Director {
    /// `redis`, `nats`, `kafka`; all when none is named.
    transports: Vec<Kind>,
    /// How often servers and members are killed; cuts and pauses follow in proportion (20 and 10 to 50).
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Repeats the choices of a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Publishes a second.
    #[arg(long, default_value_t = 3_000)]
    rate: u32,
    /// Only faults whose name contains this text, such as `member`.
    #[arg(long)]
    only: Option<String>,
    /// Only where so many servers belong together: 1 or 3.
    #[arg(long)]
    servers: Option<usize>,
}

/// The `main` of the program, which is also the program of every member.
pub fn main() -> ExitCode {
    let outcome = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(play(Arguments::parse())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about an output that is closed.
            let _ = writeln!(std::io::stderr(), "faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: Arguments) -> Result<()> {
    if let Some(Part::Member(orders)) = arguments.part {
        return member::run(orders).await;
    }
    let director = arguments.director;
    let seed = director.seed.unwrap_or_else(|| fastrand::u64(..));
    writeln!(std::io::stdout(), "seed {seed}")?;
    let kinds = match director.transports.as_slice() {
        [] => KINDS,
        some => some,
    };
    let mut violations = Vec::new();
    for kind in kinds {
        if !KINDS.contains(kind) {
            bail!("the adapter for {kind} is not in this build");
        }
        violations.extend(on_transport(*kind, &director, seed).await?);
    }
    if violations.is_empty() {
        return Ok(());
    }
    bail!("violations, seed {seed}:\n{}", violations.join("\n"))
}

/// Every play on one transport; returns the violations.
async fn on_transport(kind: Kind, director: &Director, seed: u64) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let of_size = |play: &&Play| {
        director
            .servers
            .is_none_or(|servers| servers == play.servers)
    };
    for play in Play::of(kind).iter().filter(of_size) {
        let chosen = |name: &str| {
            director
                .only
                .as_ref()
                .is_none_or(|text| name.contains(text))
        };
        let faults: Vec<&(Fault, u32)> = play
            .faults
            .iter()
            .filter(|(fault, _)| chosen(&fault.to_string()))
            .collect();
        let aborts = play.aborts && chosen("abort");
        if !faults.is_empty() || aborts {
            violations.extend(on_stage(kind, play, &faults, aborts, director, seed).await?);
        }
    }
    Ok(violations)
}

async fn on_stage(
    kind: Kind,
    play: &Play,
    faults: &[&(Fault, u32)],
    aborts: bool,
    director: &Director,
    seed: u64,
) -> Result<Vec<String>> {
    let mut out = std::io::stdout();
    let mut stage = Stage::start(kind, play).await?;
    writeln!(out, "\n{}", stage.describe())?;
    let (mut rows, mut abort_rows, mut violations) = (Vec::new(), Vec::new(), Vec::new());
    for (fault, full) in faults {
        let plan = Plan {
            fault: *fault,
            times: Play::scaled(*full, director.rounds),
            rate: director.rate,
            seed,
        };
        let row = scenario::run(&mut stage, plan).await?;
        violations.extend(named(kind, &row.fault, &row.verdict.violations));
        // Said at once, should a later fault end the run.
        for violation in &row.verdict.violations {
            writeln!(out, "violation: {violation}")?;
        }
        let seconds = row.took.as_secs();
        writeln!(out, "{}, {} times: {seconds} s", row.fault, row.times)?;
        rows.push(row);
    }
    for _ in 0..if aborts {
        Play::scaled(5, director.rounds)
    } else {
        0
    } {
        let row = abort::run(&stage).await?;
        violations.extend(named(kind, "aborting message", &row.violations));
        abort_rows.push(row);
    }
    if !rows.is_empty() {
        writeln!(out, "\n{}", table::rows(&rows))?;
    }
    if !abort_rows.is_empty() {
        writeln!(out, "\n{}", table::abort_rows(&abort_rows))?;
    }
    Ok(violations)
}

fn named(kind: Kind, what: &str, violations: &[String]) -> Vec<String> {
    let name = |violation| format!("{kind}, {what}: {violation}");
    violations.iter().map(name).collect()
}
