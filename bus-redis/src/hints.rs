//! The channel that says which topics were written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus_api::adapter::Backoff;
use bus_api::{Provision, Result, Topic};
use futures_util::StreamExt;
use redis::{Pipeline, Value};
use tokio::sync::watch;

use crate::core::Core;
use crate::endpoint::{self, Channel};
use crate::error::is_final;
use crate::script::{self, HINT};

/// How often the registry is read: finds topics whose hint was lost (T3 allows five seconds).
const REFRESH: Duration = Duration::from_millis(2_000);
/// How long a first subscription waits for the channel; the sweep covers what it misses.
const READY: Duration = Duration::from_secs(1);

/// How the end of a pipeline tells members of one root what was written; all but one begin with a look
/// whether the registry still knows the topics.
#[derive(Debug)]
pub(crate) enum Hint {
    /// Two plain commands, which cost the server a third of a script.
    One(Topic),
    /// A script for any number of topics.
    Many,
    /// Without the right to create, the registry is only read, and not here.
    Told,
}

impl Hint {
    /// Adds the commands that say that `topics` of `root` were written.
    pub(crate) fn say(
        core: &Core,
        root: &str,
        topics: &BTreeSet<&Topic>,
        pipeline: &mut Pipeline,
    ) -> Self {
        let (registry, channel) = (core.keys.topics(root), core.keys.channel(root));
        let may_create = core.config.settings.provision == Provision::Create;
        let hint = match topics.first() {
            Some(topic) if may_create && topics.len() == 1 => {
                let look = pipeline.cmd("ZSCORE").arg(&registry);
                look.arg(topic.as_str());
                Self::One((*topic).clone())
            }
            _ if may_create => {
                let mut call = script::call(&HINT, [registry.as_str()]);
                call.arg(channel);
                for topic in topics {
                    call.arg(topic.as_str());
                }
                pipeline.add_command(call);
                return Self::Many;
            }
            _ => Self::Told,
        };
        let topics = topics.iter().map(|topic| topic.as_str());
        let words: Vec<&str> = std::iter::once("t").chain(topics).collect();
        pipeline.cmd("PUBLISH").arg(channel).arg(words.join(" "));
        hint
    }

    /// Commands that it is made of.
    pub(crate) fn commands(&self) -> usize {
        match self {
            Self::One(_) => 2,
            Self::Many | Self::Told => 1,
        }
    }
}

/// Looks at the replies to hints; true when the registry did not know a topic that was said to it: it is there again.
pub(crate) async fn look(core: &Core, hints: &[Hint], replies: &[Value]) -> bool {
    let mut replies = replies.iter();
    let mut lost = false;
    for hint in hints {
        let mut own = replies.by_ref().take(hint.commands());
        match (hint, own.next()) {
            (Hint::One(topic), Some(Value::Nil)) => {
                lost = true;
                if let Err(error) = core.registry.add(core, &[topic]).await {
                    tracing::warn!(%error, %topic, "a topic is not in the registry");
                }
            }
            (Hint::Many, Some(Value::Int(new))) => lost |= *new > 0,
            _ => {}
        }
        // How many heard it.
        own.for_each(drop);
    }
    lost
}

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
