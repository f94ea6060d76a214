//! Why a payload does not fit: a second reading, made only after the first one failed.
//!
//! The texts of serde quote what they found ("invalid type: string \"..\""), and a payload must not get
//! into an error. So the second reading goes through a deserializer that keeps the path of fields, and whose
//! errors are made of types and names that stand in the program, never of values or map keys.

mod refusal;
#[cfg(test)]
#[cfg(feature = "json")]
mod tests;
mod tracer;

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use serde::de::{self, DeserializeOwned};

use crate::error::{Error, ErrorKind};
use crate::event::Codec;
use refusal::Refusal;
use tracer::Tracer;

/// Adds to the codec's error at which field the payload does not fit, and why.
pub(super) fn explain<T: DeserializeOwned>(
    codec: &dyn Codec,
    payload: &Bytes,
    error: Error,
) -> Error {
    if error.kind() != ErrorKind::Decode {
        return error;
    }
    let trace = Trace::default();
    let _ = codec.decode(payload, &mut |deserializer| {
        let tracer = Tracer::new(deserializer, &trace);
        T::deserialize(tracer).map(drop).map_err(|_| given_up())
    });
    let explained = match trace.reason() {
        None => error,
        Some(reason) => {
            let text = format!("the payload does not fit the type: {reason}");
            let context = error.context();
            context.fold(
                Error::new(ErrorKind::Decode, text),
                |error, (name, value)| error.with(name, value),
            )
        }
    };
    match trace.path() {
        path if path.is_empty() => explained,
        path => explained.with("field", path),
    }
}

/// What became of the second reading.
#[derive(Default)]
struct Trace {
    path: RefCell<Vec<Step>>,
    reason: RefCell<Option<String>>,
    /// What the visitor that was asked last expects.
    expected: RefCell<Option<String>>,
    /// The field or variant that the key read last is.
    key: Cell<Option<&'static str>>,
}

enum Step {
    Name(&'static str),
    Element(usize),
    /// An entry of a map: its key belongs to the payload.
    Entry(usize),
}

impl Trace {
    /// Notes the first refusal, which is the innermost.
    fn refuse<E: de::Error>(&self, refusal: Refusal) -> E {
        if let Some(text) = refusal.0 {
            self.reason.borrow_mut().get_or_insert(text);
        }
        given_up()
    }

    /// The deserializer itself refused: perhaps because of what the visitor expects.
    fn refused_below(&self) -> Refusal {
        let expected = self.expected.borrow_mut().take();
        if let Some(expected) = expected {
            let mut reason = self.reason.borrow_mut();
            reason.get_or_insert_with(|| format!("expected {expected}"));
        }
        Refusal(None)
    }

    /// Runs `read` one step further down; the step stays when that fails.
    fn down<T, E>(&self, step: Step, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let value = read()?;
        self.path.borrow_mut().pop();
        Ok(value)
    }

    fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    fn path(&self) -> String {
        let mut text = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Name(name) if text.is_empty() => text.push_str(name),
                Step::Name(name) => {
                    text.push('.');
                    text.push_str(name);
                }
                Step::Element(index) => text.push_str(&format!("[{index}]")),
                Step::Entry(index) => text.push_str(&format!("{{{index}}}")),
            }
        }
        text
    }
}

fn given_up<E: de::Error>() -> E {
    E::custom("")
}
