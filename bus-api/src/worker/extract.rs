//! Extractors: what handlers take besides the event.

use std::future::Future;

use crate::contract::Metadata;
use crate::worker::context::Context;
use crate::worker::error::HandlerResult;

/// What a handler can take after its event: [`State`], [`Context`], [`Metadata`], and types of your
/// own.
///
/// `S` is the state of the worker. A failed extraction is a failure of the handler: the retry
/// policy decides.
///
/// ```
/// use bus_api::{Context, FromContext, HandlerResult};
///
/// struct Tenant(String);
///
/// impl<S: Send + Sync> FromContext<S> for Tenant {
///     async fn from_context(context: &Context, _state: &S) -> HandlerResult<Self> {
///         let tenant = context.headers().get("tenant").ok_or("no header `tenant`")?;
///         Ok(Self(tenant.to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` after its event",
    label = "not an extractor for workers with the state `{S}`",
    note = "after the event a handler takes `State<T>`, `Context`, `Metadata` or a type that implements `FromContext<{S}>`",
    note = "the event itself comes first"
)]
pub trait FromContext<S>: Sized + Send {
    /// Takes it out of the context or the worker's state.
    ///
    /// # Errors
    /// What the handler then fails with.
    fn from_context(
        context: &Context,
        state: &S,
    ) -> impl Future<Output = HandlerResult<Self>> + Send;
}

/// A part of the worker's state, or all of it, as [`FromRef`] says.
///
/// ```
/// use bus_api::{FromRef, State};
///
/// #[derive(Clone)]
/// struct Mailer;
///
/// #[derive(Clone)]
/// struct App { mailer: Mailer }
///
/// impl FromRef<App> for Mailer {
///     fn from_ref(app: &App) -> Self {
///         app.mailer.clone()
///     }
/// }
/// # #[derive(serde::Deserialize)] struct OrderPlaced;
///
/// async fn placed(_e: OrderPlaced, State(mailer): State<Mailer>, State(app): State<App>) {
///     # let _ = (mailer, app);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State<T>(pub T);

/// How a part of a worker's state is taken from it; every `Clone` state is a part of itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no part of the worker's state `{S}`",
    label = "not in the state",
    note = "give the worker this state with `.state(..)`, or implement `FromRef<{S}>` for `{Self}`"
)]
pub trait FromRef<S> {
    /// The part, usually a clone of a field.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

impl<S: Sync, T: FromRef<S> + Send> FromContext<S> for State<T> {
    async fn from_context(_context: &Context, state: &S) -> HandlerResult<Self> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<S: Sync> FromContext<S> for Context {
    async fn from_context(context: &Context, _state: &S) -> HandlerResult<Self> {
        Ok(context.clone())
    }
}

impl<S: Sync> FromContext<S> for Metadata {
    async fn from_context(context: &Context, _state: &S) -> HandlerResult<Self> {
        Ok(context.metadata().clone())
    }
}
