//! Ctrl-C and the signal to terminate: once to drain, twice to end at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::INTERRUPTED;

/// Whether the user wants the command to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (told, interrupt) = watch::channel(false);
        let signals = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        // It lives as long as the process.
        tokio::spawn(watch_signals(signals, told));
        Ok(Self(interrupt))
    }

    /// Resolves when the user wants the command to end.
    pub(crate) async fn wanted(&mut self) {
        if self.0.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the user has asked for it.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }
}

async fn watch_signals(
    (mut interrupt, mut terminate): (Signal, Signal),
    told: watch::Sender<bool>,
) {
    for again in [false, true] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if again {
            std::process::exit(i32::from(INTERRUPTED));
        }
        told.send_replace(true);
    }
}
