//! Kafka: three servers, of which one may be away.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::brokers::{Cluster, Kind, Setup, kafka_tool};
use integration_tests::kafka::server::connect;
use integration_tests::trip::message;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{MetadataBroker, MetadataPartition, MetadataTopic};
use tokio::time::{Instant, timeout};

const WHOLE: Duration = Duration::from_secs(120);
/// How long one question to a server that is there may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(20);
/// How many times messages have to be removed, and within what time.
const REMOVALS: (usize, Duration) = (10, Duration::from_secs(40));

/// Which server is asked is chance, and each question to one that is away takes as long as it may; removing is confirmed by
/// the leader alone.
#[tokio::test]
async fn messages_are_removed_while_a_replica_is_away() -> Result<()> {
    timeout(WHOLE, remove_while_away()).await?
}

async fn remove_while_away() -> Result<()> {
    let setup = Setup {
        // So that the other two confirm soon without it.
        extra: vec!["replica.lag.time.max.ms=1000".to_owned()],
        ..Setup::default()
    };
    let mut cluster = Cluster::start(Kind::Kafka, 3, &setup).await?;
    let servers = cluster.url();
    let url = format!("{servers}?partitions=1&retention.count=10&retention.full=drop_oldest");
    let servers = servers.replacen("kafka://", "", 1);
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &servers);
    let reader: BaseConsumer = client.create()?;
    let controller = controller(&servers).await?;
    let mut attempt = 0;
    // Where the logs of a namespace are is chance.
    let (namespace, bus, away) = loop {
        attempt += 1;
        let namespace = format!("kept{attempt}");
        let bus = connect(&format!("{url}&namespace={namespace}")).await?;
        bus.publish(&message("t", "first")?).await?;
        match follower(&reader, &namespace, controller)? {
            Some(away) => break (namespace, bus, away),
            None => bus.close().await?,
        }
    };
    let paused = cluster.node(away).context("a server that is not there")?;
    paused.pause().await?;
    let log = format!("{namespace}.t.t");
    let (many, within) = REMOVALS;
    let (mut published, start) = (1, Instant::now());
    let mut removed = BTreeSet::from([0]);
    while removed.len() <= many {
        let text = published.to_string();
        timeout(PATIENCE, bus.publish(&message("t", &text)?)).await??;
        published += 1;
        tokio::time::sleep(PAUSE).await;
        removed.insert(reader.fetch_watermarks(&log, 0, PATIENCE)?.0);
        ensure!(
            start.elapsed() < within,
            "{published} messages were published, and removed up to {removed:?}"
        );
    }
    let paused = cluster.node(away).context("a server that is not there")?;
    paused.resume().await?;
    bus.close().await?;
    Ok(())
}

/// The id of the server that leads the controllers.
async fn controller(servers: &str) -> Result<i32> {
    let class = "org.apache.kafka.tools.MetadataQuorumCommand";
    let arguments = ["--bootstrap-server", servers, "describe", "--status"];
    let told = kafka_tool(class, &arguments, "").await?;
    let id = told.lines().find_map(|line| line.strip_prefix("LeaderId:"));
    Ok(id.context("nobody leads")?.trim().parse()?)
}

/// The index of a server that leads nothing of the namespace and is not the controller, if there is one.
fn follower(reader: &BaseConsumer, namespace: &str, controller: i32) -> Result<Option<usize>> {
    let known = reader.fetch_metadata(None, PATIENCE)?;
    let own = format!("{namespace}.");
    let leaders: Vec<i32> = known
        .topics()
        .iter()
        .filter(|topic| topic.name().starts_with(&own))
        .flat_map(MetadataTopic::partitions)
        .map(MetadataPartition::leader)
        .collect();
    let mut ids = known.brokers().iter().map(MetadataBroker::id);
    let away = ids.find(|id| *id != controller && !leaders.contains(id));
    Ok(away.and_then(|id| usize::try_from(id - 1).ok()))
}
