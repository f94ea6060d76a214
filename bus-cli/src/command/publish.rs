//! `bus pub`.

mod input;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bus::{BusClient, Confirmed, MessageId, PublishConfirmation, Publisher};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::input::{Draft, Input};
use crate::arguments::pair;
use crate::exit::{FAILED, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{progress, when};

const EXAMPLES: &str = "\
Examples:
  bus pub orders.placed '{\"id\": 7}' --type order.placed --key 7
  echo hello | bus pub greetings
  bus pub logs.app --lines < app.log
  bus sub 'orders.>' --count 100 --json | bus pub --ndjson
  bus pub load.test x --count 100000 --rate 5000";

/// Publishes messages and waits until the broker has confirmed them
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Publish {
    /// Topic, such as orders.placed; can be left out with --ndjson whose lines name one
    #[arg(required_unless_present = "ndjson")]
    topic: Option<String>,
    /// Payload; `-` or nothing reads standard input
    payload: Option<String>,
    /// Type of the event
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Content type; without it, application/json for what is JSON, else text/plain or
    /// application/octet-stream
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Key: messages of one topic and key stay in order
    #[arg(long)]
    key: Option<String>,
    /// Header; can be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Message id instead of a new one
    #[arg(long, conflicts_with_all = ["lines", "ndjson", "count"])]
    id: Option<String>,
    /// A second message of this topic and id within the window is not stored
    #[arg(long, value_name = "ID", conflicts_with_all = ["lines", "ndjson", "count"])]
    dedup_id: Option<String>,
    /// The id that all messages of one business transaction share
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// No handler sees it any more after this long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    expires_in: Option<Duration>,
    /// Payload from a file
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    file: Option<PathBuf>,
    /// Every line of the input is a message
    #[arg(long, conflicts_with_all = ["payload", "ndjson"])]
    lines: bool,
    /// Every line of the input is a JSON object as `bus sub --json` writes it: topic, type, key, headers,
    /// and payload (JSON), text or hex
    #[arg(long, conflicts_with = "payload")]
    ndjson: bool,
    /// Publishes the payload so many times
    #[arg(long, value_name = "N", conflicts_with_all = ["lines", "ndjson"])]
    count: Option<u64>,
    /// At most so many messages a second
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// At most so many messages wait for their confirmation
    #[arg(long, value_name = "N", default_value_t = 1024)]
    batch: usize,
}

/// What became of the messages so far.
#[derive(Default)]
struct Tally {
    published: u64,
    duplicates: u64,
    failed: u64,
    first: Option<bus::Error>,
}

impl Publish {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let single = !self.lines && !self.ndjson && self.count.unwrap_or(1) == 1;
        let mut input = Input::open(&self).await?;
        if single {
            if let Some(draft) = input.next().await? {
                let confirmed = self.send(&bus.publisher(), &draft).await?.await?;
                said(output, &confirmed)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let bar = progress::start(output, "published", self.count);
        let begun = Instant::now();
        let (tally, interrupted) = self.send_all(bus, input, &bar, output).await?;
        bar.finish_and_clear();
        let took = begun.elapsed().as_secs_f64();
        let Tally {
            published,
            duplicates,
            failed,
            ..
        } = tally;
        output.note(&format!(
            "{published} published in {took:.1} s ({duplicates} duplicates), {failed} failed"
        ));
        if interrupted {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        match tally.first {
            // What it did not store is not the whole story: others were stored.
            Some(error) if published > 0 => {
                output.note(&format!("the first failure: {error}"));
                Ok(ExitCode::from(FAILED))
            }
            Some(error) => Err(error.into()),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Sends everything in order; true when the user ended it.
    async fn send_all(
        &self,
        bus: &BusClient,
        mut input: Input,
        bar: &ProgressBar,
        output: &Output,
    ) -> Result<(Tally, bool)> {
        let mut interrupt = Interrupt::listen()?;
        let publisher = bus.publisher();
        let mut waiting = VecDeque::new();
        let mut tally = Tally::default();
        let begun = Instant::now();
        let mut sent: u32 = 0;
        let mut unreadable = None;
        loop {
            let draft = tokio::select! {
                () = interrupt.wanted() => break,
                draft = input.next() => draft,
            };
            let draft = match draft {
                Ok(Some(draft)) => draft,
                Ok(None) => break,
                Err(error) => {
                    unreadable = Some(error);
                    break;
                }
            };
            if let Some(rate) = self.rate {
                let due = begun + Duration::from_secs(1) / rate.max(1) * sent;
                tokio::select! {
                    () = interrupt.wanted() => break,
                    () = sleep_until(due) => {}
                }
            }
            sent = sent.saturating_add(1);
            match self.send(&publisher, &draft).await {
                Ok(confirmation) => waiting.push_back(confirmation),
                Err(error) => tally.note(Err(error), output)?,
            }
            while waiting.len() >= self.batch.max(1) {
                settle(&mut waiting, &mut tally, output).await?;
            }
            bar.set_position(tally.published);
        }
        while !waiting.is_empty() {
            settle(&mut waiting, &mut tally, output).await?;
        }
        match unreadable {
            Some(error) => Err(error.context(format!("after {} messages", tally.published))),
            None => Ok((tally, interrupt.is_wanted())),
        }
    }

    async fn send(&self, publisher: &Publisher, draft: &Draft) -> bus::Result<PublishConfirmation> {
        let mut publish = publisher.send(&draft.message);
        for (name, value) in &draft.headers {
            publish = publish.header(name, value.as_str());
        }
        if let Some(id) = &draft.id {
            publish = publish.id(MessageId::new(id));
        }
        if let Some(id) = &self.dedup_id {
            publish = publish.dedup_id(id.as_str());
        }
        if let Some(id) = &draft.correlation_id {
            publish = publish.correlation_id(id.as_str());
        }
        if let Some(id) = &draft.causation_id {
            publish = publish.causation_id(id.as_str());
        }
        if let Some(subject) = &draft.subject {
            publish = publish.subject(subject.as_str());
        }
        if let Some(expires_in) = self.expires_in {
            publish = publish.expires_in(expires_in);
        }
        publish.await
    }
}

async fn settle(
    waiting: &mut VecDeque<PublishConfirmation>,
    tally: &mut Tally,
    output: &Output,
) -> Result<()> {
    match waiting.pop_front() {
        Some(confirmation) => tally.note(confirmation.await, output),
        None => Ok(()),
    }
}

impl Tally {
    fn note(&mut self, result: bus::Result<Confirmed>, output: &Output) -> Result<()> {
        match result {
            Ok(confirmed) => {
                self.published += 1;
                self.duplicates += u64::from(confirmed.duplicate);
                if output.is_json() {
                    said(output, &confirmed)?;
                }
            }
            Err(error) => {
                self.failed += 1;
                if output.is_json() {
                    let kind = error.kind().as_str();
                    let error = json!({"kind": kind, "message": error.to_string()});
                    output.json(&json!({ "error": error }))?;
                }
                self.first.get_or_insert(error);
            }
        }
        Ok(())
    }
}

/// The line about a message that was stored.
fn said(output: &Output, confirmed: &Confirmed) -> Result<()> {
    let position = confirmed.position.as_ref().map(ToString::to_string);
    let value = json!({
        "id": confirmed.id.to_string(),
        "position": position,
        "duplicate": confirmed.duplicate,
    });
    let word = if confirmed.duplicate {
        "already stored"
    } else {
        "stored"
    };
    let place = position.map_or_else(String::new, |position| format!(" at {position}"));
    output
        .either(&value, &format!("{word} {}{place}", confirmed.id))
        .context("cannot write")?;
    Ok(())
}
