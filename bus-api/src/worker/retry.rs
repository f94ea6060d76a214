//! The retry policy: what becomes of a message whose handler failed.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::member::Decision;
use crate::worker::error::{Choice, HandlerError};

/// What becomes of a message whose handler failed: how often and how long after it is tried again,
/// and which errors make trying again pointless.
///
/// In this order:
/// 1. what the handler [decided in place](crate::Decide);
/// 2. the first rule that takes the error ([`dead_letter_if`](Self::dead_letter_if),
///    [`retry_if`](Self::retry_if), [`unavailable_if`](Self::unavailable_if)); a rule is asked
///    about the error and each of its sources;
/// 3. a [`bus_api::Error`](crate::Error) follows [`is_retryable`](crate::Error::is_retryable); only
///    `Closed`, `Canceled` and `Fenced` say nothing about the message and are retried;
/// 4. everything else is retried.
///
/// The default is 5 attempts, 200 ms doubling to 30 s, full jitter.
///
/// ```
/// # use std::time::Duration;
/// # use bus_api::{Jitter, Retry};
/// # #[derive(Debug)] struct Smtp { code: u16 }
/// # impl std::fmt::Display for Smtp { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}", self.code) } }
/// # impl std::error::Error for Smtp {}
/// let retry = Retry::exponential(Duration::from_millis(200), Duration::from_secs(30))
///     .attempts(8)
///     .jitter(Jitter::Full)
///     .dead_letter_if(|e: &Smtp| e.code == 550)
///     .unavailable_if(|e: &Smtp| e.code == 421);
/// # let _ = retry;
/// ```
#[derive(Clone)]
pub struct Retry {
    base: Duration,
    cap: Duration,
    attempts: u32,
    jitter: Jitter,
    rules: Vec<Rule>,
}

type Rule = Arc<dyn Fn(&(dyn StdError + 'static)) -> Option<Class> + Send + Sync>;

/// How delays are spread, so that messages that failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Anything from nothing to the whole delay.
    #[default]
    Full,
    /// Anything from half to the whole delay.
    Half,
    /// Exactly the delay.
    None,
}

/// What an undecided error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Another attempt may succeed.
    Retry,
    /// Something that the handler needs is away: retried, and counted by the breaker.
    Unavailable,
    /// No attempt can succeed.
    DeadLetter,
}

impl Retry {
    /// Delays that start at `base`, double with every attempt and stay at `cap`; 5 attempts, full
    /// jitter.
    #[must_use]
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap: cap.max(base),
            attempts: 5,
            jitter: Jitter::default(),
            rules: Vec::new(),
        }
    }

    /// No second attempt: what fails is dead-lettered.
    #[must_use]
    pub fn never() -> Self {
        Self::default().attempts(1)
    }

    /// How often a handler may see a message, the first time included; 0 counts as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// How delays are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Errors of type `E` that satisfy `rule` are dead-lettered without another attempt.
    #[must_use]
    pub fn dead_letter_if<E: StdError + 'static>(
        self,
        rule: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rule(Class::DeadLetter, rule)
    }

    /// Errors of type `E` that satisfy `rule` are retried.
    #[must_use]
    pub fn retry_if<E: StdError + 'static>(
        self,
        rule: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rule(Class::Retry, rule)
    }

    /// Errors of type `E` that satisfy `rule` say that something the handler needs is away: they
    /// are retried, and a [`Breaker`](crate::Breaker) counts them. Without a rule those are the
    /// retryable errors of the bus and [`std::io::Error`]s of a connection that is refused, lost or
    /// timed out.
    #[must_use]
    pub fn unavailable_if<E: StdError + 'static>(
        self,
        rule: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rule(Class::Unavailable, rule)
    }

    /// Replaces numbers; the rules stay.
    pub(crate) fn adjust(
        &mut self,
        attempts: Option<u32>,
        base: Option<Duration>,
        cap: Option<Duration>,
    ) {
        self.attempts = attempts.unwrap_or(self.attempts).max(1);
        self.base = base.unwrap_or(self.base);
        self.cap = cap.unwrap_or(self.cap).max(self.base);
    }

    fn rule<E: StdError + 'static>(
        mut self,
        class: Class,
        rule: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.push(Arc::new(move |error| {
            error
                .downcast_ref::<E>()
                .is_some_and(&rule)
                .then_some(class)
        }));
        self
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        self.attempts
    }

    /// What an error means when its handler did not decide.
    pub(crate) fn classify(&self, error: &HandlerError) -> Class {
        self.rules
            .iter()
            .find_map(|rule| error.chain().find_map(&**rule))
            .unwrap_or_else(|| default_class(error))
    }

    /// What becomes of a message whose attempt number `attempt` ended with `error`.
    pub(crate) fn decide(&self, attempt: u32, error: &HandlerError) -> Decision {
        match error.choice() {
            Some(Choice::DeadLetter) => Decision::DeadLetter,
            Some(Choice::Defer(after)) => Decision::Defer { after },
            Some(Choice::RetryAfter(after)) => self.retry(attempt, after),
            None if self.classify(error) == Class::DeadLetter => Decision::DeadLetter,
            None => {
                let asked = error
                    .downcast_ref::<Error>()
                    .and_then(Error::retry_delay)
                    .unwrap_or_default();
                self.retry(attempt, self.backoff(attempt).max(asked))
            }
        }
    }

    /// What becomes of a message whose attempt number `attempt` ended without an error to classify:
    /// a panic, a time-out, a delivery dropped unsettled.
    pub(crate) fn unclassified(&self, attempt: u32) -> Decision {
        self.retry(attempt, self.backoff(attempt))
    }

    fn retry(&self, attempt: u32, after: Duration) -> Decision {
        if attempt >= self.attempts {
            Decision::DeadLetter
        } else {
            Decision::Retry { after }
        }
    }

    fn backoff(&self, attempt: u32) -> Duration {
        self.spread(attempt, fastrand::u64(..))
    }

    fn spread(&self, attempt: u32, chance: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.cap);
        let part = |of: Duration| {
            let nanos = u64::try_from(of.as_nanos()).unwrap_or(u64::MAX);
            Duration::from_nanos(chance % nanos.saturating_add(1).max(1))
        };
        match self.jitter {
            Jitter::Full => part(whole),
            Jitter::Half => whole / 2 + part(whole / 2),
            Jitter::None => whole,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(200), Duration::from_secs(30))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("base", &self.base)
            .field("cap", &self.cap)
            .field("attempts", &self.attempts)
            .field("jitter", &self.jitter)
            .field("rules", &self.rules.len())
            .finish()
    }
}

fn default_class(error: &HandlerError) -> Class {
    error
        .chain()
        .find_map(|error| {
            if let Some(error) = error.downcast_ref::<Error>() {
                return Some(bus_class(error));
            }
            let error = error.downcast_ref::<io::Error>()?;
            connection_is_away(error).then_some(Class::Unavailable)
        })
        .unwrap_or(Class::Retry)
}

fn bus_class(error: &Error) -> Class {
    match error.kind() {
        ErrorKind::Closed | ErrorKind::Canceled | ErrorKind::Fenced => Class::Retry,
        _ if error.is_retryable() => Class::Unavailable,
        _ => Class::DeadLetter,
    }
}

fn connection_is_away(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(
        error.kind(),
        Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
            | Io::TimedOut
    )
}

#[cfg(test)]
mod tests;
