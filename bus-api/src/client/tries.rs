//! Which failed publish is tried again (P1).

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use crate::contract::Message;
use crate::error::Error;

/// What is known about the tries of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    /// When it is given up.
    deadline: Instant,
    /// When the broker may forget the dedup id; `None`: the message is not protected by one.
    protected_until: Option<Instant>,
    /// When the try began that is under way.
    began: Instant,
    /// The most that a try is expected to take: with less left than it needs, none begins.
    reserve: Duration,
    failed: u32,
    /// An earlier try may have stored it: no later error can say "certainly not stored" any more.
    maybe_stored: bool,
}

/// What follows from a failed try.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is safe to try again after the delay; the error is what to say when that is not possible.
    Again(Duration, Error),
    /// This is the result.
    Final(Error),
}

impl Tries {
    /// For messages about to be sent at `now`, given up after `timeout`; `dedup_window` when the transport has dedup.
    pub(crate) fn new(now: Instant, timeout: Duration, dedup_window: Option<Duration>) -> Self {
        let after = |delay| now.checked_add(delay).unwrap_or_else(|| far_from(now));
        Self {
            deadline: after(timeout),
            protected_until: dedup_window.map(after),
            began: now,
            reserve: timeout / 8,
            failed: 0,
            maybe_stored: false,
        }
    }

    /// The same for one of them.
    pub(crate) fn of(&self, message: &Message) -> Self {
        Self {
            protected_until: self.protected_until.filter(|_| message.dedup_id.is_some()),
            ..*self
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the message may be stored as far as the failed tries tell.
    pub(crate) fn maybe_stored(&self) -> bool {
        self.maybe_stored
    }

    /// Judges a failed try: what was certainly not stored, or is protected by dedup, may be tried again
    /// when the error is one that passes and there is time left.
    pub(crate) fn judge(&mut self, error: Error) -> Verdict {
        self.failed = self.failed.saturating_add(1);
        self.maybe_stored |= error.is_indeterminate();
        let delay = Backoff::PUBLISH
            .delay(self.failed)
            .max(error.retry_delay().unwrap_or_default());
        let passes = error.is_retryable();
        let error = self.honest(error);
        let limit = match (self.maybe_stored, self.protected_until) {
            (false, _) => self.deadline,
            (true, Some(protected_until)) => self.deadline.min(protected_until),
            (true, None) => return Verdict::Final(error),
        };
        let now = Instant::now();
        // The broker has answered: a try that the deadline cuts off would make a doubt of that.
        let needs = ((now - self.began) * 2).min(self.reserve);
        let next = now.checked_add(delay);
        let in_time = next
            .and_then(|next| next.checked_add(needs))
            .is_some_and(|answered| answered < limit);
        if passes && in_time {
            self.began = next.unwrap_or(now);
            Verdict::Again(delay, error)
        } else {
            Verdict::Final(error)
        }
    }

    /// `error`, marked when an earlier try may have stored the message.
    pub(crate) fn honest(&self, error: Error) -> Error {
        if self.maybe_stored && !error.is_indeterminate() {
            error.indeterminate()
        } else {
            error
        }
    }
}

/// An instant so far away that it means never: 30 years.
fn far_from(now: Instant) -> Instant {
    now + Duration::from_secs(86_400 * 365 * 30)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::contract::{MessageId, Metadata, Topic};
    use crate::error::ErrorKind;

    const TIMEOUT: Duration = Duration::from_secs(30);
    const WINDOW: Duration = Duration::from_secs(120);

    fn tries(dedup_id: bool, dedup: bool) -> Tries {
        let metadata = Metadata::new(MessageId::new("1"), "test".into(), SystemTime::UNIX_EPOCH);
        let mut message = Message::new(Topic::new("a").unwrap(), metadata, Bytes::new());
        message.dedup_id = dedup_id.then(|| "d".into());
        Tries::new(Instant::now(), TIMEOUT, dedup.then_some(WINDOW)).of(&message)
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_begins_that_cannot_be_answered_in_time() {
        let mut tries = tries(false, false);
        let full = || Error::new(ErrorKind::Throttled, "full");
        tokio::time::advance(TIMEOUT / 4).await;
        assert!(matches!(tries.judge(full()), Verdict::Again(..)));
        tokio::time::advance(TIMEOUT / 3 * 2).await;
        assert!(matches!(tries.judge(full()), Verdict::Final(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_cannot_be_stored_twice_is_tried_again() {
        use ErrorKind::{Internal, PermissionDenied, Throttled, Timeout, TooLarge, Unavailable};
        // kind, may be stored, dedup id, transport has dedup => tried again
        for (kind, maybe, dedup_id, dedup, again) in [
            (Unavailable, false, false, false, true),
            (Throttled, false, false, false, true),
            (Timeout, false, false, true, true),
            (Unavailable, true, false, false, false),
            (Unavailable, true, false, true, false),
            (Unavailable, true, true, false, false),
            (Unavailable, true, true, true, true),
            (Timeout, true, true, true, true),
            (TooLarge, false, true, true, false),
            (PermissionDenied, false, true, true, false),
            (Internal, true, true, true, false),
        ] {
            let error = Error::new(kind, "scripted");
            let error = if maybe { error.indeterminate() } else { error };
            let case = format!("{kind} maybe={maybe} id={dedup_id} dedup={dedup}");
            match tries(dedup_id, dedup).judge(error) {
                Verdict::Again(..) => assert!(again, "{case}"),
                Verdict::Final(error) => {
                    assert!(!again, "{case}");
                    assert_eq!(error.is_indeterminate(), maybe, "{case}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_doubtful_try_makes_every_later_error_doubtful() {
        let mut tries = tries(true, true);
        let doubtful = Error::new(ErrorKind::Unavailable, "lost").indeterminate();
        assert!(matches!(tries.judge(doubtful), Verdict::Again(..)));
        let certain = Error::new(ErrorKind::PermissionDenied, "no");
        let Verdict::Final(error) = tries.judge(certain) else {
            panic!("a refusal is final");
        };
        assert!(error.is_indeterminate());
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_s_delay_is_honoured_and_ends_at_the_deadline() {
        let asks =
            |secs| Error::new(ErrorKind::Throttled, "full").retry_after(Duration::from_secs(secs));
        let mut tries = tries(false, false);
        match tries.judge(asks(5)) {
            Verdict::Again(delay, _) => assert_eq!(delay, Duration::from_secs(5)),
            Verdict::Final(error) => panic!("{error}"),
        }
        assert!(matches!(tries.judge(asks(31)), Verdict::Final(_)));
        tokio::time::advance(TIMEOUT).await;
        let error = Error::new(ErrorKind::Unavailable, "down");
        assert!(matches!(tries.judge(error), Verdict::Final(_)));
    }
}
