//! Publishing because of a message that is being handled.

use std::future::IntoFuture;

use crate::client::{Ask, Direct, Publish};
use crate::contract::Message;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Request};
use crate::ids;
use crate::worker::context::Context;

/// Awaiting a [`Publish`] made by [`Context::publish`] waits for the broker's confirmation.
#[derive(Debug)]
pub struct Caused {
    context: Context,
}

impl Context {
    /// Publishes `event` because of the message that is being handled: its id is the new message's
    /// causation id, its correlation id (or, without one, its id) is passed on, and so is its trace
    /// context when there is no current one.
    ///
    /// ```no_run
    /// # use bus_api::{Context, HandlerResult, Raw as OrderPlaced, Raw as MailSent};
    /// async fn placed(e: OrderPlaced, ctx: Context) -> HandlerResult {
    ///     # let mail_sent: MailSent = e;
    ///     ctx.publish(&mail_sent).once().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`BusClient::publish`](crate::BusClient::publish), when it is awaited.
    pub fn publish<E: Event>(&self, event: &E) -> Publish<Caused> {
        let via = Caused {
            context: self.clone(),
        };
        let mut publish = Publish::new(self.bus().core(), event, via);
        if let Some(message) = publish.message_mut() {
            self.mark(message);
        }
        publish
    }

    /// Asks because of the message that is being handled: correlation, causation and trace context
    /// are passed on as by [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`BusClient::request`](crate::BusClient::request), when it is awaited.
    pub fn request<R: Request>(&self, question: &R) -> Ask<R> {
        self.bus()
            .request(question)
            .edit(|question| question.edit(|message| self.mark(message)))
    }

    /// Names the handled message as the cause of `message`.
    pub(crate) fn mark(&self, message: &mut Message) {
        if !self.is_cause() {
            return;
        }
        let (cause, caused) = (self.metadata(), &mut message.metadata);
        let id: Box<str> = cause.id.to_string().into();
        caused.correlation_id = cause.correlation_id.clone().or_else(|| Some(id.clone()));
        caused.causation_id = Some(id);
        if caused.trace.is_none() {
            caused.trace.clone_from(&cause.trace);
        }
    }
}

impl Publish<Caused> {
    /// Gives the message an id that follows from the handled message's id, the group, and the new
    /// message's type, topic and payload, so that a handler that is retried publishes the same id
    /// again; where the transport has dedup, the second one is not stored within the dedup window.
    ///
    /// Two equal messages published while handling one message are one and the same; let their
    /// payloads differ. In a batch handler it is `InvalidArgument`: there is no one message to
    /// derive the id from.
    pub fn once(mut self) -> Self {
        let context = self.via_ref().context.clone();
        if !context.is_cause() {
            let text = "a batch handler has no one message to derive an id from";
            return self.refuse(Error::new(ErrorKind::InvalidArgument, text));
        }
        let dedup = context.bus().capabilities().dedup;
        if let Some(message) = self.message_mut() {
            let handled = context.metadata().id.to_string();
            let id = ids::derived([
                handled.as_bytes(),
                context.group().as_bytes(),
                message
                    .metadata
                    .event_type
                    .as_deref()
                    .unwrap_or_default()
                    .as_bytes(),
                message.topic.as_str().as_bytes(),
                &message.payload,
            ]);
            if dedup {
                message.dedup_id = Some(id.to_string().into());
            }
            message.metadata.id = id;
        }
        self
    }
}

impl IntoFuture for Publish<Caused> {
    type Output = <Publish<Direct> as IntoFuture>::Output;
    type IntoFuture = <Publish<Direct> as IntoFuture>::IntoFuture;

    fn into_future(self) -> Self::IntoFuture {
        self.via(Direct).into_future()
    }
}
