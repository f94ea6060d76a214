//! The attributes of a CloudEvent, by name, whatever carries them.

use std::borrow::Cow;
use std::time::Duration;

use super::{Known, time};
use crate::contract::{MessageId, Metadata, TraceContext, UUID_LENGTH};

pub(super) const SPEC_VERSION: &str = "1.0";
pub(super) const DATA_CONTENT_TYPE: &str = "datacontenttype";

/// Gives every attribute that is set to `sink`; the content type is not among them.
pub(super) fn write(metadata: &Metadata, sink: &mut dyn FnMut(&'static str, &str)) {
    sink("id", metadata.id.text(&mut [0; UUID_LENGTH]));
    sink("source", &metadata.source);
    sink("specversion", SPEC_VERSION);
    sink("time", &time::write(metadata.time));
    let trace = metadata.trace.as_ref();
    for (name, value) in [
        ("type", metadata.event_type.as_deref()),
        ("subject", metadata.subject.as_deref()),
        ("dataschema", metadata.dataschema.as_deref()),
        ("correlationid", metadata.correlation_id.as_deref()),
        ("causationid", metadata.causation_id.as_deref()),
        ("traceparent", trace.map(|trace| &*trace.traceparent)),
        (
            "tracestate",
            trace.and_then(|trace| trace.tracestate.as_deref()),
        ),
    ] {
        if let Some(value) = value {
            sink(name, value);
        }
    }
    if let Some(duration) = metadata.expires_in {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        sink("expiresin", &millis.to_string());
    }
}

/// Whether `name` is an attribute that the bus knows.
pub(super) fn is_known(name: &str) -> bool {
    matches!(
        name,
        "id" | "source"
            | "specversion"
            | "type"
            | "time"
            | DATA_CONTENT_TYPE
            | "subject"
            | "dataschema"
            | "correlationid"
            | "causationid"
            | "expiresin"
            | "traceparent"
            | "tracestate"
    )
}

/// Attributes as they were found.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    dataschema: Option<Cow<'a, str>>,
    correlation_id: Option<Cow<'a, str>>,
    causation_id: Option<Cow<'a, str>>,
    expires_in: Option<Cow<'a, str>>,
    traceparent: Option<Cow<'a, str>>,
    tracestate: Option<Cow<'a, str>>,
    /// The first problem: names an attribute, never a value.
    pub(super) problem: Option<Box<str>>,
}

impl<'a> Attributes<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "time" => &mut self.time,
            "type" => &mut self.event_type,
            DATA_CONTENT_TYPE => &mut self.content_type,
            "subject" => &mut self.subject,
            "dataschema" => &mut self.dataschema,
            "correlationid" => &mut self.correlation_id,
            "causationid" => &mut self.causation_id,
            "expiresin" => &mut self.expires_in,
            "traceparent" => &mut self.traceparent,
            "tracestate" => &mut self.tracestate,
            _ => return None,
        })
    }

    /// Takes an attribute, unless there is none of this name: `false`. `None` as the value: it was not readable.
    pub(super) fn take(
        &mut self,
        name: &str,
        value: impl FnOnce() -> Option<Cow<'a, str>>,
    ) -> bool {
        if name == "specversion" {
            match value() {
                Some(version) if version.starts_with("1.") => {}
                Some(_) => self.damaged(name, "is not 1.0"),
                None => self.damaged(name, "is not UTF-8"),
            }
            return true;
        }
        let Some(slot) = self.slot(name) else {
            return false;
        };
        match value() {
            Some(value) => *slot = Some(value),
            None => self.damaged(name, "is not UTF-8"),
        }
        true
    }

    /// Sets the content type unless the attribute is there.
    pub(super) fn fall_back_to_content_type(&mut self, content_type: Option<Cow<'a, str>>) {
        self.content_type = self.content_type.take().or(content_type);
    }

    /// Notes a problem; the first one is kept.
    pub(super) fn damaged(&mut self, name: &str, problem: &str) {
        self.problem
            .get_or_insert_with(|| format!("attribute `{name}` {problem}").into());
    }

    /// The metadata, filled up with what is known; and the first problem.
    pub(super) fn finish(mut self, known: &Known<'_>) -> (Metadata, Option<Box<str>>) {
        let time = self.time.take().and_then(|text| {
            let time = time::read(&text);
            if time.is_none() {
                self.damaged("time", "is no RFC 3339 time");
            }
            time
        });
        let expires_in = self.expires_in.take().and_then(|text| {
            let millis = text.parse().ok();
            if millis.is_none() {
                self.damaged("expiresin", "is no number of milliseconds");
            }
            millis.map(Duration::from_millis)
        });
        let not_empty = |value: Option<Cow<'a, str>>| value.filter(|value| !value.is_empty());
        let id = match not_empty(self.id) {
            Some(id) => MessageId::new(&id),
            None => MessageId::new(&known.id.to_string()),
        };
        let source = not_empty(self.source).map_or_else(|| known.transport.into(), |s| (*s).into());
        let boxed =
            |value: Option<Cow<'a, str>>| value.map(|value| value.into_owned().into_boxed_str());
        let owned = |value: Option<Cow<'a, str>>| {
            not_empty(value).map(|value| Cow::<'static, str>::Owned(value.into_owned()))
        };
        let tracestate = boxed(self.tracestate);
        let trace = boxed(self.traceparent).map(|traceparent| TraceContext {
            traceparent,
            tracestate,
        });
        let metadata = Metadata {
            event_type: owned(self.event_type),
            content_type: owned(self.content_type),
            subject: boxed(self.subject),
            dataschema: boxed(self.dataschema),
            correlation_id: boxed(self.correlation_id),
            causation_id: boxed(self.causation_id),
            trace,
            expires_in,
            ..Metadata::new(id, source, time.unwrap_or(known.stored_at))
        };
        (metadata, self.problem)
    }
}
