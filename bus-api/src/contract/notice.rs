//! Things that happen to a connection without being the outcome of a call.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::contract::subscription::SubscriptionId;

/// Something that happened to a connection without being the outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The connection to the broker was lost.
    Disconnected,
    /// The connection to the broker is back.
    Reconnected,
    /// A log and what it held are gone; subscriptions go on from its first new message.
    LogLost {
        /// The adapter's name of the log.
        log: Arc<str>,
    },
    /// A durable subscription was gone while its log remained; it was recreated at the lowest position
    /// that its members knew to be unsettled.
    SubscriptionRecreated {
        /// Which one.
        subscription: SubscriptionId,
    },
    /// Retention dropped messages before a subscription had settled them.
    Dropped {
        /// Which one.
        subscription: SubscriptionId,
        /// How many.
        messages: u64,
    },
    /// A client buffer overflowed; what was missed is fetched again.
    SlowConsumer,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the connection to the broker was lost"),
            Self::Reconnected => f.write_str("the connection to the broker is back"),
            Self::LogLost { log } => write!(f, "log {log} was lost with what it held"),
            Self::SubscriptionRecreated { subscription } => {
                write!(
                    f,
                    "subscription {subscription} was gone and has been recreated"
                )
            }
            Self::Dropped {
                subscription,
                messages,
            } => {
                write!(
                    f,
                    "retention dropped {messages} unsettled messages of {subscription}"
                )
            }
            Self::SlowConsumer => f.write_str("a client buffer overflowed"),
        }
    }
}

/// Where an adapter reports notices: to listeners, to the log, and to a short memory for `health()`.
#[derive(Clone, Debug)]
pub struct Notices(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: broadcast::Sender<Notice>,
    recent: Mutex<VecDeque<String>>,
}

impl Notices {
    /// Notices that `health()` still shows.
    const REMEMBERED: usize = 32;
    /// Notices that a listener may fall behind before it misses some.
    const BUFFERED: usize = 256;

    /// A hub without listeners.
    #[must_use]
    pub fn new() -> Self {
        let (sender, _) = broadcast::channel(Self::BUFFERED);
        Self(Arc::new(Shared {
            sender,
            recent: Mutex::default(),
        }))
    }

    /// Reports `notice`.
    pub fn report(&self, notice: Notice) {
        tracing::warn!(notice = %notice, "bus notice");
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == Self::REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(notice.to_string());
        drop(recent);
        // Nobody listening is the normal case.
        let _ = self.0.sender.send(notice);
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.0.sender.subscribe()
    }

    /// The last notices as text, newest last.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        self.0
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}
