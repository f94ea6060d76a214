//! What all parts of a connection share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bus_api::adapter::{Backoff, Life};
use bus_api::{Error, ErrorKind, Notice, Result, SubscriptionId};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::Client;
use rdkafka::metadata::MetadataBroker;
use tokio::time::Instant;

use crate::config::Config;
use crate::coordinators::Coordinators;
use crate::dead_letters::DeadLetters;
use crate::error::{closed, error, from_client, is_final};
use crate::flow;
use crate::interest::Followers;
use crate::limits::Limits;
use crate::link::Link;
use crate::names::Names;
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::sys::{self, Aside};
use crate::thread;
use crate::topics::Topics;

/// How many times as long as one question may take the brokers are asked.
const PERSISTENCE: u32 = 5;
/// The least time after which a broker without an answer is taken to be away; the client library wants more than a second.
const LEAST_SILENCE: Duration = Duration::from_secs(2);

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
    pub(crate) coordinators: Coordinators,
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
        config.checked()?;
        let link = Link::new(config.tokens.clone());
        let mut client = config.client();
        // A broker that has not answered in that time is taken to be away, and others are asked; by itself the client
        // library would ask it for a minute.
        let silent = config.patience().max(LEAST_SILENCE);
        client.set("socket.timeout.ms", silent.as_millis().to_string());
        config.finish(&mut client);
        let admin = client
            .create_with_context(link.clone())
            .map_err(|native| from_client(&native))?;
        let core = Arc::new(Self {
            names: Names::new(config.settings.namespace.clone(), config.depth),
            topics: Topics::default(),
            registry: Registry::default(),
            publisher: OnceLock::new(),
            followers: Followers::default(),
            dead: DeadLetters::default(),
            limits: OnceLock::new(),
            admin: Aside::new(admin),
            coordinators: Coordinators::default(),
            life: Arc::clone(&link.life),
            link,
            config,
        });
        let heard = Arc::clone(&core);
        thread::start("client", move || {
            sys::serve(heard.client(), || heard.life.is_over());
        })?;
        Ok(core)
    }

    pub(crate) fn link(&self) -> Link {
        self.link.clone()
    }

    pub(crate) fn admin(&self) -> &AdminClient<Link> {
        &self.admin
    }

    /// The settings of a consumer outside of any group.
    pub(crate) fn outside_of_groups(&self) -> ClientConfig {
        let mut client = self.config.client();
        client
            .set("group.id", self.names.no_group())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("topic.metadata.refresh.interval.ms", "5000");
        flow::bound(&mut client);
        client
    }

    /// What the brokers' settings allow; what is usual until they were asked.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.get().copied().unwrap_or_default()
    }

    /// The shortest session of a member; until the brokers were asked, the shortest that is usual.
    pub(crate) fn min_lease(&self) -> Duration {
        match self.limits.get() {
            Some(limits) if self.config.has_consumer_protocol() => limits.consumer_session,
            _ => self.limits().min_session,
        }
    }

    /// Asks the brokers for their limits unless that was done.
    ///
    /// # Errors
    /// As for [`Self::reach`].
    pub(crate) async fn learn_limits(self: &Arc<Self>) -> Result<()> {
        if self.limits.get().is_some() {
            return Ok(());
        }
        self.reach(Instant::now() + self.config.patience()).await
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
