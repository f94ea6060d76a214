//! The servers that faults happen to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::fault::Cut;
use crate::brokers::{Broker, Kind, Proxy, Setup};

/// One server with a proxy before it.
#[derive(Debug)]
pub(super) struct Stage {
    kind: Kind,
    broker: Broker,
    proxy: Proxy,
}

impl Stage {
    /// Starts the server, writing through to the disk.
    pub(super) async fn start(kind: Kind) -> Result<Self> {
        let broker = Broker::local(kind, Setup::synced()).await?;
        let target: SocketAddr = address(&broker)
            .parse()
            .context("the address of a local broker")?;
        let proxy = Proxy::start(target).await?;
        Ok(Self {
            kind,
            broker,
            proxy,
        })
    }

    /// What runs.
    pub(super) fn describe(&self) -> String {
        format!("{}: {}, every write synced", self.kind, self.broker.why())
    }

    /// The URL that leads straight to the server.
    pub(super) fn url(&self) -> String {
        self.broker.url()
    }

    /// The URL that leads through the proxy.
    pub(super) fn proxied_url(&self) -> String {
        self.kind.url(&format!("127.0.0.1:{}", self.proxy.port()))
    }

    /// Kills the server without warning and starts it again after a while.
    pub(super) async fn kill(&mut self, away: Duration) -> Result<()> {
        self.broker.kill().await?;
        tokio::time::sleep(away).await;
        self.broker.restart().await
    }

    /// Stops the server from running for a while; connections stay open.
    pub(super) async fn pause(&mut self, length: Duration) -> Result<()> {
        self.broker.pause().await?;
        tokio::time::sleep(length).await;
        self.broker.resume().await
    }

    /// Cuts every connection, and lets them come back after a while.
    pub(super) async fn cut(&self, cut: Cut, length: Duration) {
        match cut {
            Cut::Reset => self.proxy.reset(),
            Cut::Refused => {
                self.proxy.cut();
                tokio::time::sleep(length).await;
                self.proxy.heal();
            }
            Cut::AnswersLost => {
                self.proxy.hold_responses();
                tokio::time::sleep(length).await;
                // The held answers are never delivered.
                self.proxy.cut();
                self.proxy.heal();
            }
        }
    }
}

fn address(broker: &Broker) -> String {
    let url = broker.url();
    url.split_once("://")
        .map_or_else(String::new, |(_, address)| address.to_owned())
}
