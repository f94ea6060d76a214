//! Open, draining, closed.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// Where a connection is in its life; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Everything works.
    Open,
    /// Participants (workers, streams, responders) finish; handlers may still publish, nothing new joins.
    Draining,
    /// Every call returns `Closed`.
    Closed,
}

/// The stage of a connection, and its live participants.
#[derive(Debug)]
pub(crate) struct Life {
    stage: watch::Sender<Stage>,
    /// The last stage is reached: every publish asks.
    closed: AtomicBool,
    participants: watch::Sender<usize>,
}

/// A live participant: `close` waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Participant {
    participants: watch::Sender<usize>,
    stage: watch::Receiver<Stage>,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Open),
            closed: AtomicBool::new(false),
            participants: watch::Sender::new(0),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Registers a participant.
    ///
    /// # Errors
    /// `Closed` once draining has begun.
    pub(crate) fn enter(&self) -> Result<Participant> {
        self.participants.send_modify(|count| *count += 1);
        let participant = Participant {
            participants: self.participants.clone(),
            stage: self.stage.subscribe(),
        };
        // Counted before the stage is read: a `close` that is not seen here sees the participant.
        if self.stage() == Stage::Open {
            Ok(participant)
        } else {
            Err(closed())
        }
    }

    pub(crate) fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let forward = *stage < to;
            if forward {
                *stage = to;
                self.closed.store(to == Stage::Closed, Ordering::Release);
            }
            forward
        });
    }

    /// Waits until every participant has left.
    pub(crate) async fn deserted(&self) {
        // The sender is owned by self, so that the channel cannot end.
        let _ = self
            .participants
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    pub(crate) fn participants(&self) -> usize {
        *self.participants.borrow()
    }
}

impl Participant {
    /// Resolves when the participant shall stop fetching and drain: the bus is being closed.
    ///
    /// Cancel safe.
    pub(crate) async fn draining(&mut self) {
        // An error is a connection that is gone altogether.
        let _ = self.stage.wait_for(|stage| *stage != Stage::Open).await;
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.participants
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The answer of everything that is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the bus was closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn participants_are_told_and_waited_for() {
        let life = Life::new();
        let mut participant = life.enter().unwrap();
        let drained = async {
            participant.draining().await;
            assert_eq!(life.stage(), Stage::Draining);
            drop(participant);
        };
        life.advance(Stage::Draining);
        assert_eq!(life.enter().unwrap_err().kind(), ErrorKind::Closed);
        tokio::join!(life.deserted(), drained);
        life.advance(Stage::Closed);
        life.advance(Stage::Draining);
        assert_eq!((life.stage(), life.participants()), (Stage::Closed, 0));
        assert!(life.is_closed());
    }
}
