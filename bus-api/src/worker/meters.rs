//! The metrics of a worker: handles made once, so that counting costs one atomic operation.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::telemetry::metric;

/// The metrics of a worker.
pub(crate) struct Meters {
    transport: &'static str,
    group: String,
    /// For each type that is handled, and at the end for all others: one for each [`Ending`].
    seconds: Vec<[Histogram; Ending::ALL.len()]>,
    pub(crate) unknown_types: Counter,
    pub(crate) breaker_open: Gauge,
    answered: Counter,
}

/// How a run of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Retry,
    DeadLetter,
    Defer,
    HandBack,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Ok,
        Self::Retry,
        Self::DeadLetter,
        Self::Defer,
        Self::HandBack,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retry => "retry",
            Self::DeadLetter => "dead_letter",
            Self::Defer => "defer",
            Self::HandBack => "hand_back",
        }
    }
}

impl Meters {
    /// The type label of what the fallback gets.
    const OTHER: &'static str = "other";

    pub(crate) fn new<'a>(
        transport: &'static str,
        group: &str,
        types: impl Iterator<Item = &'a str>,
    ) -> Self {
        let group = group.to_owned();
        let seconds = types.chain([Self::OTHER]).map(|name| {
            Ending::ALL.map(|ending| {
                histogram!(
                    metric::HANDLER_SECONDS,
                    "transport" => transport,
                    "group" => group.clone(),
                    "type" => name.to_owned(),
                    "outcome" => ending.as_str(),
                )
            })
        });
        Self {
            seconds: seconds.collect(),
            unknown_types: counter!(
                metric::UNKNOWN_TYPES, "transport" => transport, "group" => group.clone()
            ),
            breaker_open: gauge!(
                metric::BREAKER_OPEN, "transport" => transport, "group" => group.clone()
            ),
            answered: counter!(
                metric::RESPONSES,
                "transport" => transport, "group" => group.clone(), "outcome" => "ok"
            ),
            transport,
            group,
        }
    }

    /// A handler of the type with this number (`None`: of any other) ran for so long.
    pub(crate) fn ran(&self, type_number: Option<usize>, ending: Ending, seconds: Duration) {
        let number = type_number.unwrap_or(self.seconds.len() - 1);
        if let Some(histograms) = self.seconds.get(number) {
            histograms[ending as usize].record(seconds);
        }
    }

    /// A request was answered, with its reply or with a failure.
    pub(crate) fn answered(&self, failure: Option<&str>) {
        match failure {
            None => self.answered.increment(1),
            Some(kind) => counter!(
                metric::RESPONSES,
                "transport" => self.transport,
                "group" => self.group.clone(),
                "outcome" => kind.to_owned(),
            )
            .increment(1),
        }
    }
}
