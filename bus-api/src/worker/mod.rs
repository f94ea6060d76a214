//! Workers: handlers, what they take and return, and what becomes of the messages.

mod breaker;
mod call;
mod context;
mod error;
mod extract;
mod handler;
mod input;
mod outcome;
mod retry;
mod routes;

pub use breaker::Breaker;
pub use call::{Call, Handled};
pub use context::Context;
pub use error::{Decide, HandlerError, HandlerResult};
pub use extract::{FromContext, FromRef, State};
pub use handler::Handler;
pub use input::{Batched, Element, Input, Single, ViaEnvelope, ViaEvent, ViaVec};
pub use outcome::{Batch, Fallible, IntoOutcome, IntoOutcomes, IntoReply, Sure};
pub use retry::{Jitter, Retry};
