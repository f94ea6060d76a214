//! What all parts of a connection share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bus_api::adapter::{Backoff, Life};
use bus_api::{Error, ErrorKind, Notice, Result, SubscriptionId};
use rdkafka::admin::AdminClient;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use tokio::time::Instant;

use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::error::{closed, error, from_client, is_final};
use crate::interest::Followers;
use crate::limits::Limits;
use crate::names::Names;
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::sys::Aside;
use crate::topics::Topics;

/// How many times as long as one question may take the brokers are asked.
const PERSISTENCE: u32 = 5;

/// What every client of the client library tells about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) life: Arc<Life>,
    /// Why the brokers refuse this connection.
    refused: Arc<Mutex<Option<Error>>>,
}

impl Link {
    /// The brokers refused the credentials.
    pub(crate) fn refused(&self) -> Option<Error> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ClientContext for Link {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{text}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, native: KafkaError, reason: &str) {
        tracing::debug!(error = %native, reason, "the Kafka client reports an error");
        match native.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(from_client(&native));
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => self.life.lost(),
            _ => {}
        }
    }
}

/// For consumers outside of groups.
impl ConsumerContext for Link {}

/// What all parts of a connection share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(crate) life: Arc<Life>,
    link: Link,
    pub(crate) topics: Topics,
    pub(crate) registry: Registry,
    pub(crate) publisher: OnceLock<Publisher>,
    pub(crate) followers: Followers,
    pub(crate) dead: DeadLetters,
    admin: Aside<AdminClient<Link>>,
    limits: OnceLock<Limits>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn new(config: Config) -> Result<Arc<Self>> {
        let link = Link::default();
        let mut client = config.client();
        config.finish(&mut client);
        let admin = client
            .create_with_context(link.clone())
            .map_err(|native| from_client(&native))?;
        Ok(Arc::new(Self {
            names: Names::new(config.settings.namespace.clone()),
            topics: Topics::default(),
            registry: Registry::default(),
            publisher: OnceLock::new(),
            followers: Followers::default(),
            dead: DeadLetters::default(),
            limits: OnceLock::new(),
            admin: Aside::new(admin),
            life: Arc::clone(&link.life),
            link,
            config,
        }))
    }

    pub(crate) fn link(&self) -> Link {
        self.link.clone()
    }

    pub(crate) fn admin(&self) -> &AdminClient<Link> {
        &self.admin
    }

    /// What the brokers' settings allow; what is usual until they were asked.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.get().copied().unwrap_or_default()
    }

    /// The largest payload, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        let fits = self.limits().message.saturating_sub(Config::HEADERS);
        self.config.max_payload.map_or(fits, |most| most.min(fits))
    }

    /// Retention has dropped messages before a subscription had settled them.
    pub(crate) fn note_dropped(&self, subscription: &SubscriptionId, messages: u64) {
        self.life.notices().report(Notice::Dropped {
            subscription: subscription.clone(),
            messages,
        });
    }

    /// Waits for the brokers until `deadline`, and asks them for their limits.
    ///
    /// # Errors
    /// `Unavailable`; `Unauthenticated` at once.
    pub(crate) async fn reach(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        const STEP: Duration = Duration::from_millis(400);
        loop {
            let answer = self
                .block(|core| {
                    core.client()
                        .fetch_metadata(Some(&core.names.registry()), STEP)
                        .map_err(|native| from_client(&native))
                        .map(|found| found.brokers().first().map(MetadataBroker::id))
                })
                .await;
            if let Some(refused) = self.link.refused() {
                return Err(refused);
            }
            match answer {
                Ok(broker) => {
                    self.life.reached();
                    if let Some(broker) = broker {
                        let limits = Limits::ask(self, broker).await;
                        // Asked twice, it is the same answer.
                        let _ = self.limits.set(limits);
                    }
                    return Ok(());
                }
                Err(failed) if is_final(&failed) => return Err(failed),
                Err(failed) if Instant::now() >= deadline => {
                    return Err(error(
                        ErrorKind::Unavailable,
                        "no broker answered within `connect_timeout`",
                    )
                    .caused_by(failed));
                }
                Err(_) => {}
            }
        }
    }

    /// The client for questions.
    pub(crate) fn client(&self) -> &Client<Link> {
        self.admin.inner()
    }

    /// Runs what blocks, beside the runtime.
    pub(crate) async fn block<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(self);
        tokio::task::spawn_blocking(move || call(&core))
            .await
            .unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a question that blocks; again while the brokers cannot serve, for a while.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl Fn(&Self, Duration) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let patience = self.config.patience();
        let deadline = Instant::now() + patience * PERSISTENCE;
        let mut backoff = Backoff::default();
        loop {
            self.usable()?;
            let question = question.clone();
            match self.block(move |core| question(core, patience)).await {
                Err(failed)
                    if failed.kind() == ErrorKind::Unavailable && Instant::now() < deadline =>
                {
                    backoff.wait(&self.life, None).await;
                }
                answered => {
                    if answered.is_ok() {
                        self.life.reached();
                    }
                    return answered;
                }
            }
        }
    }

    /// # Errors
    /// `Closed` once the connection was closed.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.life.is_over() {
            return Err(closed());
        }
        Ok(())
    }

    /// Why the brokers refuse this connection, when they do.
    pub(crate) fn refused(&self) -> Option<Error> {
        self.link.refused()
    }
}

/// Whoever uses the connection holds one; with the last of them its tasks end.
#[derive(Debug)]
pub(crate) struct Anchor(pub(crate) Arc<Core>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.life.end();
    }
}
