//! What handlers return.

use crate::worker::call::{Handled, Outcome};
use crate::worker::error::{HandlerError, HandlerResult};

/// What a handler of events returns: `()`, or `Result<(), X>` of anything that turns into a
/// [`HandlerError`].
#[diagnostic::on_unimplemented(
    message = "a handler of events cannot return `{Self}`",
    label = "neither `()` nor `Result<(), X>`",
    note = "return `()`, `HandlerResult`, or `Result<(), X>` with an error that `?` can turn into a `HandlerError`"
)]
pub trait IntoOutcome {
    #[doc(hidden)]
    fn into_outcome(self) -> HandlerResult;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> HandlerResult {
        Ok(())
    }
}

impl<X: Into<HandlerError>> IntoOutcome for Result<(), X> {
    fn into_outcome(self) -> HandlerResult {
        self.map_err(Into::into)
    }
}

/// What a batch handler returns: `()` or one `Result<(), X>` for all, or a `Vec` with one for each,
/// in order.
#[diagnostic::on_unimplemented(
    message = "a batch handler cannot return `{Self}`",
    label = "neither one outcome for all nor one for each",
    note = "return `()`, `Result<(), X>` for all messages, or `Vec<Result<(), X>>` (or a `HandlerResult` of it) with one outcome for each, in order"
)]
pub trait IntoOutcomes {
    #[doc(hidden)]
    fn into_outcomes(self) -> HandlerResult<Handled>;
}

impl IntoOutcomes for () {
    fn into_outcomes(self) -> HandlerResult<Handled> {
        Ok(().into_batch())
    }
}

impl<T: Batch, X: Into<HandlerError>> IntoOutcomes for Result<T, X> {
    fn into_outcomes(self) -> HandlerResult<Handled> {
        self.map(Batch::into_batch).map_err(Into::into)
    }
}

impl<X: Into<HandlerError>> IntoOutcomes for Vec<Result<(), X>> {
    fn into_outcomes(self) -> HandlerResult<Handled> {
        Ok(self.into_batch())
    }
}

/// What the `Ok` of a batch handler can hold.
pub trait Batch {
    #[doc(hidden)]
    fn into_batch(self) -> Handled;
}

impl Batch for () {
    fn into_batch(self) -> Handled {
        Handled(Outcome::Done)
    }
}

impl<X: Into<HandlerError>> Batch for Vec<Result<(), X>> {
    fn into_batch(self) -> Handled {
        let each = self.into_iter().map(|result| result.map_err(Into::into));
        Handled(Outcome::Each(each.collect()))
    }
}

/// What a responder returns: the reply `R` itself, or `Result<R, X>` when it can fail.
///
/// `Via` only tells the two apart.
#[diagnostic::on_unimplemented(
    message = "a responder cannot return `{Self}`",
    label = "neither the reply nor a `Result` of it",
    note = "the request's `Reply` is `{R}`; return it, or `HandlerResult<{R}>`"
)]
pub trait IntoReply<R, Via> {
    #[doc(hidden)]
    fn into_reply(self) -> HandlerResult<R>;
}

/// Marks responders that return the reply itself.
#[derive(Debug)]
pub enum Sure {}

/// Marks responders that can fail.
#[derive(Debug)]
pub enum Fallible {}

impl<R> IntoReply<R, Sure> for R {
    fn into_reply(self) -> HandlerResult<R> {
        Ok(self)
    }
}

impl<R, X: Into<HandlerError>> IntoReply<R, Fallible> for Result<R, X> {
    fn into_reply(self) -> HandlerResult<R> {
        self.map_err(Into::into)
    }
}
