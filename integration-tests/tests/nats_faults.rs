//! NATS: confirmations that get lost while the connection is well, as when a leader dies (P1).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use integration_tests::brokers::Broker;
use integration_tests::nats::server::{PATIENCE, connect, known, message, start};
use tokio::time::timeout;

/// Far below the time-out of a publish, 30 s.
const SOON: Duration = Duration::from_secs(12);

/// A server that leads topic `lost` astray: what is published there arrives at `astray`.
async fn astray() -> Result<(Broker, async_nats::Client, async_nats::Subscriber)> {
    let server = start(["mappings = { \"bus.t.lost\": \"astray\" }".to_owned()]).await?;
    let other = async_nats::connect(server.url()).await?;
    let found = other.subscribe("astray").await?;
    known(&other).await?;
    Ok((server, other, found))
}

#[tokio::test]
async fn a_lost_confirmation_is_indeterminate_soon() -> Result<()> {
    let (server, _other, mut found) = astray().await?;
    let bus = connect(&server.url()).await?;
    let begun = Instant::now();
    let lost = bus.publish(&message("lost", "x")?).await;
    let error = lost.err().context("it was confirmed")?;
    ensure!(error.is_indeterminate(), "{error:?}");
    ensure!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    timeout(PATIENCE, found.next()).await?.context("not sent")?;
    // It was not sent again, and others are confirmed.
    bus.publish(&message("kept", "y")?).await?;
    let again = timeout(Duration::from_millis(200), found.next()).await;
    ensure!(again.is_err(), "it was sent again: {again:?}");
    bus.close().await?;
    Ok(())
}

#[tokio::test]
async fn with_a_dedup_id_it_is_sent_again_soon() -> Result<()> {
    let (server, other, mut found) = astray().await?;
    let bus = connect(&server.url()).await?;
    let begun = Instant::now();
    let second = tokio::spawn(async move {
        let first = found.next().await.context("not sent")?;
        let second = found.next().await.context("not sent again")?;
        ensure!(
            first.headers.context("headers")?.get("Nats-Msg-Id")
                == second.headers.context("headers")?.get("Nats-Msg-Id")
        );
        let confirmation = "{\"stream\":\"bus-t\",\"seq\":1}";
        other
            .publish(
                second.reply.context("no reply address")?,
                confirmation.into(),
            )
            .await?;
        Ok(other.flush().await?)
    });
    let confirmed = bus.publish(&message("lost", "x")?).dedup_id("1").await?;
    ensure!(!confirmed.duplicate);
    ensure!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    second.await??;
    bus.close().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_slow_is_not_lost() -> Result<()> {
    let (mut server, _other, _found) = astray().await?;
    let bus = connect(&server.url()).await?;
    server.pause().await?;
    let sent = message("kept", "x")?;
    let publishing = tokio::spawn(async move { bus.publish(&sent).await });
    // Longer than a confirmation may take before it is asked for, shorter than the connection is given up.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.resume().await?;
    timeout(PATIENCE, publishing).await???;
    Ok(())
}
