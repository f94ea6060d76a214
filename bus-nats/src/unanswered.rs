//! Publishes whose confirmation was lost on its way.
//!
//! When the server that leads the stream dies, or a connection between servers breaks, nobody tells those
//! who wait for a confirmation: their own connection is as it was. So they ask behind what they have sent.
//! A stream takes in messages in the order in which they arrive, and refuses one that is meant for another
//! stream at that place. Once that refusal is here, everything before it was taken in or never arrived, and
//! what then stays unconfirmed has lost its confirmation.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::link::{Line, Lost, Slot};

/// After so long without a confirmation it is asked for, and so long the server may take to answer that.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the oldest publish is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// So long after the refusal confirmations may follow: of what is being copied to other servers.
const QUIET: Duration = Duration::from_secs(1);
/// The header that no stream of the bus fulfils.
const EXPECTED: &str = "Nats-Expected-Stream";

/// Looks after publishes until the connection ends.
pub(crate) fn start(core: &Arc<Core>) {
    let of = Arc::downgrade(core);
    core.life.spawn(async move {
        loop {
            sleep(LOOK).await;
            let Some(core) = of.upgrade() else { return };
            look(&core).await;
        }
    });
}

async fn look(core: &Core) {
    let slots = &core.link.slots;
    let Some(before) = Instant::now().checked_sub(PATIENCE) else {
        return;
    };
    let mut waiting = slots.unanswered(Line::Data, before);
    if waiting.is_empty() {
        return;
    }
    match ask_behind(core).answer(PATIENCE).await {
        Ok(_) => {}
        // There is no leader yet, or the connection broke, which others notice.
        Err(_) => return,
    }
    // As long as confirmations come, more may come.
    let mut counted = usize::MAX;
    while waiting.len() < counted {
        counted = waiting.len();
        sleep(QUIET).await;
        slots.retain_open(&mut waiting);
    }
    if !waiting.is_empty() {
        tracing::warn!(
            publishes = waiting.len(),
            "confirmations were lost on their way"
        );
    }
    for id in waiting {
        slots.answer(id, Err(Lost::Unanswered));
    }
}

/// A message that is never stored and always answered, behind all others.
fn ask_behind(core: &Core) -> Slot {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED, "-");
    let subject = core.keys.unanswered();
    core.link
        .send(Line::Data, subject, Some(headers), Bytes::new())
}
