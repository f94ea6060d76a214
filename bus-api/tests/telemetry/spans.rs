//! The spans that the table promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::table;

/// A span with the fields that were given a value.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Keeps every span of the bus.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    next: Arc<AtomicU64>,
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == "bus"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut seen = Seen {
            name: span.metadata().name(),
            ..Seen::default()
        };
        span.record(&mut seen);
        self.seen.lock().unwrap().insert(id, seen);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(seen) = self.seen.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(seen);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

pub(crate) fn are_those_of_the_table(spans: &Spans) {
    let seen = spans.seen.lock().unwrap();
    let promised = table::spans();
    assert_eq!(promised.len(), 3);
    let names: BTreeSet<_> = promised.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        seen.values().map(|span| span.name).collect::<BTreeSet<_>>(),
        names
    );
    // What every span says of its kind of work, and is no column of its own.
    let common = [
        "otel.kind",
        "messaging.operation.name",
        "messaging.operation.type",
    ];
    for (name, kind, operation, fields) in promised {
        let of_it: Vec<_> = seen.values().filter(|span| span.name == name).collect();
        for span in &of_it {
            assert_eq!(span.fields["otel.kind"], kind);
            assert_eq!(span.fields["messaging.operation.type"], operation);
            assert_eq!(span.fields["messaging.system"], "memory");
        }
        let given: BTreeSet<_> = of_it
            .iter()
            .flat_map(|span| span.fields.keys().copied())
            .filter(|field| !common.contains(field))
            .collect();
        assert_eq!(given, fields.into_iter().collect(), "{name}");
    }
}
