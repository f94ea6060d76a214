//! What handlers fail with, and how a handler decides in place what becomes of the message.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::Failure;
use crate::error::Error;

type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What a handler returns when it can fail.
pub type HandlerResult<T = ()> = std::result::Result<T, HandlerError>;

/// Why a handler failed and, when the handler decided it, what becomes of the message.
///
/// It is made by `?` from everything that turns into a boxed error: errors of the standard library
/// and of other crates, [`bus_api::Error`](crate::Error), `anyhow::Error`, `&str` and `String`.
/// Left like that it is undecided and the worker's [`Retry`](crate::Retry) policy decides; the
/// methods of [`Decide`] decide in place.
///
/// An `anyhow::Error` made straight from an error hides that error's type when it is boxed: rules
/// by type, and what a bus error says about retrying, then do not apply. With a `.context(..)` the
/// type is found again; so it is with `reallocate_into_boxed_dyn_error_without_backtrace()`.
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`] itself: only so can `?` take
/// everything else.
///
/// ```
/// use std::time::Duration;
/// use bus_api::{Decide, HandlerError, HandlerResult};
///
/// fn parse(text: &str) -> HandlerResult<u64> {
///     Ok(text.parse::<u64>()?) // undecided
/// }
///
/// fn check(total: u64) -> HandlerResult {
///     if total == 0 {
///         Err("an order without a total").or_dead_letter()?;
///     }
///     std::fs::metadata("/no/such/file").or_retry_after(Duration::from_secs(60))?;
///     Ok(())
/// }
///
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// assert_eq!(check(0).unwrap_err().to_string(), "an order without a total");
/// let error = check(1).unwrap_err();
/// assert!(error.downcast_ref::<std::io::Error>().is_some());
/// # let _: HandlerError = error;
/// ```
#[derive(Clone)]
pub struct HandlerError {
    error: Arc<dyn StdError + Send + Sync + 'static>,
    kind: Option<&'static str>,
    choice: Option<Choice>,
}

/// What a handler decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    DeadLetter,
    RetryAfter(Duration),
    Defer(Duration),
}

impl HandlerError {
    /// An undecided error; what `?` does.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self {
            error: Arc::from(error.into()),
            kind: None,
            choice: None,
        }
    }

    /// The message is dead-lettered without another attempt.
    #[must_use]
    pub fn dead_letter(self) -> Self {
        self.decided(Choice::DeadLetter)
    }

    /// The message is tried again `delay` later rather than after the policy's backoff. It is a
    /// failed attempt: the last one is dead-lettered.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.decided(Choice::RetryAfter(delay))
    }

    /// The message comes again `delay` later and no attempt is used.
    #[must_use]
    pub fn defer(self, delay: Duration) -> Self {
        self.decided(Choice::Defer(delay))
    }

    /// The first decision stands: it was made nearest to the cause.
    fn decided(mut self, choice: Choice) -> Self {
        self.choice.get_or_insert(choice);
        self
    }

    /// The first error of type `E`: the error itself or one in its chain of sources.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.chain().find_map(|error| error.downcast_ref())
    }

    /// The error and its sources.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*self.error);
        std::iter::from_fn(move || {
            let error = next?;
            // An I/O error made of another one passes over it in `source`.
            let inside = error.downcast_ref().and_then(std::io::Error::get_ref);
            next = inside.map_or_else(|| error.source(), |inside| Some(inside));
            Some(error)
        })
    }

    pub(crate) fn with_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    pub(crate) fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// What a dead letter, or the requester, gets to see: the kind of the first bus error in the
    /// chain, and the whole chain as text.
    pub(crate) fn failure(&self) -> Failure {
        Failure::new(self.kind(), self.text())
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind.unwrap_or_else(|| {
            self.downcast_ref::<Error>()
                .map_or(Failure::HANDLER, |error| error.kind().as_str())
        })
    }

    fn text(&self) -> String {
        let mut text = self.error.to_string();
        for source in self.chain().skip(1) {
            let source = source.to_string();
            // Many errors already show their source.
            if !text.contains(&source) {
                text.push_str(": ");
                text.push_str(&source);
            }
        }
        text
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({}", self.text())?;
        match self.choice {
            Some(choice) => write!(f, "; {choice:?})"),
            None => f.write_str(")"),
        }
    }
}

