//! Ctrl-C and the signal to terminate.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the process is to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let (told, stop) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.send_replace(true);
        });
        Ok(Self(stop))
    }

    /// Resolves when it is.
    pub async fn wanted(mut self) {
        // The other end lives until it has been told.
        let _ = self.0.wait_for(|wanted| *wanted).await;
    }
}
