//! What a transport offers to the suite.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{Bus, Capabilities, Namespace, Result};
use bytes::Bytes;

/// Makes connections for the suite and does to them what a case asks for.
///
/// A factory stands for one running broker. What it cannot do, such as restarting a broker that it was
/// only given the address of, it leaves out of [`controls`](Self::controls); cases that need it are then
/// reported as not run, with that reason.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// How the report names what was tested, such as `redis 8.0.2 (container)`.
    fn name(&self) -> String;

    /// Which row of the contract's capability table applies.
    fn transport(&self) -> Transport;

    /// What this factory can do to the broker and to connections.
    fn controls(&self) -> &[Control];

    /// Whether cases run on tokio's paused clock; only sensible where nothing leaves the process.
    fn virtual_time(&self) -> bool;

    /// Opens a connection of its own: its death concerns no other.
    ///
    /// `options` are options of the URL, as a user would write them, such as `retention.count`.
    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection>;

    /// [`Control::Restart`]: takes the broker away without warning (`kill -9`).
    async fn stop_broker(&self) -> Result<()>;

    /// [`Control::Restart`]: brings the broker back with its data, at the same address.
    async fn start_broker(&self) -> Result<()>;

    /// [`Control::Foreign`]: stores a message as another producer would.
    async fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &str,
        message: Foreign,
    ) -> Result<()>;

    /// [`Control::ForgeRequest`]: sends a request with a reply address that the bus did not make, and
    /// returns whether anything was sent to that address within `wait`.
    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: std::time::Duration,
    ) -> Result<bool>;

    /// [`Control::LoseSubscription`]: removes what the broker keeps of a durable subscription, behind
    /// the bus's back.
    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()>;

    /// [`Control::LoseLog`]: removes the log of a topic, behind the bus's back.
    async fn lose_log(&self, namespace: &Namespace, topic: &str) -> Result<()>;

    /// [`Control::NewerRecord`]: replaces the attempt records that the broker keeps of a durable
    /// subscription by ones of a newer format version.
    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()>;

    /// [`Control::Leftovers`]: what members, broadcasts and requesters of this namespace have left on the
    /// broker, by name: consumers, reply addresses, temporary keys. Durable state is not meant.
    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>>;
}

/// A connection with the means to disturb it.
#[async_trait]
pub trait Disturb: Send + Sync + 'static {
    /// [`Control::Kill`]: the connection dies without a word, as with `kill -9` of its process.
    async fn kill(&self);

    /// [`Control::Cut`]: nothing reaches the broker any more, nor comes from it.
    async fn cut(&self);

    /// [`Control::Cut`]: the way is free again.
    async fn heal(&self);
}

/// A connection of the suite.
#[derive(Clone)]
pub struct Connection {
    /// The adapter.
    pub bus: Arc<dyn Bus>,
    /// What disturbs it.
    pub disturb: Arc<dyn Disturb>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

/// Something that a factory can do beyond connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Control {
    /// A connection can die without a word.
    Kill,
    /// A connection can be cut and healed.
    Cut,
    /// The broker can be taken away and brought back.
    Restart,
    /// Messages of other producers can be stored.
    Foreign,
    /// Requests with a made-up reply address can be sent.
    ForgeRequest,
    /// A subscription can be removed behind the bus's back.
    LoseSubscription,
    /// A log can be removed behind the bus's back.
    LoseLog,
    /// Stored records can be replaced by ones of a newer format.
    NewerRecord,
    /// Leftovers on the broker can be listed.
    Leftovers,
}

/// A row of the contract's capability table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// In process.
    Memory,
    /// Redis Streams.
    Redis,
    /// NATS JetStream with this number of replicas.
    Nats {
        /// Replicas of its streams.
        replicas: u8,
    },
    /// Kafka.
    Kafka,
    /// A transport outside this repository: what its author declares.
    Other(Capabilities),
}

/// A message as another producer would store it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Foreign {
    /// Bytes without any attribute, with plain headers.
    Plain {
        /// The payload.
        payload: Bytes,
        /// Headers as that producer wrote them.
        headers: Vec<(String, String)>,
    },
    /// A CloudEvent in structured mode: the JSON text of it.
    Structured {
        /// The whole event.
        json: Bytes,
    },
    /// A message that the client library or the bus cannot read, with this payload where there is one.
    Malformed {
        /// The payload.
        payload: Bytes,
    },
}
