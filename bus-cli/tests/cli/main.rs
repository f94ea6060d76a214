//! The `bus` command on a real Redis server, each test with a server of its own.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[cfg(feature = "bench")]
mod bench;
mod blocks;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "conformance")]
mod conformance;
mod dead_letters;
mod docs;
mod doctor;
mod groups;
mod messages;
mod requests;
mod wrong;

use std::time::Duration;

use integration_tests::brokers::{Broker, Kind, Setup};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::timeout;

use crate::common::Place;

/// A server, and a directory for the commands.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) url: String,
    _broker: Broker,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let broker = Broker::start(Kind::Redis, Setup::default()).await.unwrap();
        let namespace = format!("cli-{}", unique());
        let url = format!("{}?namespace={namespace}", broker.url());
        Self {
            place: Place::new(Some(url.clone())),
            url,
            _broker: broker,
        }
    }
}

/// Two tests may share a server whose address was given.
fn unique() -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{}-{}", std::process::id(), nanos % 1_000_000_000)
}

/// Waits until a stream of lines says `text`.
pub(crate) async fn said(stream: impl AsyncRead + Unpin, text: &str) {
    let mut lines = BufReader::new(stream).lines();
    let wait = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return;
            }
        }
        panic!("it never said {text:?}");
    };
    timeout(Duration::from_secs(20), wait).await.unwrap();
}
