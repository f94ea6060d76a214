//! The connection: what implements the contract.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::adapter::Leaving;
use bus_api::{
    AckDurability, Admin, Bus, BusUrl, Capabilities, DeadLetterStore, ErrorKind, Inbound, Message,
    Notices, OrderedMembers, Published, Requests, ResponderSpec, Result, Settings,
    SubscriptionSpec,
};
use tokio::time::Instant;

use crate::config::Config;
use crate::core::{Anchor, Core};
use crate::error::{NAME, closed, error};
use crate::publish::Publisher;
use crate::request::Requester;
use crate::{respond, retention, subscribe};

/// A connection to a bus over Kafka.
#[derive(Clone, Debug)]
pub struct KafkaBus {
    pub(crate) core: Arc<Core>,
    requester: Arc<Requester>,
    leaving: Leaving,
    anchor: Arc<Anchor>,
}

/// Opens a connection: what a connector calls for `kafka://`.
///
/// # Errors
/// As [`KafkaBus::open`].
pub async fn open(url: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
    Ok(Arc::new(
        KafkaBus::open(Config::from_url(url, settings)?).await?,
    ))
}

impl KafkaBus {
    /// Connects, and waits for a broker at most `connect_timeout`; with `connect_lazily` not at all.
    ///
    /// # Errors
    /// `Unavailable` when no broker answered in time; at once `Unauthenticated` for wrong credentials,
    /// `InvalidConfig` for properties that the client library refuses, and `Unsupported` for limits that
    /// would have to reject messages.
    pub async fn open(config: Config) -> Result<Self> {
        retention::check(&config.settings.retention)?;
        let lazily = config.settings.connect_lazily;
        let deadline = Instant::now() + config.settings.connect_timeout;
        let core = Core::new(config)?;
        let anchor = Arc::new(Anchor(Arc::clone(&core)));
        if lazily {
            let lazy = Arc::clone(&core);
            core.life.spawn(async move {
                while lazy.reach(Instant::now()).await.is_err() {
                    if lazy.refused().is_some() {
                        return;
                    }
                }
            });
        } else {
            core.reach(deadline).await?;
        }
        Publisher::start(&core)?;
        retention::start(&core);
        Ok(Self {
            requester: Requester::new(&core),
            leaving: Leaving::default(),
            anchor,
            core,
        })
    }

    /// The connection dies without a word, as when its process is killed, as far as the client library lets
    /// it: every call of it ends with `Closed`, nothing more is committed. Its members are missed by their
    /// groups at once unless the way to the brokers was cut before. Idempotent.
    pub fn kill(&self) {
        self.core.life.end();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for KafkaBus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: false,
            ack_durability: AckDurability::Final,
            exact_attempts: false,
            immediate_no_responders: false,
            reject_when_full: false,
            ordered_members: OrderedMembers::Many,
            min_lease: self.core.min_lease(),
            max_payload: self.core.max_payload(),
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        if self.core.life.is_over() {
            return vec![Err(closed()); batch.len()];
        }
        match self.core.publisher.get() {
            Some(publisher) => publisher.publish(&self.core, batch).await,
            None => vec![Err(closed()); batch.len()],
        }
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        subscribe::subscribe(&self.anchor, &self.leaving, spec).await
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.core.usable()?;
        self.requester.request(message, deadline).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        self.core.usable()?;
        respond::respond(&self.anchor, &self.leaving, spec).await
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn notices(&self) -> &Notices {
        self.core.life.notices()
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if self.core.life.is_over() {
            return Ok(());
        }
        let left = self.leaving.leave(deadline).await;
        let flushed = match self.core.publisher.get() {
            Some(publisher) => tokio::time::timeout_at(deadline, publisher.flush())
                .await
                .is_ok(),
            None => true,
        };
        self.core.life.end();
        left?;
        if flushed {
            return Ok(());
        }
        Err(error(
            ErrorKind::Timeout,
            "what was sent was not confirmed until the deadline",
        ))
    }
}