/// Decides in place what becomes of the message when a step of its handler fails.
///
/// An error that is decided already keeps its decision.
pub trait Decide<T>: sealed::Sealed {
    /// On failure the message is dead-lettered without another attempt.
    ///
    /// # Errors
    /// The failure, decided.
    fn or_dead_letter(self) -> HandlerResult<T>;

    /// On failure the message is tried again `delay` later; it is a failed attempt, and after the
    /// last one the message is dead-lettered.
    ///
    /// # Errors
    /// The failure, decided.
    fn or_retry_after(self, delay: Duration) -> HandlerResult<T>;

    /// On failure the message comes again `delay` later and no attempt is used.
    ///
    /// # Errors
    /// The failure, decided.
    fn or_defer(self, delay: Duration) -> HandlerResult<T>;
}

impl<T, E: Into<HandlerError>> Decide<T> for Result<T, E> {
    fn or_dead_letter(self) -> HandlerResult<T> {
        self.map_err(|error| error.into().dead_letter())
    }

    fn or_retry_after(self, delay: Duration) -> HandlerResult<T> {
        self.map_err(|error| error.into().retry_after(delay))
    }

    fn or_defer(self, delay: Duration) -> HandlerResult<T> {
        self.map_err(|error| error.into().defer(delay))
    }
}

mod sealed {
    pub trait Sealed {}
    impl<T, E> Sealed for Result<T, E> {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn from_text() -> HandlerResult {
        Err("no total")?;
        Ok(())
    }

    fn from_string() -> HandlerResult {
        Err(String::from("no total"))?;
        Ok(())
    }

    fn from_box() -> HandlerResult {
        Err::<(), BoxError>("no total".into())?;
        Ok(())
    }

    fn through_two_functions() -> HandlerResult {
        from_text()?;
        Ok(())
    }

    #[test]
    fn everything_that_turns_into_a_boxed_error_is_taken() {
        for result in [
            from_text(),
            from_string(),
            from_box(),
            through_two_functions(),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.failure(), Failure::new(Failure::HANDLER, "no total"));
            assert_eq!(error.choice(), None);
        }
    }

    #[test]
    fn a_bus_error_gives_the_kind_wherever_it_is_in_the_chain() {
        let inner = Error::new(ErrorKind::Unavailable, "down");
        let error = HandlerError::from(std::io::Error::other(inner));
        assert_eq!(error.failure().kind, "unavailable");
        assert!(error.downcast_ref::<Error>().is_some());
    }

    #[test]
    fn the_text_is_the_chain_without_repetitions() {
        let error = Error::new(ErrorKind::Internal, "no luck")
            .caused_by(std::io::Error::other("disk full"));
        let error = HandlerError::from(error);
        assert_eq!(error.to_string(), "internal: no luck: disk full");
        let shown = std::io::Error::other(Error::new(ErrorKind::Internal, "no luck"));
        assert_eq!(HandlerError::from(shown).to_string(), "internal: no luck");
    }

    #[test]
    fn the_decision_nearest_to_the_cause_stands() {
        let minute = Duration::from_secs(60);
        let decided = Err::<(), _>("x").or_dead_letter().or_retry_after(minute);
        assert_eq!(decided.unwrap_err().choice(), Some(Choice::DeadLetter));
        let decided = Err::<(), _>("x").or_defer(minute);
        assert_eq!(decided.unwrap_err().choice(), Some(Choice::Defer(minute)));
        assert_eq!(Ok::<_, &str>(7).or_retry_after(minute).unwrap(), 7);
    }
}
