//! From a URL to a client.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::BusClient;
use super::core::Core;
use crate::connect::{BusUrl, Settings};
use crate::contract::Bus;
use crate::contract::token::shorten;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Codecs;
use crate::telemetry::TraceHook;
use crate::worker::WorkerOptions;

/// What an adapter has beyond `connect_timeout` to say itself why it could not connect.
const GRACE: Duration = Duration::from_millis(250);

type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Bus>>> + Send>>;
type Opener = Arc<dyn Fn(BusUrl, Settings) -> Opening + Send + Sync>;

/// Knows which scheme of a URL is which transport, and makes clients.
///
/// The facade's `connect` uses one with all transports that were compiled in. A transport of a third
/// party is one more scheme:
///
/// ```
/// use std::sync::Arc;
/// use bus_api::{Bus, BusUrl, Connector, Error, ErrorKind, Result, Settings};
///
/// /// Takes its own options out of `url`; what is left then is a typing error of the user.
/// async fn open(mut url: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
///     let mut options = std::mem::take(url.options_mut());
///     let _lanes: Option<u32> = options.take_parsed("lanes", "a number of lanes")?;
///     options.finish(&Connector::keys(&["lanes"]))?;
///     # let _ = settings;
///     Err(Error::new(ErrorKind::Unavailable, "this is only an example"))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let connector = Connector::new().with("pulsar", open);
/// let error = connector.connect("pulsar://host?lanse=2").await.unwrap_err();
/// assert!(error.to_string().contains("did you mean `lanes`?"));
/// let error = connector.connect("plusar://host").await.unwrap_err();
/// assert!(error.to_string().contains("did you mean `pulsar`?"));
/// # })
/// ```
#[derive(Clone, Default)]
pub struct Connector {
    openers: BTreeMap<String, Opener>,
    /// Schemes that exist and were not compiled in, with the cargo feature that brings them.
    features: BTreeMap<&'static str, &'static str>,
    codecs: Codecs,
    trace_hook: Option<Arc<dyn TraceHook>>,
    worker_options: Arc<BTreeMap<String, WorkerOptions>>,
}

impl Connector {
    /// Knows no scheme yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `scheme`; a later one replaces an earlier one.
    ///
    /// `open` gets the URL without the common options, which are in the [`Settings`]. It takes its own
    /// options and checks with [`Options::finish`](crate::Options::finish) that nothing is left. It waits
    /// for the broker at most `settings.connect_timeout`, with `settings.connect_lazily` not at all.
    #[must_use]
    pub fn with<F, O>(mut self, scheme: &str, open: O) -> Self
    where
        O: Fn(BusUrl, Settings) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Arc<dyn Bus>>> + Send + 'static,
    {
        let opener: Opener = Arc::new(move |url, settings| Box::pin(open(url, settings)));
        self.openers.insert(scheme.to_ascii_lowercase(), opener);
        self
    }

    /// Says that `scheme` needs the cargo feature `feature`; only used when the scheme is not registered.
    #[must_use]
    pub fn with_feature(mut self, scheme: &'static str, feature: &'static str) -> Self {
        self.features.insert(scheme, feature);
        self
    }

    /// Writes and reads with these codecs.
    #[must_use]
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Connects messages with the application's tracing system.
    #[must_use]
    pub fn trace_hook(mut self, hook: impl TraceHook) -> Self {
        self.trace_hook = Some(Arc::new(hook));
        self
    }

    /// Options of the worker `name` that win over what its code says.
    #[must_use]
    pub fn worker_options(mut self, name: impl Into<String>, options: WorkerOptions) -> Self {
        Arc::make_mut(&mut self.worker_options).insert(name.into(), options);
        self
    }

    /// The names of all options of an adapter with these options of its own, for
    /// [`Options::finish`](crate::Options::finish).
    #[must_use]
    pub fn keys<'a>(own: &[&'a str]) -> Vec<&'a str> {
        own.iter().copied().chain(Settings::KEYS).collect()
    }

    /// The schemes that are registered, in order of their names.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.openers.keys().map(String::as_str)
    }

    /// Connects. Reads nothing but its argument: no file, no environment.
    ///
    /// Waits for the broker up to the option `connect_timeout`, with `connect_lazily` not at all.
    ///
    /// # Errors
    /// `InvalidConfig` for a URL, scheme or option that cannot work, naming the nearest that would;
    /// `Unavailable` when the broker did not answer in time; `Unauthenticated` at once.
    pub async fn connect<U>(&self, url: U) -> Result<BusClient>
    where
        U: TryInto<BusUrl>,
        U::Error: Into<Error>,
    {
        let mut url = url.try_into().map_err(Into::into)?;
        let opener = self
            .openers
            .get(url.scheme())
            .ok_or_else(|| self.unknown(url.scheme()))?;
        let settings = Settings::take(url.options_mut())?;
        let shown = url.to_string();
        let opening = opener(url, settings.clone());
        let patience = settings.connect_timeout.saturating_add(GRACE);
        let bus = timeout(patience, opening).await.map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                "the broker did not answer within `connect_timeout`",
            )
            .with("url", shown)
        })??;
        Ok(self.client(bus, settings))
    }

    /// A client of an adapter that is already open, with this connector's codecs and trace hook.
    #[must_use]
    pub fn client(&self, bus: Arc<dyn Bus>, settings: Settings) -> BusClient {
        let (codecs, hook) = (self.codecs.clone(), self.trace_hook.clone());
        let mut core = Core::new(bus, settings, codecs, hook);
        core.worker_options = Arc::clone(&self.worker_options);
        BusClient::with(core)
    }

    fn unknown(&self, scheme: &str) -> Error {
        if let Some(feature) = self.features.get(scheme) {
            return Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "the transport `{scheme}` was not compiled in; enable the cargo feature `{feature}`"
                ),
            );
        }
        let known = || self.schemes().chain(self.features.keys().copied());
        let nearest = known()
            .map(|known| (strsim::damerau_levenshtein(scheme, known), known))
            .min()
            .filter(|(distance, known)| distance * 3 <= known.len().max(3));
        let hint = match nearest {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        Error::new(
            ErrorKind::InvalidConfig,
            format!("unknown scheme `{}` of a bus URL; {hint}", shorten(scheme)),
        )
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("schemes", &self.openers.keys())
            .field("features", &self.features)
            .field("codecs", &self.codecs)
            .field("trace_hook", &self.trace_hook)
            .field("worker_options", &self.worker_options)
            .finish()
    }
}
