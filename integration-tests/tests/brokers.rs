//! The harness itself: each broker starts, survives `kill -9` with its port, and can be paused.

use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::brokers::{Broker, Kind, LocalOptions, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn restarts_on_the_same_port(kind: Kind) -> Result<()> {
    let mut broker = Broker::local(kind, LocalOptions::default()).await?;
    let url = broker.url();
    assert!(broker.why().contains("local process"), "{}", broker.why());
    let process = broker.process().context("a local broker has a process")?;
    process.kill()?;
    assert!(
        TcpStream::connect(("127.0.0.1", process.port()))
            .await
            .is_err()
    );
    process.restart().await?;
    process.pause()?;
    process.resume()?;
    assert_eq!(broker.url(), url);
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn redis_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, restarts_on_the_same_port(Kind::Redis)).await?
}

#[tokio::test]
async fn nats_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, restarts_on_the_same_port(Kind::Nats)).await?
}

#[tokio::test]
async fn kafka_restarts_on_the_same_port() -> Result<()> {
    timeout(LIMIT, restarts_on_the_same_port(Kind::Kafka)).await?
}

#[tokio::test]
async fn a_proxy_cuts_holds_and_heals() -> Result<()> {
    let broker = Broker::local(Kind::Redis, LocalOptions::default()).await?;
    let target = broker.url().trim_start_matches("redis://").parse()?;
    let proxy = Proxy::start(target).await?;
    let mut through = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
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
    ping(&mut TcpStream::connect(("127.0.0.1", proxy.port())).await?).await
}

async fn ping(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"+PONG\r\n");
    Ok(())
}
