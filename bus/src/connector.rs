//! From a URL to a client, with the transports that were compiled in.

use std::future::Future;
use std::sync::Arc;

use bus_api::{Bus, BusClient, BusUrl, Codecs, Error, Result, Settings, TraceHook, WorkerOptions};

/// Connects to the bus that `url` names: `memory://`, or the URL of a broker.
///
/// Reads nothing but its argument: no file, no environment. [`Connector`] has more to say.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> bus::Result<()> {
/// let bus = bus::connect("memory://?namespace=shop").await?;
/// assert!(bus.health().await.connected);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Connector::connect`].
pub async fn connect<U>(url: U) -> Result<BusClient>
where
    U: TryInto<BusUrl>,
    U::Error: Into<Error>,
{
    Connector::new().connect(url).await
}

/// Knows which scheme of a URL is which transport: those that were compiled in, and those of third parties.
///
/// ```
/// use std::sync::Arc;
/// use bus::{Bus, BusUrl, Connector, Error, ErrorKind, Result, Settings};
///
/// async fn open(_url: BusUrl, _settings: Settings) -> Result<Arc<dyn Bus>> {
///     Err(Error::new(ErrorKind::Unavailable, "this is only an example"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> bus::Result<()> {
/// let connector = Connector::new().with("pulsar", open);
/// assert!(connector.connect("pulsar://host").await.is_err());
/// let bus = connector.connect("memory://").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Connector(bus_api::Connector);

impl Connector {
    /// Knows the transports that were compiled in.
    #[must_use]
    pub fn new() -> Self {
        let connector = bus_api::Connector::new();
        #[cfg(feature = "memory")]
        let connector = connector.with("memory", bus_memory::open);
        #[cfg(not(feature = "memory"))]
        let connector = connector.with_feature("memory", "memory");
        #[cfg(feature = "nats")]
        let connector = connector
            .with("nats", bus_nats::open)
            .with("tls", bus_nats::open);
        #[cfg(not(feature = "nats"))]
        let connector = connector
            .with_feature("nats", "nats")
            .with_feature("tls", "nats");
        #[cfg(feature = "redis")]
        let connector = connector
            .with("redis", bus_redis::open)
            .with("rediss", bus_redis::open)
            .with("redis+sentinel", bus_redis::open)
            .with("rediss+sentinel", bus_redis::open)
            .with("unix", bus_redis::open);
        #[cfg(not(feature = "redis"))]
        let connector = connector
            .with_feature("redis", "redis")
            .with_feature("rediss", "redis")
            .with_feature("redis+sentinel", "redis")
            .with_feature("rediss+sentinel", "redis")
            .with_feature("unix", "redis");
        #[cfg(feature = "kafka")]
        let connector = connector.with("kafka", bus_kafka::open);
        #[cfg(not(feature = "kafka"))]
        let connector = connector.with_feature("kafka", "kafka");
        Self(connector)
    }

    /// Adds the transport `open` for URLs of `scheme`; a later one replaces an earlier one.
    ///
    /// `open` gets the URL without the common options, which are in the [`Settings`]. It takes its own
    /// options and checks with [`Options::finish`](crate::Options::finish) that nothing is left. It waits
    /// for the broker at most `settings.connect_timeout`, with `settings.connect_lazily` not at all.
    #[must_use]
    pub fn with<F, O>(self, scheme: &str, open: O) -> Self
    where
        O: Fn(BusUrl, Settings) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Arc<dyn Bus>>> + Send + 'static,
    {
        Self(self.0.with(scheme, open))
    }

    /// Writes and reads with these codecs.
    #[must_use]
    pub fn codecs(self, codecs: Codecs) -> Self {
        Self(self.0.codecs(codecs))
    }

    /// Connects messages with the application's tracing system.
    #[must_use]
    pub fn trace_hook(self, hook: impl TraceHook) -> Self {
        Self(self.0.trace_hook(hook))
    }

    /// Options of the worker `name` that win over what its code says.
    #[must_use]
    pub fn worker_options(self, name: impl Into<String>, options: WorkerOptions) -> Self {
        Self(self.0.worker_options(name, options))
    }

    /// The schemes that it knows, in order of their names.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.0.schemes()
    }

    /// The names of all options of an adapter with these options of its own, for
    /// [`Options::finish`](crate::Options::finish).
    #[must_use]
    pub fn keys<'a>(own: &[&'a str]) -> Vec<&'a str> {
        bus_api::Connector::keys(own)
    }

    /// Connects. Waits for the broker up to the option `connect_timeout`, with `connect_lazily` not at all.
    ///
    /// # Errors
    /// `InvalidConfig` for a URL, scheme or option that cannot work, naming the nearest that would, or the
    /// cargo feature that brings the transport; `Unavailable` when the broker did not answer in time;
    /// `Unauthenticated` at once.
    pub async fn connect<U>(&self, url: U) -> Result<BusClient>
    where
        U: TryInto<BusUrl>,
        U::Error: Into<Error>,
    {
        self.0.connect(url).await
    }

    /// A client of an adapter that is already open, with this connector's codecs and trace hook.
    #[must_use]
    pub fn client(&self, bus: Arc<dyn Bus>, settings: Settings) -> BusClient {
        self.0.client(bus, settings)
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}
