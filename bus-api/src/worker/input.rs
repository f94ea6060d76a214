//! What a handler takes first.

use crate::contract::Message;
use crate::event::{Envelope, Event};
use crate::worker::call::{Call, Item, Work};
use crate::worker::context::Context;
use crate::worker::error::{HandlerError, HandlerResult};

/// What a handler takes first: an event, its [`Envelope`], or, for
/// [`Worker::on_batch`](crate::Worker::on_batch), a `Vec` of these.
///
/// `Via` only tells the cases apart. It is implemented for these and for nothing else.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` first",
    label = "neither an event nor an envelope",
    note = "the first argument is an event (a type that implements `Event`), an `Envelope<E>` of one, `Raw`, or for `on_batch` a `Vec` of these"
)]
pub trait Input<Via>: Sized + Send + 'static {
    /// The event.
    type Event: Event;
    /// [`Single`] or [`Batched`].
    type Form;

    /// Takes it out of a call, with the context for the extractors.
    #[doc(hidden)]
    fn from_call(call: Call) -> HandlerResult<(Self, Context)>;
}

/// One message at a time.
#[derive(Debug)]
pub enum Single {}

/// Many messages at once.
#[derive(Debug)]
pub enum Batched {}

/// Marks handlers that take the bare event.
#[derive(Debug)]
pub enum ViaEvent {}

/// Marks handlers that take an envelope.
#[derive(Debug)]
pub enum ViaEnvelope {}

/// Marks handlers that take many.
#[derive(Debug)]
pub struct ViaVec<Via>(std::marker::PhantomData<Via>);

/// One decoded message as a handler takes it.
pub trait Element<Via>: Sized + Send + 'static {
    /// The event.
    type Event: Event;

    #[doc(hidden)]
    fn from_event(event: Self::Event, context: &Context) -> Self;
}

impl<E: Event> Element<ViaEvent> for E {
    type Event = E;

    fn from_event(event: E, _context: &Context) -> Self {
        event
    }
}

impl<E: Event> Element<ViaEnvelope> for Envelope<E> {
    type Event = E;

    fn from_event(event: E, context: &Context) -> Self {
        let message: &Message = context.message();
        Self {
            event,
            metadata: message.metadata.clone(),
            topic: message.topic.clone(),
            key: message.key.clone(),
            headers: message.headers.clone(),
            position: context.position().clone(),
            attempt: context.attempt(),
            delivery: context.delivery(),
        }
    }
}

impl<E: Event> Input<ViaEvent> for E {
    type Event = E;
    type Form = Single;

    fn from_call(call: Call) -> HandlerResult<(Self, Context)> {
        one::<E, ViaEvent>(call)
    }
}

impl<E: Event> Input<ViaEnvelope> for Envelope<E> {
    type Event = E;
    type Form = Single;

    fn from_call(call: Call) -> HandlerResult<(Self, Context)> {
        one::<Self, ViaEnvelope>(call)
    }
}

impl<V: 'static, T: Element<V>> Input<ViaVec<V>> for Vec<T> {
    type Event = T::Event;
    type Form = Batched;

    fn from_call(call: Call) -> HandlerResult<(Self, Context)> {
        let Work::Many(items) = call.work else {
            return Err(misrouted());
        };
        let Some(context) = items.first().map(|item| item.context.for_batch()) else {
            return Err(misrouted());
        };
        let elements = items.into_iter().map(element::<T, V>);
        Ok((elements.collect::<HandlerResult<_>>()?, context))
    }
}

fn one<T: Element<V>, V>(call: Call) -> HandlerResult<(T, Context)> {
    let Work::One(item) = call.work else {
        return Err(misrouted());
    };
    let context = item.context.clone();
    Ok((element::<T, V>(item)?, context))
}

fn element<T: Element<V>, V>(item: Item) -> HandlerResult<T> {
    let event = item.event.downcast().map_err(|_| misrouted())?;
    Ok(T::from_event(*event, &item.context))
}

/// A layer changed calls with each other, or the dispatch is wrong.
fn misrouted() -> HandlerError {
    HandlerError::new("a handler was called with the message of another one")
}
