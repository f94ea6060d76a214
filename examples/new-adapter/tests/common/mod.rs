//! What the conformance suite needs to know about the shelf.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "shared by the tests and an example"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Bus, Error, ErrorKind, Namespace, Result};
use bus_conformance::{Connection, Control, Factory, Foreign, Severable, Transport};
use shelf_bus::{Shelf, ShelfBus};

/// A shelf for each namespace.
#[derive(Default)]
pub(crate) struct ShelfFactory(Mutex<HashMap<Namespace, Arc<Shelf>>>);

fn cannot<T>() -> Result<T> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "not among the controls of the shelf",
    ))
}

#[async_trait]
impl Factory for ShelfFactory {
    fn name(&self) -> String {
        "shelf".to_owned()
    }

    fn transport(&self) -> Transport {
        Transport::Other(ShelfBus::new(Arc::default()).capabilities())
    }

    /// The suite's own link in front of the adapter can kill and cut a connection.
    fn controls(&self) -> &[Control] {
        &[Control::Kill, Control::Cut]
    }

    fn virtual_time(&self) -> bool {
        false
    }

    async fn connect(&self, namespace: &Namespace, _: &[(&str, &str)]) -> Result<Connection> {
        let shelf = self
            .0
            .lock()
            .unwrap()
            .entry(namespace.clone())
            .or_default()
            .clone();
        Ok(Severable::connection(Arc::new(ShelfBus::new(shelf))))
    }

    async fn stop_broker(&self) -> Result<()> {
        cannot()
    }

    async fn start_broker(&self) -> Result<()> {
        cannot()
    }

    async fn publish_foreign(&self, _: &Namespace, _: &str, _: Foreign) -> Result<()> {
        cannot()
    }

    async fn forge_request(&self, _: &Namespace, _: &str, _: Duration) -> Result<bool> {
        cannot()
    }

    async fn lose_subscription(&self, _: &Namespace, _: &str, _: &str) -> Result<()> {
        cannot()
    }

    async fn lose_log(&self, _: &Namespace, _: &str) -> Result<()> {
        cannot()
    }

    async fn store_newer_records(&self, _: &Namespace, _: &str, _: &str) -> Result<()> {
        cannot()
    }

    async fn leftovers(&self, _: &Namespace) -> Result<Vec<String>> {
        cannot()
    }
}
