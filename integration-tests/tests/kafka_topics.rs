//! Kafka: which topics of the bus share a Kafka topic (T1, T3).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use bus_api::{ErrorKind, Raw, Start, Subscription};
use integration_tests::kafka::server::{Server, connect};
use integration_tests::trip::{message, next};
use tokio::time::timeout;

/// How long a test may take.
const WHOLE: Duration = Duration::from_secs(90);

async fn take(inbox: &mut Subscription<Raw>, many: usize) -> Result<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    for _ in 0..many {
        let received = next(inbox).await?;
        topics.insert(received.topic().to_string());
        received.ack().await?;
    }
    Ok(topics)
}

fn set(topics: &[&str]) -> BTreeSet<String> {
    topics.iter().map(|topic| (*topic).to_owned()).collect()
}

#[tokio::test]
async fn topics_share_a_log_as_far_as_the_depth_says() -> Result<()> {
    timeout(WHOLE, async {
        let server = Server::start(&[], [], &[]).await?;
        let url = format!("kafka://{}?partitions=1", server.address());
        let bus = connect(&format!("{url}&depth=2")).await?;
        let subscribe = async |group: &str, pattern: &str| {
            bus.subscribe::<Raw>(group)
                .pattern(pattern)
                .start_at(Start::Earliest)
                .await
        };
        // Of one log, of several logs, and of several that are not there yet.
        let mut placed = subscribe("placed", "orders.placed.>").await?;
        let mut orders = subscribe("orders", "orders.>").await?;
        let mut short = subscribe("short", "*").await?;
        for topic in [
            "orders",
            "orders.paid",
            "orders.placed.eu",
            "orders.placed.us.ny",
            "a-b.c_d",
        ] {
            bus.publish(&message(topic, "x")?).await?;
        }
        ensure!(take(&mut placed, 2).await? == set(&["orders.placed.eu", "orders.placed.us.ny"]));
        let wanted = set(&["orders.paid", "orders.placed.eu", "orders.placed.us.ny"]);
        ensure!(take(&mut orders, 3).await? == wanted);
        ensure!(take(&mut short, 1).await? == set(&["orders"]));
        let there = server
            .tool("org.apache.kafka.tools.TopicCommand", &["--list"], "")
            .await?;
        let logs: BTreeSet<String> = there
            .lines()
            .filter(|name| name.starts_with("bus.t."))
            .map(str::to_owned)
            .collect();
        let wanted = [
            "bus.t.orders",
            "bus.t.orders.paid",
            "bus.t.orders.placed",
            "bus.t.a--b.c-ud",
        ];
        ensure!(logs == set(&wanted), "{there}");
        let said = bus.topics().await?;
        ensure!(
            said.iter()
                .any(|topic| topic.topic.as_str() == "orders.placed.us.ny")
        );
        // Whoever has another depth would look elsewhere.
        let other = connect(&url).await?;
        let publishing = other.publish(&message("orders.paid", "x")?).await;
        let subscribing = other.subscribe::<Raw>("g").pattern("orders.>").await;
        for refused in [publishing.err(), subscribing.err()] {
            let kind = refused.as_ref().map(bus_api::Error::kind);
            ensure!(kind == Some(ErrorKind::InvalidConfig), "{refused:?}");
            let said = refused.map(|error| error.to_string()).unwrap_or_default();
            ensure!(said.contains("`depth=2`"), "{said}");
        }
        Ok(())
    })
    .await?
}
