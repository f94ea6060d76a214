//! The names of all metrics.

/// Counter: messages that the broker confirmed.
pub const PUBLISHED: &str = "bus_published_messages_total";
/// Counter: payload bytes of confirmed messages.
pub const PUBLISHED_BYTES: &str = "bus_published_bytes_total";
/// Counter: messages that were not stored because their dedup id was, within the window.
pub const DUPLICATES: &str = "bus_publish_duplicates_total";
/// Counter: messages whose publish failed for good.
pub const PUBLISH_FAILURES: &str = "bus_publish_failures_total";
/// Counter: messages that were sent again.
pub const PUBLISH_RETRIES: &str = "bus_publish_retries_total";
/// Histogram: seconds from sending a batch to the broker's answer.
pub const PUBLISH_SECONDS: &str = "bus_publish_seconds";
/// Counter: requests by outcome.
pub const REQUESTS: &str = "bus_requests_total";
/// Histogram: seconds from request to reply.
pub const REQUEST_SECONDS: &str = "bus_request_seconds";

/// Counter: deliveries handed to a handler or a stream.
pub const DELIVERED: &str = "bus_delivered_messages_total";
/// Counter: of these, those that may have been handed over before.
pub const REDELIVERED: &str = "bus_redelivered_messages_total";
/// Counter: what became of deliveries.
pub const SETTLED: &str = "bus_settled_messages_total";
/// Counter: settlements that the broker refused for good.
pub const SETTLE_FAILURES: &str = "bus_settle_failures_total";
/// Gauge: deliveries that are held.
pub const IN_FLIGHT: &str = "bus_in_flight_messages";
/// Histogram: seconds that a handler ran.
pub const HANDLER_SECONDS: &str = "bus_handler_seconds";
/// Counter: messages of a type that no handler takes.
pub const UNKNOWN_TYPES: &str = "bus_unknown_type_messages_total";
/// Gauge: 1 while a breaker pauses fetching.
pub const BREAKER_OPEN: &str = "bus_breaker_open";
/// Counter: requests answered by responders.
pub const RESPONSES: &str = "bus_responses_total";

/// Counter: dead letters that were redriven.
pub const REDRIVEN: &str = "bus_redriven_messages_total";
/// Counter: dead letters that were purged.
pub const PURGED: &str = "bus_purged_messages_total";

#[cfg(test)]
mod tests {
    /// The table of the module's documentation and the constants name the same metrics.
    #[test]
    fn the_table_is_complete() {
        let quoted = |text: &'static str, after: &'static str, quote: &'static str| {
            let lines = text.lines().filter_map(move |line| line.split_once(after));
            let mut names: Vec<_> = lines
                .filter_map(|(_, rest)| rest.split(quote).next())
                .filter(|name| name.starts_with("bus_"))
                .collect();
            names.sort_unstable();
            names
        };
        let constants = quoted(include_str!("metric.rs"), ": &str = \"", "\"");
        let table = quoted(include_str!("mod.rs"), "//! | `", "`");
        assert!(constants.len() > 10);
        assert_eq!(constants, table);
    }
}
