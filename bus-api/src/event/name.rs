//! Names of type parameters.

use std::borrow::Cow;

/// The name that a type lends to a generic event: `#[event(type = "changed.{T}")]` asks it of `T`.
///
/// Deriving `Event` for a struct implements it with the struct's own event type. Other types say it:
///
/// ```
/// use std::borrow::Cow;
///
/// struct Customer { name: String }
///
/// impl bus_api::EventName for Customer {
///     fn event_name() -> Cow<'static, str> { "customer".into() }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no event name",
    label = "asked for its name by the `type` or `topic` of a generic event",
    note = "implement `EventName` for `{Self}`: `fn event_name() -> Cow<'static, str> {{ \"..\".into() }}`"
)]
pub trait EventName {
    /// The name: written out and kept, whatever becomes of the Rust name. In a topic it is one token or
    /// several.
    fn event_name() -> Cow<'static, str>;
}
