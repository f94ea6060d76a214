//! `bus sub`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, Envelope, Order, Raw, Start, Subscription};
use clap::Args;
use tokio::time::sleep;

use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::show::{self, Format};
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bus sub 'orders.>'                              new messages, leaving nothing behind
  bus sub 'orders.*' --from 1h --idle 2s          those of the last hour, then end
  bus sub orders.placed --group mail --count 10   take ten as a member of the group mail
  bus sub '>' --json | jq .payload";

/// Listens to topics and writes their messages
///
/// Without --group it gets every message and leaves nothing behind. With --group it is one of the members
/// that compete for the messages, and a message counts as handled once it is written.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Subscribe {
    /// Patterns of topics: `*` is one token, `>` at the end the rest
    #[arg(required = true)]
    patterns: Vec<String>,
    /// Joins this group
    #[arg(long)]
    group: Option<String>,
    /// Where to start: earliest, latest, a position, a time, or how long ago, such as 5m. A group that
    /// exists goes on where it was
    #[arg(long, value_name = "START", value_parser = when::start, default_value = "latest")]
    from: Start,
    /// Ends after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ends when nothing has come for this long
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    idle: Option<Duration>,
    /// How messages are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Messages of one key in order across the members of the group
    #[arg(long, requires = "group")]
    ordered: bool,
    /// Fetches at most so many messages ahead
    #[arg(long, value_name = "N")]
    max_in_flight: Option<usize>,
}

impl Subscribe {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let format = if output.is_json() {
            Format::Json
        } else {
            self.format
        };
        let mut subscription = self.join(bus).await?;
        output.note(&format!(
            "listening to {}; Ctrl-C ends",
            self.patterns.join(", ")
        ));
        let outcome = self.write(&mut subscription, format, output).await;
        let closed = subscription.close().await;
        outcome?;
        closed?;
        Ok(ExitCode::SUCCESS)
    }

    async fn join(&self, bus: &BusClient) -> bus::Result<Subscription<Raw>> {
        let mut subscribe = match &self.group {
            Some(group) => bus.subscribe::<Raw>(group),
            None => bus.broadcast::<Raw>(),
        };
        for pattern in &self.patterns {
            subscribe = subscribe.pattern(pattern);
        }
        if self.ordered {
            subscribe = subscribe.order(Order::PerKey);
        }
        let ahead = match (self.max_in_flight, self.count) {
            (Some(most), _) => Some(most),
            // What was fetched and is not taken would have to be handed back.
            (None, Some(count)) => Some(usize::try_from(count).unwrap_or(256).clamp(1, 256)),
            (None, None) => None,
        };
        if let Some(most) = ahead {
            subscribe = subscribe.max_in_flight(most);
        }
        subscribe.start_at(self.from.clone()).await
    }

    async fn write(
        &self,
        subscription: &mut Subscription<Raw>,
        format: Format,
        output: &Output,
    ) -> Result<()> {
        let mut interrupt = Interrupt::listen()?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let next = tokio::select! {
                () = interrupt.wanted() => return Ok(()),
                () = pause(self.idle) => return Ok(()),
                next = subscription.next() => next,
            };
            let Some(received) = next else { return Ok(()) };
            let (message, token): (Envelope<Raw>, _) = received?.into_parts();
            if let Err(error) = show::write(output, format, &message) {
                // Not written is not handled.
                drop(token);
                return Err(error.into());
            }
            // Closing waits for the broker's confirmation.
            drop(token.ack());
            left -= 1;
        }
        Ok(())
    }
}

/// Waits so long, or for ever.
pub(super) async fn pause(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}
