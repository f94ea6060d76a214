//! What of the things held is this member's for certain, and what the server may be told of it.

use std::sync::Arc;
use std::time::Duration;

use bus_api::Receipt;
use tokio::time::Instant;

use crate::held::{Held, Settling};
use crate::shared::Shared;

/// How long what the server has forgotten may take to come to this member once more.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(3);

/// What became of the wish to renew a lease.
pub(crate) enum Renewal<T> {
    /// It is not this member's any more.
    Gone,
    /// It is on its way back, or not known to be this member's: nothing was sent.
    Spared,
    /// It was sent.
    Sent(T),
}

/// A settlement that the server has confirmed.
#[derive(Debug)]
pub(crate) struct Confirmed {
    /// The run of the server, where it may forget.
    pub(crate) run: Option<Arc<str>>,
    /// The connection over which it was told, by its number.
    pub(crate) epoch: u64,
    pub(crate) at: Instant,
}

impl Shared {
    /// Sends what lets it come again; no renewal is sent after it.
    pub(crate) fn returning<T>(&self, receipt: Receipt, send: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        if receipt.epoch == state.epoch
            && let Some(held) = state.held.get_mut(&receipt.slot)
        {
            held.returned = true;
        }
        send()
    }

    /// Sends the renewal of what is held, unless the server was told that it is to come again; `send` may send none.
    pub(crate) fn renewing<T>(
        &self,
        receipt: Receipt,
        send: impl FnOnce(&Held) -> Option<T>,
    ) -> Renewal<T> {
        let state = self.lock();
        let held = state.held.get(&receipt.slot);
        let Some(held) = held.filter(|_| receipt.epoch == state.epoch) else {
            return Renewal::Gone;
        };
        if held.returned {
            return Renewal::Spared;
        }
        send(held).map_or(Renewal::Spared, Renewal::Sent)
    }

    /// Another run of the server is reached, `now`. What is this member's in it, for as long as `ours` says, is held
    /// on; the rest comes again. What no handler has begun of it is not begun any more: another member may have
    /// settled it by then. What runs may go on for a while: it may come to this member.
    pub(crate) fn recalled(&self, now: &Arc<str>, ours: impl Fn(&str, &Held) -> Option<Instant>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let (mut unseen, end) = (Vec::new(), Instant::now() + FORGOTTEN);
        for (slot, held) in &mut state.held {
            let Some(run) = held.run.clone().filter(|run| **run != **now) else {
                continue;
            };
            if let Some(until) = ours(&run, held) {
                held.run = Some(Arc::clone(now));
                held.until = held.until.min(until);
            } else if held.buffered {
                unseen.push(*slot);
            } else {
                held.until = held.until.min(end);
                held.forgotten = true;
                if held.settling == Settling::No {
                    let epoch = state.epoch;
                    state.forgotten.push(Receipt { slot: *slot, epoch });
                }
            }
        }
        for slot in unseen {
            state.lose(slot);
        }
        drop(guard);
        self.receiver.notify_one();
    }
}
