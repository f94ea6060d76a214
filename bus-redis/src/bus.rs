//! The connection: what implements the contract.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, Leaving};
use bus_api::{
    AckDurability, Admin, Bus, BusUrl, Capabilities, DeadLetterStore, ErrorKind, Inbound, Message,
    Notices, OrderedMembers, Published, Requests, ResponderSpec, Result, Settings,
    SubscriptionSpec,
};
use tokio::time::Instant;

use crate::config::Config;
use crate::core::{Anchor, Core};
use crate::endpoint::Endpoint;
use crate::error::{NAME, closed, error, is_final};
use crate::publish::Publisher;
use crate::request::Requester;
use crate::subscribe::MIN_LEASE;
use crate::{respond, retention, subscribe};

/// A connection to a bus over Redis Streams.
#[derive(Clone, Debug)]
pub struct RedisBus {
    pub(crate) core: Arc<Core>,
    publisher: Publisher,
    requester: Arc<Requester>,
    leaving: Leaving,
    _anchor: Arc<Anchor>,
}

/// Opens a connection: what a connector calls for `redis://` and `unix://`.
///
/// # Errors
/// As [`RedisBus::open`].
pub async fn open(url: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
    Ok(Arc::new(
        RedisBus::open(Config::from_url(url, settings)?).await?,
    ))
}

impl RedisBus {
    /// Connects, and waits for the server at most `connect_timeout`; with `connect_lazily` not at all.
    ///
    /// # Errors
    /// `Unavailable` when the server did not answer in time; at once `Unauthenticated` for wrong
    /// credentials, `PermissionDenied` and `Unsupported` for what waiting cannot change.
    pub async fn open(config: Config) -> Result<Self> {
        let endpoint = Endpoint::new(&config)?;
        let lazily = config.settings.connect_lazily;
        let deadline = Instant::now() + config.settings.connect_timeout;
        let core = Core::new(config, endpoint);
        let anchor = core.anchor();
        if !lazily {
            reach(&core, deadline).await?;
        }
        retention::start(&core);
        Ok(Self {
            publisher: Publisher::start(&core),
            requester: Requester::new(&core),
            leaving: Leaving::default(),
            _anchor: anchor,
            core,
        })
    }

    /// The connection dies without a word, as when its process is killed: every call of it ends with
    /// `Closed`, and what its members held comes back to others when the leases end. Idempotent.
    pub fn kill(&self) {
        self.core.kill();
    }
}

/// Tries to connect until it works, or cannot work, or `deadline`.
async fn reach(core: &Core, deadline: Instant) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let tried = tokio::time::timeout_at(deadline, core.control.connection()).await;
        match tried {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failed)) if is_final(&failed) => return Err(failed),
            Ok(Err(failed)) if Instant::now() >= deadline => {
                return Err(error(
                    ErrorKind::Unavailable,
                    "the server did not answer within `connect_timeout`",
                )
                .caused_by(failed));
            }
            Ok(Err(_)) => backoff.wait(&core.life, Some(deadline)).await,
            Err(_) => {
                return Err(error(
                    ErrorKind::Unavailable,
                    "the server did not answer within `connect_timeout`",
                ));
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for RedisBus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: true,
            ack_durability: AckDurability::Server,
            exact_attempts: true,
            immediate_no_responders: false,
            reject_when_full: true,
            ordered_members: OrderedMembers::One,
            min_lease: MIN_LEASE,
            max_payload: self.core.config.max_payload,
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        if self.core.life.is_over() {
            return vec![Err(closed()); batch.len()];
        }
        self.publisher.publish(batch).await
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        subscribe::subscribe(&self.core, &self.leaving, spec).await
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.core.usable()?;
        self.requester.request(message, deadline).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        self.core.usable()?;
        respond::respond(&self.core, &self.leaving, spec).await
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
        // An empty batch is answered once everything before it is.
        let flushed = tokio::time::timeout_at(deadline, self.publisher.publish(Vec::new())).await;
        self.core.kill();
        left?;
        flushed.map(drop).map_err(|_| {
            error(
                ErrorKind::Timeout,
                "what was sent was not confirmed until the deadline",
            )
        })
    }
}
