//! Publishing: everything, in order, without waiting for each.

use std::sync::atomic::{AtomicU64, Ordering};

use bus::{BusClient, HandlerResult, Headers};

use crate::events::GitHub;

/// The header with the number of a webhook in the order of publishing: how losses, duplicates and disorder are
/// found out.
const NUMBER: &str = "number";

/// Publishes `events` so many times; `confirmed` counts what the transport has stored.
pub async fn publish(
    bus: &BusClient,
    events: &[GitHub],
    repeat: u32,
    confirmed: &AtomicU64,
) -> bus::Result<()> {
    let publisher = bus.publisher();
    let mut numbers = 0_u64..;
    for _ in 0..repeat {
        let mut confirmations = Vec::with_capacity(events.len());
        for (event, number) in events.iter().zip(&mut numbers) {
            // Waits for room in the window only: a slow broker slows this down instead of filling the memory.
            confirmations.push(
                publisher
                    .send(event)
                    .header(NUMBER, number.to_string())
                    .await?,
            );
        }
        for confirmation in confirmations {
            confirmation.await?;
            confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The number of the webhook with these headers.
pub fn number(headers: &Headers) -> HandlerResult<u64> {
    let number = headers.get(NUMBER).ok_or("a webhook without a number")?;
    Ok(number.parse()?)
}
