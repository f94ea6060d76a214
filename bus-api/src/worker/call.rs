//! What goes through the layers of a worker to a handler, and what comes back.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::contract::Message;
use crate::worker::context::Context;
use crate::worker::error::HandlerResult;

/// One call of a handler: what the layers of a worker see, with the message decoded already.
pub struct Call {
    pub(crate) route: usize,
    pub(crate) work: Work,
    /// The handler's time-out, for what is left of it.
    pub(crate) limit: Duration,
}

/// What a handler is called with.
pub(crate) enum Work {
    One(Item),
    Many(Vec<Item>),
}

/// A decoded message.
pub(crate) struct Item {
    pub(crate) context: Context,
    pub(crate) event: Box<dyn Any + Send>,
}

impl Call {
    /// The contexts of the messages: one, or for a batch handler as many as it gets.
    pub fn contexts(&self) -> impl Iterator<Item = &Context> {
        let items = match &self.work {
            Work::One(item) => std::slice::from_ref(item),
            Work::Many(items) => items,
        };
        items.iter().map(|item| &item.context)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.contexts()).finish()
    }
}

/// What a handler that did not fail leaves behind.
pub struct Handled(pub(crate) Outcome);

pub(crate) enum Outcome {
    /// Every message is handled.
    Done,
    /// One outcome for each message of a batch, in order.
    Each(Vec<HandlerResult>),
    /// The reply to a request, encoded.
    Reply(Box<Message>),
}

impl fmt::Debug for Handled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Outcome::Done => "Handled(Done)",
            Outcome::Each(_) => "Handled(Each)",
            Outcome::Reply(_) => "Handled(Reply)",
        })
    }
}
