//! The connection: what implements the contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, Leaving, Life};
use bus_api::{
    AckDurability, Admin, Bus, BusUrl, Capabilities, DeadLetterStore, Error, ErrorKind, Inbound,
    Message, Notices, OrderedMembers, Published, Requests, ResponderSpec, Result, Settings,
    SubscriptionSpec,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Config;
use crate::core::{Anchor, Core};
use crate::error::{NAME, error, is_final};
use crate::keys::Keys;
use crate::link::Link;
use crate::request::Requester;
use crate::socket::Socket;
use crate::subscribe::MIN_LEASE;
use crate::{publish, respond, retention, subscribe, unanswered};

/// The oldest server that has what the bus needs.
const OLDEST: (u32, u32) = (2, 10);
/// Room for headers beside the largest payload.
const FOR_HEADERS: usize = 64 << 10;
/// What a server takes unless it is configured otherwise.
const USUAL_PAYLOAD: usize = 1 << 20;

/// A connection to a bus over NATS JetStream.
#[derive(Clone, Debug)]
pub struct NatsBus {
    pub(crate) core: Arc<Core>,
    requester: Arc<Requester>,
    leaving: Leaving,
    _anchor: Arc<Anchor>,
}

/// Opens a connection: what a connector calls for `nats://` and `tls://`.
///
/// # Errors
/// As [`NatsBus::open`].
pub async fn open(url: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
    Ok(Arc::new(
        NatsBus::open(Config::from_url(url, settings)?).await?,
    ))
}

impl NatsBus {
    /// Connects, and waits for the server at most `connect_timeout`; with `connect_lazily` not at all.
    ///
    /// # Errors
    /// `Unavailable` when the server did not answer in time; at once `Unauthenticated` for wrong
    /// credentials, `Unsupported` for a server that is too old or has no JetStream, and `InvalidConfig`.
    pub async fn open(config: Config) -> Result<Self> {
        let deadline = Instant::now() + config.settings.connect_timeout;
        let lazily = config.settings.connect_lazily;
        let life = Arc::new(Life::default());
        let (violations, violated) = mpsc::unbounded_channel();
        let main = reach(&config, &life, &violations, deadline).await?;
        let feed = reach(&config, &life, &violations, deadline).await?;
        let server = main.server();
        if let Some(server) = &server {
            check_version(&server.version)?;
        }
        let most = server.map_or(USUAL_PAYLOAD, |server| server.max_payload);
        let inbox = format!("_INBOX.{}", uuid::Uuid::new_v4().simple());
        let keys = Keys::new(config.settings.namespace.clone());
        let link = Link::new(main, Arc::clone(&life), keys, inbox, violated);
        let core = Core::new(config, life, link, feed, most.saturating_sub(FOR_HEADERS));
        let anchor = core.anchor();
        core.link.start(&core).await?;
        if !lazily {
            let prepared = tokio::time::timeout_at(deadline, prepare(&core)).await;
            prepared.unwrap_or_else(|_| Err(too_late(None)))?;
        }
        retention::start(&core);
        unanswered::start(&core);
        Ok(Self {
            requester: Requester::start(&core).await?,
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

fn too_late(cause: Option<Error>) -> Error {
    let late = error(
        ErrorKind::Unavailable,
        "the server did not answer within `connect_timeout`",
    );
    match cause {
        Some(cause) => late.caused_by(cause),
        None => late,
    }
}

/// Tries to connect until it works, or cannot work, or `deadline`.
async fn reach(
    config: &Config,
    life: &Arc<Life>,
    violations: &mpsc::UnboundedSender<String>,
    deadline: Instant,
) -> Result<Socket> {
    let mut backoff = Backoff::default();
    loop {
        let opening = Socket::open(config, life, violations.clone());
        let failed = match tokio::time::timeout_at(deadline, opening).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(failed)) if is_final(&failed) => return Err(failed),
            Ok(Err(failed)) => failed,
            Err(_) => return Err(too_late(None)),
        };
        if Instant::now() >= deadline {
            return Err(too_late(Some(failed)));
        }
        backoff.wait(life, Some(deadline)).await;
    }
}

/// Looks for the streams; while the server elects leaders, again.
async fn prepare(core: &Core) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        match core.ready().await {
            Err(failed) if failed.is_retryable() && failed.kind() != ErrorKind::Throttled => {
                backoff.wait(&core.life, None).await;
            }
            outcome => return outcome,
        }
    }
}

/// # Errors
/// `Unsupported` for a server that is too old.
fn check_version(version: &str) -> Result<()> {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        // A server built by hand; it is taken at its word that it is recent.
        return Ok(());
    };
    if (major, minor) >= OLDEST {
        return Ok(());
    }
    Err(error(
        ErrorKind::Unsupported,
        "this NATS server is too old: the bus needs 2.10 or later",
    )
    .with("version", version))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for NatsBus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: true,
            ack_durability: if self.core.config.replicas > 1 {
                AckDurability::Final
            } else {
                AckDurability::Flushed(Duration::from_secs(1))
            },
            exact_attempts: false,
            immediate_no_responders: true,
            reject_when_full: true,
            ordered_members: OrderedMembers::One,
            min_lease: MIN_LEASE,
            max_payload: self.core.max_payload,
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        publish::publish(&self.core, batch).await
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        subscribe::subscribe(&self.core, &self.leaving, spec).await
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.core.usable()?;
        self.requester.request(&message, deadline).await
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
        let flushed = tokio::time::timeout_at(deadline, async {
            while self.core.link.outstanding() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        self.core.kill();
        left?;
        flushed.map_err(|_| {
            error(
                ErrorKind::Timeout,
                "what was sent was not confirmed until the deadline",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_and_named() {
        for version in ["2.10.0", "2.12.15", "2.14.9-beta.1", "3.0.0", "dev"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in ["2.9.10", "1.4.1"] {
            let refused = check_version(version).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            assert!(refused.to_string().contains(version), "{refused}");
        }
    }
}
