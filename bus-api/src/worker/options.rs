//! Options of workers that come from configuration instead of code.

use std::time::Duration;

use crate::connect::Options;
use crate::error::Result;
use crate::worker::builder::invalid;
use crate::worker::settings::WorkerSettings;

/// Options of a worker that come from configuration and win over what the code says; given to a
/// [`Connector`](crate::Connector) under the name of the worker. What is `None` stays as the code has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// `concurrency`: how many handlers run at a time.
    pub concurrency: Option<u32>,
    /// `max_in_flight`: how many deliveries may be outstanding for each pattern.
    pub max_in_flight: Option<usize>,
    /// `timeout`: how long a handler may run.
    pub timeout: Option<Duration>,
    /// `retry.attempts`: how often a message is tried before it is a dead letter, the first time included.
    pub attempts: Option<u32>,
    /// `retry.base`: the delay after the first failure; it doubles with each further one.
    pub base: Option<Duration>,
    /// `retry.cap`: the longest delay.
    pub cap: Option<Duration>,
}

impl WorkerOptions {
    /// The options that [`take`](Self::take) knows.
    pub const KEYS: [&'static str; 6] = [
        "concurrency",
        "max_in_flight",
        "timeout",
        "retry.attempts",
        "retry.base",
        "retry.cap",
    ];

    /// Takes the options of a worker out of `options`.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option.
    pub fn take(options: &mut Options) -> Result<Self> {
        let taken = Self {
            concurrency: options.take_parsed("concurrency", "a number of handlers")?,
            max_in_flight: options.take_parsed("max_in_flight", "a number of deliveries")?,
            timeout: options.take_duration("timeout")?,
            attempts: options.take_parsed("retry.attempts", "a number of attempts")?,
            base: options.take_duration("retry.base")?,
            cap: options.take_duration("retry.cap")?,
        };
        let zeros = [
            ("concurrency", taken.concurrency == Some(0)),
            ("max_in_flight", taken.max_in_flight == Some(0)),
            ("timeout", taken.timeout == Some(Duration::ZERO)),
            ("retry.attempts", taken.attempts == Some(0)),
        ];
        match zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(invalid(format!("option `{name}` is more than 0"))),
            None => Ok(taken),
        }
    }

    /// Replaces what the code says.
    pub(crate) fn apply(&self, settings: &mut WorkerSettings) {
        if let Some(concurrency) = self.concurrency {
            settings.concurrency = concurrency;
        }
        if self.max_in_flight.is_some() {
            settings.max_in_flight = self.max_in_flight;
        }
        if let Some(timeout) = self.timeout {
            settings.timeout = timeout;
        }
        settings.retry.adjust(self.attempts, self.base, self.cap);
    }
}
