//! A running broker, which all cases of a run share.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use anyhow::Context;
use bus_api::{BusUrl, Error, ErrorKind, Namespace, Result, Settings};
use bus_conformance::Control;
use tokio::sync::Mutex;

use crate::brokers::{Broker, Kind, Proxy, Setup};

/// The broker, where it is and what the suite can do to it.
#[derive(Debug)]
pub(crate) struct SharedBroker {
    broker: Mutex<Broker>,
    url: String,
    default_port: u16,
    why: String,
    controls: Vec<Control>,
    is_controlled: bool,
    /// A subscription outlives the client that made it, so its way to the broker has to.
    ways: std::sync::Mutex<Vec<Arc<Proxy>>>,
}

impl SharedBroker {
    /// Whatever the harness finds first.
    pub(crate) async fn start(kind: Kind, setup: Setup) -> anyhow::Result<Self> {
        let broker = Broker::start(kind, setup).await?;
        let mut controls = vec![
            Control::Kill,
            Control::Cut,
            Control::Foreign,
            Control::ForgeRequest,
            Control::LoseSubscription,
            Control::LoseLog,
            Control::NewerRecord,
            Control::Leftovers,
        ];
        if broker.is_controlled() {
            controls.push(Control::Restart);
        }
        Ok(Self {
            url: broker.url(),
            default_port: match kind {
                Kind::Redis => 6379,
                Kind::Nats => 4222,
                Kind::Kafka => 9092,
            },
            why: broker.why().to_owned(),
            controls,
            is_controlled: broker.is_controlled(),
            broker: Mutex::new(broker),
            ways: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it is, and why this one.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    pub(crate) fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// Whether it was set up here, so that the suite may stop it.
    pub(crate) fn is_controlled(&self) -> bool {
        self.is_controlled
    }

    pub(crate) fn host(&self) -> anyhow::Result<(String, u16)> {
        let url: BusUrl = self.url.parse()?;
        let host = url.hosts().first().context("no host")?;
        Ok((host.host.clone(), host.port.unwrap_or(self.default_port)))
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let (host, port) = self.host()?;
        let ip = match &*host {
            "localhost" => "127.0.0.1".parse()?,
            host => host.parse()?,
        };
        Ok(SocketAddr::new(ip, port))
    }

    /// A way to it that can be cut.
    pub(crate) async fn way(&self) -> Result<Arc<Proxy>> {
        let target = self.address().map_err(failed)?;
        Ok(self.keep(Proxy::start(target).await.map_err(failed)?))
    }

    /// Keeps a way to it as long as the broker.
    pub(crate) fn keep(&self, proxy: Proxy) -> Arc<Proxy> {
        let proxy = Arc::new(proxy);
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.push(Arc::clone(&proxy));
        proxy
    }

    pub(crate) async fn stop(&self) -> Result<()> {
        self.broker.lock().await.kill().await.map_err(failed)
    }

    pub(crate) async fn start_again(&self) -> Result<()> {
        self.broker.lock().await.restart().await.map_err(failed)
    }
}

/// What a case connects with: a URL, its own options and its namespace.
pub(crate) fn connecting(
    url: &str,
    namespace: &Namespace,
    options: &[(&str, &str)],
) -> Result<(BusUrl, Settings)> {
    let mut url: BusUrl = url.parse()?;
    for (name, value) in options {
        url.options_mut().set(*name, *value);
    }
    let mut settings = Settings::take(url.options_mut())?;
    settings.namespace = namespace.clone();
    Ok((url, settings))
}

/// What went wrong outside the bus.
pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the test's own client: {error}"),
    )
}
