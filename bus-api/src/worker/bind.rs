//! Handlers without their types.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::contract::Failure;
use crate::error::Result;
use crate::event::Event;
use crate::worker::builder::invalid;
use crate::worker::call::{Call, Handled};
use crate::worker::context::Context;
use crate::worker::error::{HandlerError, HandlerResult};
use crate::worker::handler::Handler;
use crate::worker::routes::{self, Kind, Route};

/// What is made of a handler's output.
pub(crate) trait Finish<T>:
    Fn(T, &Context) -> HandlerResult<Handled> + Copy + Send + Sync + 'static
{
}

impl<T, F> Finish<T> for F where
    F: Fn(T, &Context) -> HandlerResult<Handled> + Copy + Send + Sync + 'static
{
}

/// `handler` without its types: decoding, the time-out inside, then `finish` with what it returned.
///
/// # Errors
/// `InvalidTopic` when a topic template of the event is no pattern.
pub(crate) fn route<S, M, H, F>(kind: Kind, handler: H, state: Arc<S>, finish: F) -> Result<Route>
where
    S: Send + Sync + 'static,
    H: Handler<S, M>,
    F: Finish<H::Output>,
{
    let types = H::Event::types()?;
    if types.is_empty() && kind == Kind::Request {
        return Err(invalid("a request needs a type of its own"));
    }
    let run = move |call: Call| -> routes::Running {
        let limit = call.limit;
        let context = call.contexts().next().cloned();
        let run = handler.call(call, Arc::clone(&state));
        Box::pin(async move {
            let Some(context) = context else {
                return Err("a handler was called without a message".into());
            };
            match timeout(limit, run).await {
                Ok(output) => finish(output?, &context),
                Err(_) => Err(timed_out(limit)),
            }
        })
    };
    Ok(Route {
        types,
        decode: routes::decode::<H::Event>,
        run: Arc::new(run),
        kind,
    })
}

fn timed_out(limit: Duration) -> HandlerError {
    HandlerError::new(format!("the handler did not end within {limit:?}"))
        .with_kind(Failure::TIMEOUT)
}
