//! The harness itself: each broker starts, survives `kill -9` with its port and data, and can be paused.

use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::brokers::{Broker, Cluster, Kind, Proxy, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(180);

async fn restarts_on_the_same_port(mut broker: Broker) -> Result<()> {
    let url = broker.url();
    let address = url
        .split_once("://")
        .map_or("", |(_, address)| address)
        .to_owned();
    let mut before = TcpStream::connect(&address).await?;
    broker.kill().await?;
    let mut rest = Vec::new();
    // It greets or not; either way the connection ends.
    let _ = timeout(LIMIT, before.read_to_end(&mut rest)).await?;
    broker.restart().await?;
    broker.pause().await?;
    broker.resume().await?;
    assert_eq!(broker.url(), url);
    Ok(())
}

async fn local(kind: Kind) -> Result<()> {
    let broker = Broker::local(kind, Setup::synced()).await?;
    assert!(broker.why().contains("local process"), "{}", broker.why());
    restarts_on_the_same_port(broker).await
}

/// Where there is no engine, there is nothing to test.
async fn container(kind: Kind) -> Result<()> {
    if !Broker::has_container_engine() {
        return Ok(());
    }
    let broker = Broker::container(kind, &Setup::synced()).await?;
    assert!(
        broker.why().contains("container engine"),
        "{}",
        broker.why()
    );
    restarts_on_the_same_port(broker).await
}

#[tokio::test]
async fn a_local_redis_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, local(Kind::Redis)).await?
}

#[tokio::test]
async fn a_local_nats_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, local(Kind::Nats)).await?
}

#[tokio::test]
async fn a_local_kafka_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, local(Kind::Kafka)).await?
}

#[tokio::test]
async fn a_redis_container_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, container(Kind::Redis)).await?
}

#[tokio::test]
async fn a_nats_container_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, container(Kind::Nats)).await?
}

#[tokio::test]
async fn a_kafka_container_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, container(Kind::Kafka)).await?
}

/// One of three is killed and comes back.
async fn cluster(kind: Kind) -> Result<()> {
    let mut cluster = Cluster::start(kind, 3, &Setup::synced()).await?;
    let urls = [cluster.url(), cluster.proxied_url()];
    for url in &urls {
        assert_eq!(url.split(',').count(), 3, "{url}");
    }
    let second = cluster.node(1).context("there are three")?;
    second.kill().await?;
    second.restart().await?;
    assert_eq!([cluster.url(), cluster.proxied_url()], urls);
    Ok(())
}

#[tokio::test]
async fn one_of_three_nats_servers_comes_back() -> Result<()> {
    timeout(LIMIT, cluster(Kind::Nats)).await?
}

#[tokio::test]
async fn one_of_three_kafka_brokers_comes_back() -> Result<()> {
    timeout(LIMIT, cluster(Kind::Kafka)).await?
}

#[tokio::test]
async fn a_proxy_cuts_holds_and_heals() -> Result<()> {
    let broker = Broker::local(Kind::Redis, Setup::default()).await?;
    let target = broker.url().trim_start_matches("redis://").parse()?;
    let proxy = Proxy::start(target).await?;
    let mut through = TcpStream::connect(proxy.address()).await?;
    ping(&mut through).await?;

    proxy.hold_responses();
    assert!(
        timeout(Duration::from_millis(200), ping(&mut through))
            .await
            .is_err()
    );
    proxy.heal();
    let mut late = [0; 7];
    timeout(LIMIT, through.read_exact(&mut late)).await??;

    proxy.cut();
    timeout(LIMIT, async {
        while through.read(&mut late).await.is_ok_and(|read| read > 0) {}
    })
    .await?;
    proxy.heal();
    ping(&mut TcpStream::connect(proxy.address()).await?).await
}

async fn ping(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"+PONG\r\n");
    Ok(())
}
