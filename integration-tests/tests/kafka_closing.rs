//! Kafka: what a connection that is over leaves behind while its brokers are away.

use std::time::Duration;

use anyhow::{Result, ensure};
use bus_api::{ErrorKind, Raw, Start};
use integration_tests::kafka::server::{Server, connect};
use integration_tests::trip::{message, next};
use tokio::time::{Instant, sleep, timeout};

/// How long the test may take.
const WHOLE: Duration = Duration::from_secs(60);
/// How long the ack, and then closing, is waited for: neither can succeed.
const GIVEN: Duration = Duration::from_secs(1);
/// How late the producer may end: long before the session of a member, 30 s, which its client waits when it is closed.
const SOON: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(50);
/// The kernel keeps this much of the name of a thread.
const PRODUCER: &str = "bus-kafka-produ";

/// The threads of this process that hear what became of published records.
fn producers() -> Result<usize> {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // One that has ended in between has no name.
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.trim_end() == PRODUCER);
    }
    Ok(count)
}

#[tokio::test]
async fn a_connection_that_is_over_keeps_no_producer_while_its_brokers_are_away() -> Result<()> {
    timeout(WHOLE, async {
        let mut server = Server::start(&[], [], &[]).await?;
        let bus = connect(&format!("kafka://{}", server.address())).await?;
        let mut inbox = bus
            .subscribe::<Raw>("g")
            .pattern("a")
            .start_at(Start::Earliest)
            .await?;
        bus.publish(&message("a", "x")?).await?;
        let received = next(&mut inbox).await?;
        ensure!(producers()? == 1);
        server.broker.kill().await?;
        // The commit is on its way, and its answer will not come.
        ensure!(timeout(GIVEN, received.ack()).await.is_err());
        let closed = bus.close_within(GIVEN).await;
        let kind = closed.as_ref().map_err(bus_api::Error::kind);
        ensure!(kind == Err(ErrorKind::Timeout), "{closed:?}");
        drop((inbox, bus));
        let until = Instant::now() + SOON;
        while producers()? > 0 {
            ensure!(Instant::now() < until, "the producer goes on");
            sleep(POLL).await;
        }
        Ok(())
    })
    .await?
}
