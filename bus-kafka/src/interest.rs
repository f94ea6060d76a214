//! Who wants to know which Kafka topics there are: new roots are found, and topics that were deleted and made
//! anew.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bus_api::Pattern;

use crate::core::Core;
use crate::topics::Known;

/// How often the brokers are asked, besides whenever the registry names a new topic.
const SWEEP: Duration = Duration::from_secs(3);
/// How long news of the registry are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// Somebody who follows the logs of a pattern.
pub(crate) trait Follower: Send + Sync {
    fn pattern(&self) -> &Pattern;

    /// All logs of its pattern that there are now.
    fn follow(&self, logs: &[(String, Known)]);
}

/// Who follows logs on this connection.
#[derive(Default)]
pub(crate) struct Followers(Mutex<State>);

#[derive(Default)]
struct State {
    followers: Vec<Weak<dyn Follower>>,
    sweeps: bool,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").finish_non_exhaustive()
    }
}

impl Followers {
    fn all(&self) -> Vec<Arc<dyn Follower>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .followers
            .retain(|follower| follower.strong_count() > 0);
        state.followers.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Core {
    /// Tells `follower` about logs from now on, until it is dropped.
    pub(crate) fn add_follower(self: &Arc<Self>, follower: Weak<dyn Follower>) {
        let mut state = self
            .followers
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.followers.push(follower);
        if !std::mem::replace(&mut state.sweeps, true) {
            self.life.spawn(sweep(Arc::clone(self)));
        }
    }
}

async fn sweep(core: Arc<Core>) {
    let mut registry = core.registry.watch();
    let mut topics = 0;
    loop {
        let news = async {
            loop {
                // The sender lives as long as `core`.
                let _ = registry.changed().await;
                let now = core.registry.look(|contents| contents.topics.len());
                if now != topics {
                    tokio::time::sleep(GATHER).await;
                    topics = core.registry.look(|contents| contents.topics.len());
                    return;
                }
            }
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(SWEEP) => {}
        }
        let followers = core.followers.all();
        if followers.is_empty() {
            continue;
        }
        if let Err(error) = look(&core, &followers).await {
            tracing::debug!(%error, "the topics cannot be listed now");
        }
    }
}

async fn look(core: &Arc<Core>, followers: &[Arc<dyn Follower>]) -> bus_api::Result<()> {
    let only: Vec<Option<String>> = followers
        .iter()
        .map(|follower| core.names.only_log(follower.pattern()))
        .collect();
    let mut names: Vec<String> = only.iter().flatten().cloned().collect();
    if only.contains(&None) {
        let all = core.all_topics().await?;
        names.extend(
            all.into_iter()
                .filter(|name| core.names.root(name).is_some()),
        );
    }
    names.sort();
    names.dedup();
    let known = core.look_up(&names).await?;
    let logs: Vec<(String, Known)> = names
        .into_iter()
        .zip(known)
        .filter_map(|(name, known)| Some((name, known?)))
        .collect();
    for follower in followers {
        let own: Vec<(String, Known)> = logs
            .iter()
            .filter(|(log, _)| core.names.reaches(follower.pattern(), log))
            .cloned()
            .collect();
        follower.follow(&own);
    }
    Ok(())
}
