//! `bus conformance`.

mod factory;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use bus_conformance::{Report, RunOptions};
use clap::{Args, ValueEnum};

use self::factory::UrlFactory;
use crate::arguments::Global;
use crate::connection;
use crate::exit::FAILED;
use crate::output::Output;

/// Runs the conformance suite against the bus, each case in a namespace of its own
///
/// Cases that have to kill, cut or restart the broker, or to reach behind the bus, are not run. The
/// namespaces of the cases stay on the broker until its retention removes them.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  bus conformance --url redis://localhost --filter p1_ --format junit --output report.xml"
)]
pub(crate) struct Conformance {
    /// Only cases whose name contains this, such as p1_
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// How many cases run at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// The same random choices as an earlier run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Writes the report into this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of the report.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// A table, clause by clause
    #[default]
    Markdown,
    /// For continuous integration
    Junit,
}

impl Conformance {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<ExitCode> {
        let config = connection::config(global)?;
        let factory = UrlFactory::new(&config).await?;
        let options = RunOptions {
            filter: self.filter,
            jobs: self.jobs,
            seed: self.seed,
        };
        let report = bus_conformance::run(Arc::new(factory), options).await;
        let text = match self.format {
            Form::Markdown => report.markdown(),
            Form::Junit => report.junit(),
        };
        match &self.output {
            Some(path) => std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?,
            None => output.bytes(text.as_bytes())?,
        }
        sum_up(&report, output);
        Ok(if report.passed() && !report.rows.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }
}

fn sum_up(report: &Report, output: &Output) {
    for row in report.failures() {
        if let bus_conformance::Outcome::Failed(text) = &row.outcome {
            output.note(&format!(
                "{} failed: {text} (--seed {})",
                row.case, row.seed
            ));
        }
    }
    let failed = report.failures().count();
    let (cases, subject) = (report.rows.len(), &report.subject);
    output.note(&format!("{subject}: {failed} of {cases} cases failed"));
}
