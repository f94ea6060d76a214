//! `bus reply`.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use bus::{
    BusClient, Group, IncomingRequest, Message, MessageId, Metadata, Pattern, ResponderSpec, clock,
    ids,
};
use bytes::Bytes;
use clap::Args;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Duration, Instant, timeout_at};

use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::payload;

const EXAMPLES: &str = "\
Examples:
  bus reply ping pong
  bus reply 'prices.*' --command './price.sh'     the question on standard input, the reply on its output
  bus reply echo --echo";

/// Answers questions until it is ended
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reply {
    /// Pattern of topics
    pattern: String,
    /// The reply
    #[arg(required_unless_present_any = ["command", "echo"])]
    payload: Option<String>,
    /// Runs this in a shell for each question
    #[arg(long, conflicts_with = "payload")]
    command: Option<String>,
    /// Replies with the question
    #[arg(long, conflicts_with_all = ["payload", "command"])]
    echo: bool,
    /// Responders of one group share the questions
    #[arg(long, default_value = "bus-reply")]
    group: Group,
    /// Ends after so many
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Reply {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let mut interrupt = Interrupt::listen()?;
        let spec = ResponderSpec {
            group: self.group.clone(),
            pattern: Pattern::new(&self.pattern)?,
            max_in_flight: 1,
        };
        let mut requests = bus.adapter().respond(spec).await?;
        output.note(&format!("answering {}; Ctrl-C ends", self.pattern));
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let batch = tokio::select! {
                () = interrupt.wanted() => break,
                batch = requests.receiver.receive(1) => batch?,
            };
            for request in batch {
                left = left.saturating_sub(1);
                let (id, topic) = (
                    request.message.metadata.id.to_string(),
                    request.message.topic.to_string(),
                );
                let reply_to = request.reply_to.clone();
                let result = match self.answer(&request).await {
                    Ok(payload) => {
                        let message = message(bus, &request, payload);
                        let mut results = requests.replier.reply(vec![(reply_to, message)]).await;
                        results.pop().unwrap_or(Ok(())).map_err(Into::into)
                    }
                    // The requester runs into its time-out.
                    Err(error) => Err(error),
                };
                let line = serde_json::json!({
                    "topic": topic,
                    "id": id,
                    "replied": result.is_ok(),
                });
                output.either(&line, &format!("{topic}  {id}"))?;
                if let Err(error) = result {
                    output.note(&format!("not answered: {error:#}"));
                }
            }
        }
        requests
            .replier
            .leave(Instant::now() + Duration::from_secs(5))
            .await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn answer(&self, request: &IncomingRequest) -> Result<Bytes> {
        if let Some(payload) = &self.payload {
            return Ok(Bytes::copy_from_slice(payload.as_bytes()));
        }
        let question = &request.message.payload;
        match &self.command {
            Some(command) => timeout_at(request.deadline, execute(command, question))
                .await
                .context("the command took longer than the requester waits")?,
            None => Ok(question.clone()),
        }
    }
}

/// Runs `command` in a shell with `input` and returns what it writes.
async fn execute(command: &str, input: &[u8]) -> Result<Bytes> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a shell")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read the question.
        let _ = stdin.write_all(input).await;
    }
    let output = child.wait_with_output().await?;
    anyhow::ensure!(
        output.status.success(),
        "the command ended with {}",
        output.status
    );
    Ok(output.stdout.into())
}

/// The message that answers `request`.
fn message(bus: &BusClient, request: &IncomingRequest, payload: Bytes) -> Message {
    let asked = &request.message.metadata;
    let id = asked.id.to_string();
    let reply_id: MessageId = ids::next();
    let mut metadata = Metadata::new(reply_id, bus.settings().source.clone(), clock::now());
    metadata.event_type = asked
        .event_type
        .as_ref()
        .map(|name| format!("{name}.reply").into());
    metadata.content_type = Some(payload::content_type(&payload).into());
    metadata.correlation_id = Some(
        asked
            .correlation_id
            .clone()
            .unwrap_or_else(|| id.as_str().into()),
    );
    metadata.causation_id = Some(id.into());
    Message::new(request.message.topic.clone(), metadata, payload)
}
