//! What a worker tells its operators.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use bus_api::Start;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::*;

/// Keeps every event as a line of text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn count(&self, level: &str, parts: &[&str]) -> usize {
        let lines = self.0.lock().unwrap();
        let fits =
            |line: &&String| line.starts_with(level) && parts.iter().all(|p| line.contains(p));
        lines.iter().filter(fits).count()
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn starting_tells_of_new_groups_and_of_stored_patterns_that_are_not_used() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    within(async {
        let bus = bus();
        let new = ["new subscription", "mail", "latest"];
        let worker = |pattern: &str| bus.worker("mail").pattern(pattern).on(async |_: Placed| {});
        worker("orders.*")
            .start()
            .await
            .unwrap()
            .shutdown(secs(1))
            .await;
        assert_eq!(log.count("INFO", &new), 1);
        worker("orders.*")
            .start()
            .await
            .unwrap()
            .shutdown(secs(1))
            .await;
        assert_eq!(log.count("INFO", &new), 1, "only when it is new");
        let unused = ["orders.*", "not used"];
        assert_eq!(log.count("WARN", &unused), 0);
        let told = worker("orders.>").start_at(Start::Earliest);
        told.start().await.unwrap().shutdown(secs(1)).await;
        assert_eq!(
            log.count("INFO", &new),
            1,
            "not when it was told where to start"
        );
        assert_eq!(log.count("WARN", &unused), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_told_once() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    within(async {
        let bus = bus();
        let worker = bus
            .worker("mail")
            .pattern("orders.>")
            .on(async |_: Placed| {});
        let _running = worker.start().await.unwrap();
        for _ in 0..3 {
            bus.publish(&Cancelled { id: 1 }).await.unwrap();
            bus.publish(&raw("orders.x", Some("order.other"), "secret"))
                .await
                .unwrap();
        }
        settled(&bus, "mail").await;
        assert_eq!(log.count("WARN", &["order.cancelled", "skipped"]), 1);
        assert_eq!(log.count("WARN", &["order.other", "skipped"]), 1);
        assert_eq!(log.count("", &["secret"]), 0, "no payload is logged");
    })
    .await;
}
