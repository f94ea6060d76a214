//! The handles behind the metrics: made once, so that counting costs one atomic operation.

use metrics::{Counter, Histogram, counter, histogram};

use super::metric;
use crate::contract::Published;
use crate::error::{Error, Result};

/// What a connection counts about publishing and requests.
pub(crate) struct PublishMeters {
    transport: &'static str,
    published: Counter,
    bytes: Counter,
    duplicates: Counter,
    pub(crate) retries: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) request_seconds: Histogram,
}

impl PublishMeters {
    pub(crate) fn new(transport: &'static str) -> Self {
        Self {
            transport,
            published: counter!(metric::PUBLISHED, "transport" => transport),
            bytes: counter!(metric::PUBLISHED_BYTES, "transport" => transport),
            duplicates: counter!(metric::DUPLICATES, "transport" => transport),
            retries: counter!(metric::PUBLISH_RETRIES, "transport" => transport),
            seconds: histogram!(metric::PUBLISH_SECONDS, "transport" => transport),
            request_seconds: histogram!(metric::REQUEST_SECONDS, "transport" => transport),
        }
    }

    /// Counts what became of a message of `bytes`, once it is final.
    pub(crate) fn finished(&self, bytes: usize, outcome: Result<&Published, &Error>) {
        match outcome {
            Ok(published) => {
                self.published.increment(1);
                self.bytes.increment(bytes as u64);
                if published.duplicate {
                    self.duplicates.increment(1);
                }
            }
            Err(error) => counter!(
                metric::PUBLISH_FAILURES,
                "transport" => self.transport,
                "kind" => error.kind().as_str(),
                "indeterminate" => if error.is_indeterminate() { "true" } else { "false" },
            )
            .increment(1),
        }
    }

    /// Counts a request by how it ended.
    pub(crate) fn requested<T>(&self, outcome: &Result<T>) {
        let outcome = match outcome {
            Ok(_) => "ok",
            Err(error) => error.kind().as_str(),
        };
        counter!(metric::REQUESTS, "transport" => self.transport, "outcome" => outcome)
            .increment(1);
    }
}

impl std::fmt::Debug for PublishMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishMeters").finish_non_exhaustive()
    }
}
