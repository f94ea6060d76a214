//! The servers that faults happen to.

use std::time::Duration;

use anyhow::{Context, Result};

use super::fault::Cut;
use super::play::Play;
use crate::brokers::{Broker, Cluster, Kind, Proxy, Setup};

/// How long servers that belong together may take to find each other.
const GATHER_TIMEOUT: Duration = Duration::from_secs(60);

/// The servers of a play, each with a proxy before it.
#[derive(Debug)]
pub(super) struct Stage {
    cluster: Cluster,
    options: &'static str,
    synced: bool,
}

impl Stage {
    /// Starts the servers and waits until the bus can use them.
    pub(super) async fn start(kind: Kind, play: &Play) -> Result<Self> {
        let setup = if play.synced {
            Setup::synced()
        } else {
            Setup::default()
        };
        let stage = Self {
            cluster: Cluster::start(kind, play.servers, &setup).await?,
            options: play.options,
            synced: play.synced,
        };
        let url = stage.url("gathering");
        let gathered = async {
            // Until enough of them have joined, nothing can be created with copies on several.
            while let Err(error) = bus::connect(url.as_str()).await {
                if !error.is_retryable() {
                    return Err(error);
                }
            }
            Ok(())
        };
        tokio::time::timeout(GATHER_TIMEOUT, gathered)
            .await
            .context("the servers do not find each other")??;
        Ok(stage)
    }

    /// What runs.
    pub(super) fn describe(&mut self) -> String {
        let (kind, size) = (self.cluster.kind(), self.cluster.size());
        let why = self
            .cluster
            .brokers()
            .next()
            .map(|broker| broker.why().to_owned());
        let why = why.unwrap_or_default();
        let synced = if self.synced { "every write" } else { "none" };
        format!("{kind}, servers: {size}; {why}; synced before it is confirmed: {synced}")
    }

    /// The URL of a namespace that leads straight to the servers.
    pub(super) fn url(&self, namespace: &str) -> String {
        self.with_options(&self.cluster.url(), namespace)
    }

    /// The URL of a namespace that leads through the proxies.
    pub(super) fn proxied_url(&self, namespace: &str) -> String {
        self.with_options(&self.cluster.proxied_url(), namespace)
    }

    fn with_options(&self, url: &str, namespace: &str) -> String {
        // What is settled need not pile up over the rounds; a machine that is busy connects slowly.
        let common = "retention=settled&connect_timeout=30s";
        let more = self.cluster.kind().more_options();
        format!("{url}?namespace={namespace}&{common}{}{more}", self.options)
    }

    /// The server that it hurts most to lose, else any.
    async fn victim(&mut self, dice: &mut fastrand::Rng) -> Result<&mut Broker> {
        let any = dice.usize(0..self.cluster.size());
        let index = self.cluster.leader().await?.unwrap_or(any);
        self.cluster
            .node(index)
            .context("a server that is not there")
    }

    /// Kills a server without warning and starts it again after a while.
    pub(super) async fn kill(&mut self, dice: &mut fastrand::Rng, away: Duration) -> Result<()> {
        let victim = self.victim(dice).await?;
        victim.kill().await?;
        tokio::time::sleep(away).await;
        victim.restart().await
    }

    /// Stops a server from running for a while; connections stay open.
    pub(super) async fn pause(&mut self, dice: &mut fastrand::Rng, length: Duration) -> Result<()> {
        let victim = self.victim(dice).await?;
        victim.pause().await?;
        tokio::time::sleep(length).await;
        victim.resume().await
    }

    /// Cuts every connection, and lets them come back after a while.
    pub(super) async fn cut(&self, cut: Cut, length: Duration) {
        match cut {
            Cut::Reset => self.cluster.proxies().for_each(Proxy::reset),
            Cut::Refused => {
                self.cluster.proxies().for_each(Proxy::cut);
                tokio::time::sleep(length).await;
                self.cluster.proxies().for_each(Proxy::heal);
            }
            Cut::AnswersLost => {
                self.cluster.proxies().for_each(Proxy::hold_responses);
                tokio::time::sleep(length).await;
                // The held answers are never delivered.
                self.cluster.proxies().for_each(|proxy| {
                    proxy.cut();
                    proxy.heal();
                });
            }
        }
    }
}
