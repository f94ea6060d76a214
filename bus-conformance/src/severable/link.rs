//! The state of a link.

use std::future::{Future, pending};
use std::sync::Arc;

use bus_api::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The state of a link, shared by everything that goes through it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    transport: &'static str,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Cut,
    Dead,
}

impl Link {
    pub(super) fn new(transport: &'static str) -> Self {
        Self {
            transport,
            state: Arc::new(watch::Sender::new(State::Up)),
        }
    }

    pub(super) fn kill(&self) {
        self.state.send_replace(State::Dead);
    }

    pub(super) fn cut(&self) {
        self.change(State::Up, State::Cut);
    }

    pub(super) fn heal(&self) {
        self.change(State::Cut, State::Up);
    }

    fn change(&self, from: State, to: State) {
        self.state.send_if_modified(|state| {
            let fits = *state == from;
            if fits {
                *state = to;
            }
            fits
        });
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.state.borrow() == State::Dead
    }

    /// Waits for a link that is up; for ever when it is dead.
    pub(super) async fn up(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in self, so that waiting ends only when the link is up.
        let _ = state.wait_for(|state| *state == State::Up).await;
    }

    /// Waits for a link that is up, until `deadline`.
    pub(super) async fn up_until(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.up()).await.is_ok()
    }

    /// Waits for a link that is not up.
    pub(super) async fn down(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| *state != State::Up).await;
    }

    /// Whether a call can be sent now; never ends when the link is dead.
    pub(super) async fn check(&self) -> Result<()> {
        let state = *self.state.borrow();
        match state {
            State::Up => Ok(()),
            State::Cut => {
                Err(Error::new(ErrorKind::Unavailable, "the link is cut").transport(self.transport))
            }
            State::Dead => pending().await,
        }
    }

    /// `call`, unless the link dies first: then this never ends.
    pub(super) async fn alive<T>(&self, call: impl Future<Output = T>) -> T {
        let mut state = self.state.subscribe();
        let dead = async move {
            let _ = state.wait_for(|state| *state == State::Dead).await;
        };
        tokio::select! {
            biased;
            () = dead => pending().await,
            output = call => output,
        }
    }
}
