//! The engine over a scripted adapter, with a paused clock.

mod at_once;
mod ends;
mod fake;
mod fetching;
mod flow;
mod pausing;
mod settling;
mod waking;

use std::future::poll_fn;
use std::time::Duration;

use super::*;

impl Member {
    async fn next(&mut self) -> Option<Result<Held>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    async fn next_batch(&mut self, max: usize, linger: Duration) -> Option<Result<Vec<Held>>> {
        poll_fn(|cx| {
            self.poll_batch(cx, max, linger)
                .map(|next| next.map(|batch| batch.map(Iterator::collect)))
        })
        .await
    }
}

/// The number of a message.
fn number(held: &Held) -> u64 {
    held.position().offset().0
}

/// What can be handed out now.
async fn next_now(member: &mut Member) -> Option<Held> {
    let wait = Duration::from_millis(20);
    match tokio::time::timeout(wait, member.next()).await {
        Ok(next) => Some(next.unwrap().unwrap()),
        Err(_) => None,
    }
}

async fn all_now(member: &mut Member) -> Vec<Held> {
    let mut all = Vec::new();
    while let Some(held) = next_now(member).await {
        all.push(held);
    }
    all
}

fn numbers(all: &[Held]) -> Vec<u64> {
    all.iter().map(number).collect()
}
