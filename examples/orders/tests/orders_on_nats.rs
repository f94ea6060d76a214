//! The business comes out right with a process for each service, on NATS, also while they are killed.

mod common;

use integration_tests::brokers::{Broker, Kind, Setup};

#[tokio::test]
async fn while_services_are_killed() {
    let broker = Broker::start(Kind::Nats, Setup::synced()).await.unwrap();
    let url = broker.url();
    let check = move || common::check(&url, &["--kill", "--rounds", "3", "--within", "45"]);
    tokio::task::spawn_blocking(check).await.unwrap();
}
