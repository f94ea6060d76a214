//! The channel that says which topics were written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus_api::Result;
use bus_api::adapter::Backoff;
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::core::Core;
use crate::endpoint::{self, Channel};
use crate::error::is_final;

/// How often the registry is read: finds topics whose hint was lost (T3 allows five seconds).
const REFRESH: Duration = Duration::from_millis(2_000);
/// How long a first subscription waits for the channel; the sweep covers what it misses.
const READY: Duration = Duration::from_secs(1);

/// The process-wide listener to hints; starts with the first subscription.
#[derive(Debug)]
pub(crate) struct Hints {
    started: AtomicBool,
    listening: watch::Sender<bool>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            started: AtomicBool::new(false),
            listening: watch::Sender::new(false),
        }
    }
}

impl Hints {
    /// Starts listening, once, and waits a little until it does.
    pub(crate) async fn start(core: &Arc<Core>) {
        if !core.hints.started.swap(true, Ordering::AcqRel) {
            core.life.spawn(listen(Arc::clone(core)));
        }
        let mut listening = core.hints.listening.subscribe();
        let _ = tokio::time::timeout(READY, listening.wait_for(|listening| *listening)).await;
    }
}

async fn listen(core: Arc<Core>) {
    let mut backoff = Backoff::default();
    while !core.life.is_over() {
        match listen_once(&core, &mut backoff).await {
            Ok(()) => {}
            Err(error) if is_final(&error) => {
                tracing::warn!(%error, "hints cannot be heard: messages are found by looking for them");
            }
            Err(error) => tracing::debug!(%error, "the channel of hints is not there"),
        }
        core.hints.listening.send_replace(false);
        if !core.life.is_over() {
            core.life.lost();
        }
        backoff.wait(&core.life, None).await;
    }
}

/// Listens until the connection breaks.
async fn listen_once(core: &Arc<Core>, backoff: &mut Backoff) -> Result<()> {
    let channels = core.keys.channels();
    let channel = core.endpoint.listen(Channel::Pattern(&channels)).await?;
    core.life.reached();
    backoff.reset();
    core.hints.listening.send_replace(true);
    // Whatever happened before this moment was not heard.
    core.registry.refresh(core).await?;
    core.registry.missed();
    let (mut sink, mut messages) = channel.split();
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    refresh.tick().await;
    loop {
        tokio::select! {
            () = core.life.ended() => return Ok(()),
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                let name = message.get_channel_name();
                let root = name
                    .split_once('{')
                    .and_then(|(_, rest)| rest.split_once('}'))
                    .map_or("", |(root, _)| root);
                if let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) {
                    core.registry.hint(root, text);
                }
            }
            _ = refresh.tick() => {
                endpoint::check(&mut sink).await?;
                if let Err(error) = core.registry.refresh(core).await {
                    tracing::debug!(%error, "the registry could not be read");
                }
            }
        }
    }
}
