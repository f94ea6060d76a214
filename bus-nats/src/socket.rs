//! One connection of the client library, and whether it reaches the server.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Client, Event, ServerError, ServerInfo, Subscriber};
use bus_api::adapter::Life;
use bus_api::{Notice, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::{closed, from_connect, unavailable};

/// Whether a connection reaches the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) up: bool,
    /// How often it was made.
    pub(crate) epoch: u64,
    /// When it broke last.
    pub(crate) lost_at: Option<Instant>,
}

/// What a connection tells about subjects that the user may not use.
pub(crate) type Violations = mpsc::UnboundedSender<String>;

/// One connection of the client library; it reconnects by itself.
#[derive(Debug)]
pub(crate) struct Socket {
    client: Mutex<Option<Client>>,
    reach: Arc<watch::Sender<Reach>>,
}

impl Socket {
    /// Connects; with `connect_lazily` it is made in the background.
    pub(crate) async fn open(
        config: &Config,
        life: &Arc<Life>,
        violations: Violations,
    ) -> Result<Self> {
        let reach = Arc::new(watch::Sender::new(Reach::default()));
        let mut options = config.connect_options().await?;
        if config.settings.connect_lazily {
            options = options.retry_on_initial_connect();
        }
        let (seen, of) = (Arc::clone(&reach), Arc::clone(life));
        let client = options
            .event_callback(move |event| {
                on_event(&event, &seen, &of, &violations);
                std::future::ready(())
            })
            .connect(config.addresses()?)
            .await
            .map_err(|native| from_connect(&native))?;
        Ok(Self {
            client: Mutex::new(Some(client)),
            reach,
        })
    }

    /// The client; none once the connection was closed.
    pub(crate) fn client(&self) -> Result<Client> {
        self.client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)
    }

    /// The most bytes of a message with its headers; none once the connection was closed.
    pub(crate) fn most(&self) -> Option<usize> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().map(Client::max_payload)
    }

    /// Lets go of the connection; it ends when its subscriptions do.
    pub(crate) fn close(&self) {
        self.client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.reach.send_modify(|reach| reach.up = false);
    }

    pub(crate) fn reach(&self) -> Reach {
        *self.reach.borrow()
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Waits until the server is reached.
    ///
    /// # Errors
    /// `Unavailable` when it is not, at `deadline`.
    pub(crate) async fn until_up(&self, deadline: Instant) -> Result<Reach> {
        let reach = self.reach();
        if reach.up {
            return Ok(reach);
        }
        let mut watch = self.watch();
        let up = tokio::time::timeout_at(deadline, watch.wait_for(|reach| reach.up));
        // Seldom needed, and so in a place of its own: every request would have to have room for it.
        match Box::pin(up).await {
            Ok(Ok(reach)) => Ok(*reach),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(unavailable()),
        }
    }

    /// Waits until it is another one than `seen`.
    pub(crate) async fn changed_from(&self, seen: Reach) {
        // The sender is `self`, so that waiting cannot fail.
        let _ = self.watch().wait_for(|reach| *reach != seen).await;
    }

    /// Waits until it is up anew since `seen`.
    pub(crate) async fn renewed_since(&self, seen: Reach) {
        let _ = self
            .watch()
            .wait_for(|reach| reach.up && *reach != seen)
            .await;
    }

    /// What the server said about itself; none before the first connection.
    pub(crate) fn server(&self) -> Option<ServerInfo> {
        self.client().ok()?.try_server_info()
    }

    /// Subscribes, once the connection is there.
    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscriber> {
        let client = self.client()?;
        client.subscribe(subject).await.map_err(|_| closed())
    }

    /// Subscribes as one of a group of which one gets each message.
    pub(crate) async fn subscribe_in(&self, subject: String, group: String) -> Result<Subscriber> {
        let client = self.client()?;
        client
            .queue_subscribe(subject, group)
            .await
            .map_err(|_| closed())
    }
}

fn on_event(event: &Event, reach: &watch::Sender<Reach>, life: &Life, violations: &Violations) {
    match event {
        Event::Connected => {
            reach.send_modify(|reach| {
                reach.up = true;
                reach.epoch += 1;
            });
            life.reached();
        }
        Event::Disconnected => {
            reach.send_modify(|reach| {
                reach.up = false;
                reach.lost_at = Some(Instant::now());
            });
            life.lost();
        }
        Event::SlowConsumer(_) => life.notices().report(Notice::SlowConsumer),
        Event::ServerError(ServerError::Other(text)) => {
            if let Some(subject) = violated(text) {
                // Whoever listened has gone with the connection.
                let _ = violations.send(subject.to_owned());
            }
        }
        Event::ServerError(_)
        | Event::ClientError(_)
        | Event::LameDuckMode
        | Event::Draining
        | Event::Closed => tracing::debug!(%event, "nats"),
    }
}

/// The subject in `Permissions Violation for Publish to "a.b"`.
fn violated(text: &str) -> Option<&str> {
    text.to_ascii_lowercase()
        .contains("permissions violation")
        .then(|| text.split('"').nth(1))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_its_subject() {
        assert_eq!(
            violated("Permissions Violation for Publish to \"a.b\""),
            Some("a.b")
        );
        assert_eq!(violated("Stale Connection"), None);
    }
}
