//! Handlers: async functions and closures.

use std::future::Future;
use std::sync::Arc;

use crate::event::Event;
use crate::worker::call::Call;
use crate::worker::error::HandlerResult;
use crate::worker::extract::FromContext;
use crate::worker::input::Input;

/// An async function or closure that handles events:
/// `async fn(E | Envelope<E> | Raw, extractors…) -> () | Result<(), X>`.
///
/// First comes the event, then up to 8 extractors ([`FromContext`]): `State<T>`, `Context`,
/// `Metadata`, your own. A batch handler takes a `Vec` of events or envelopes first; a responder
/// returns its request's reply. It is implemented for functions and closures only; a handler stays
/// a plain function that a test can call.
///
/// ```
/// use bus_api::{Context, Decide, Envelope, HandlerResult, State};
/// # use bus_api::Raw as OrderPlaced;
/// # #[derive(Clone)] struct Mailer;
///
/// async fn placed(e: OrderPlaced, State(mailer): State<Mailer>, ctx: Context) -> HandlerResult {
///     if e.payload.is_empty() {
///         Err("an order without a body").or_dead_letter()?;
///     }
///     # let _ = (mailer, ctx);
///     Ok(())
/// }
///
/// async fn audited(e: Envelope<OrderPlaced>) {
///     tracing::info!(id = %e.metadata.id, "placed");
/// }
/// ```
///
/// `M` holds the types of the arguments and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler for a worker with the state `{S}`",
    label = "not a handler",
    note = "a handler is an `async fn(E | Envelope<E> | Raw, extractors…)`: the event comes first, its type implements `Event`",
    note = "after it come up to 8 extractors: `State<T>` where `T: FromRef<{S}>`, `Context`, `Metadata`, or a type that implements `FromContext<{S}>`",
    note = "its future is `Send` (nothing like an `Rc` or a lock guard of `std` lives across an `.await`), and a closure is `Clone`"
)]
pub trait Handler<S, M>: Clone + Send + Sync + 'static {
    /// The event that it handles.
    type Event: Event;
    /// [`Single`](crate::Single) or [`Batched`](crate::Batched).
    type Form;
    /// What it returns.
    type Output: Send;

    /// Runs it. An error is that of an extractor.
    #[doc(hidden)]
    fn call(
        &self,
        call: Call,
        state: Arc<S>,
    ) -> impl Future<Output = HandlerResult<Self::Output>> + Send + 'static;
}

macro_rules! handler {
    ($($extractor:ident),*) => {
        #[allow(non_snake_case, reason = "the names of the types serve as names of the values")]
        impl<S, F, Fut, Via, In, $($extractor,)*> Handler<S, (Via, In, $($extractor,)*)> for F
        where
            S: Send + Sync + 'static,
            F: Fn(In, $($extractor),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output: Send> + Send,
            In: Input<Via>,
            $($extractor: FromContext<S> + 'static,)*
        {
            type Event = In::Event;
            type Form = In::Form;
            type Output = Fut::Output;

            fn call(
                &self,
                call: Call,
                state: Arc<S>,
            ) -> impl Future<Output = HandlerResult<Self::Output>> + Send + 'static {
                let handler = self.clone();
                async move {
                    let (input, context) = In::from_call(call)?;
                    $(let $extractor = $extractor::from_context(&context, &*state).await?;)*
                    let _ = (&context, &state);
                    Ok(handler(input, $($extractor),*).await)
                }
            }
        }
    };
}

handler!();
handler!(T1);
handler!(T1, T2);
handler!(T1, T2, T3);
handler!(T1, T2, T3, T4);
handler!(T1, T2, T3, T4, T5);
handler!(T1, T2, T3, T4, T5, T6);
handler!(T1, T2, T3, T4, T5, T6, T7);
handler!(T1, T2, T3, T4, T5, T6, T7, T8);
