//! The task of a publisher.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::engine::{Engine, Finished};
use super::publish::Confirmed;
use super::publisher::Unseen;
use super::tries::Tries;
use super::window::Room;
use crate::contract::Message;
use crate::error::Result;

/// Most items taken between two looks at the broker.
const TAKEN_AT_ONCE: usize = 512;

/// What a publisher tells its task.
pub(super) enum Item {
    Send(Arc<Message>, Room, Outcome),
    /// Answer when everything before has its outcome.
    Flush(oneshot::Sender<()>),
}

/// Where the outcome of a message goes.
pub(super) type Outcome = oneshot::Sender<Result<Confirmed>>;

/// Runs until every publisher is dropped and every message has its outcome.
pub(super) async fn drive(
    core: Arc<Core>,
    mut inbox: mpsc::UnboundedReceiver<Item>,
    unseen: Arc<Unseen>,
) {
    let mut driver = Driver {
        engine: Engine::new(Arc::clone(&core), 0),
        core,
        outstanding: Outstanding::default(),
        flushes: VecDeque::new(),
        unseen,
    };
    poll_fn(|cx| driver.poll(&mut inbox, cx)).await;
}

struct Driver {
    core: Arc<Core>,
    engine: Engine<Outcome>,
    outstanding: Outstanding,
    /// Flushes, with the number of messages before them.
    flushes: VecDeque<(u64, oneshot::Sender<()>)>,
    unseen: Arc<Unseen>,
}

impl Driver {
    fn poll(
        &mut self,
        inbox: &mut mpsc::UnboundedReceiver<Item>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut items = Vec::new();
        loop {
            // Within tokio's budget for one task, so that others run, too.
            let taken = inbox.poll_recv_many(cx, &mut items, TAKEN_AT_ONCE);
            let tries = self.core.tries(Instant::now());
            for item in items.drain(..) {
                self.take(item, &tries);
            }
            let sent = self.engine.poll(cx);
            while let Some(finished) = self.engine.finished() {
                self.finish(finished);
            }
            self.answer_flushes();
            match taken {
                Poll::Ready(0) => return sent,
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, item: Item, tries: &Tries) {
        match item {
            Item::Send(message, room, outcome) => {
                self.engine.take_room(room);
                self.engine.push(message, outcome, tries);
                self.outstanding.add();
            }
            Item::Flush(flushed) => self.flushes.push_back((self.outstanding.added(), flushed)),
        }
    }

    fn finish(&mut self, finished: Finished<Outcome>) {
        self.outstanding.finish(finished.seq);
        if let Err(Err(error)) = finished.tag.send(finished.result) {
            self.unseen.note(error);
        }
    }

    fn answer_flushes(&mut self) {
        let finished = self.outstanding.finished_up_to();
        while self
            .flushes
            .front()
            .is_some_and(|(before, _)| *before <= finished)
        {
            if let Some((_, flushed)) = self.flushes.pop_front() {
                // Whoever asked may have gone.
                let _ = flushed.send(());
            }
        }
    }
}

/// Which numbers have no outcome yet: outcomes come in any order, a flush wants to know up to where
/// all are there.
#[derive(Default)]
struct Outstanding {
    first: u64,
    finished: VecDeque<bool>,
}

impl Outstanding {
    fn add(&mut self) {
        self.finished.push_back(false);
    }

    fn added(&self) -> u64 {
        self.first + self.finished.len() as u64
    }

    fn finish(&mut self, seq: u64) {
        let place = usize::try_from(seq.saturating_sub(self.first)).ok();
        if let Some(finished) = place.and_then(|place| self.finished.get_mut(place)) {
            *finished = true;
        }
        while self.finished.front() == Some(&true) {
            self.finished.pop_front();
            self.first += 1;
        }
    }

    fn finished_up_to(&self) -> u64 {
        self.first
    }
}
