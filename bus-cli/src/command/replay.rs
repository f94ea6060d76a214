//! `bus replay`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use bus::{BusClient, Envelope, Raw, Start, Subscription, Topic};
use clap::Args;
use serde_json::json;

use super::subscribe::pause;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::show::{self, Format};
use crate::{exit, progress, when};

const EXAMPLES: &str = "\
Examples:
  bus replay 'orders.>' --from 1h
  bus replay orders.placed --from earliest --until 2026-01-31T12:00:00Z --into orders.again

To show stored messages again to a group, see `bus groups reset`.";

/// Writes what is stored, from a place to now, or publishes it again to another topic
///
/// No group notices, and nothing is left behind.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// Patterns of topics
    #[arg(required = true)]
    patterns: Vec<String>,
    /// Where to start: earliest, a position, a time, or how long ago, such as 1h
    #[arg(long, value_name = "START", value_parser = when::start, default_value = "earliest")]
    from: Start,
    /// Ends at messages that were stored at this time or later; otherwise now
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    until: Option<SystemTime>,
    /// Publishes the messages to this topic, under the same ids, instead of writing them
    #[arg(long, value_name = "TOPIC")]
    into: Option<Topic>,
    /// The end of what is stored is where nothing comes for this long
    #[arg(long, value_name = "DURATION", value_parser = when::duration, default_value = "2s")]
    idle: Duration,
    /// How messages are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Replay {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let mut subscribe = bus.broadcast::<Raw>().start_at(self.from.clone());
        for pattern in &self.patterns {
            subscribe = subscribe.pattern(pattern);
        }
        let mut subscription = subscribe.await?;
        let outcome = self.replay(bus, &mut subscription, output).await;
        let closed = subscription.close().await;
        let code = outcome?;
        closed?;
        Ok(code)
    }

    async fn replay(
        &self,
        bus: &BusClient,
        subscription: &mut Subscription<Raw>,
        output: &Output,
    ) -> Result<ExitCode> {
        let mut interrupt = Interrupt::listen()?;
        let until = self.until.unwrap_or_else(SystemTime::now);
        let format = if output.is_json() {
            Format::Json
        } else {
            self.format
        };
        let bar = match &self.into {
            Some(_) => progress::start(output, "published", None),
            None => indicatif::ProgressBar::hidden(),
        };
        let mut count: u64 = 0;
        loop {
            let next = tokio::select! {
                () = interrupt.wanted() => return Ok(ExitCode::from(exit::INTERRUPTED)),
                () = pause(Some(self.idle)) => break,
                next = subscription.next() => next,
            };
            let Some(received) = next else { break };
            let (message, token) = received?.into_parts();
            let late = message.position.stored_at() >= until;
            if !late {
                match &self.into {
                    Some(topic) => publish(bus, topic, &message).await?,
                    None => show::write(output, format, &message)?,
                }
                count += 1;
                bar.set_position(count);
            }
            drop(token.ack());
            // Other topics may not have come that far; silence ends them.
        }
        bar.finish_and_clear();
        if let Some(topic) = &self.into {
            let text = format!("{count} published to {topic}");
            output.either(&json!({ "published": count }), &text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn publish(bus: &BusClient, topic: &Topic, message: &Envelope<Raw>) -> bus::Result<()> {
    let event = Raw {
        topic: topic.clone(),
        ..message.event.clone()
    };
    let mut publish = bus.publish(&event).id(message.metadata.id.clone());
    for (name, value) in message.headers.iter() {
        publish = publish.header(name, value);
    }
    if let Some(id) = &message.metadata.correlation_id {
        publish = publish.correlation_id(id.clone());
    }
    if let Some(id) = &message.metadata.causation_id {
        publish = publish.causation_id(id.clone());
    }
    publish.await.map(drop)
}
