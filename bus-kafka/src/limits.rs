//! What the brokers' settings allow.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, ConfigResource, ResourceSpecifier};

use crate::core::Core;

/// What the brokers' settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `message.max.bytes`.
    pub(crate) message: usize,
    /// `group.min.session.timeout.ms`.
    pub(crate) min_session: Duration,
    /// `group.max.session.timeout.ms`.
    pub(crate) max_session: Duration,
    /// `group.consumer.session.timeout.ms`: every session in the newer protocol.
    pub(crate) consumer_session: Duration,
    /// `offset.metadata.max.bytes`.
    pub(crate) metadata: usize,
}

impl Default for Limits {
    /// The defaults of the brokers.
    fn default() -> Self {
        Self {
            message: 1_048_588,
            min_session: Duration::from_secs(6),
            max_session: Duration::from_secs(30 * 60),
            consumer_session: Duration::from_secs(45),
            metadata: 4_096,
        }
    }
}

impl Limits {
    /// Asks a broker; what it does not tell, for instance for want of the right to, is as usual.
    pub(crate) async fn ask(core: &Core, broker: i32) -> Self {
        let options = AdminOptions::new().request_timeout(Some(core.config.patience()));
        let asked = core
            .admin()
            .describe_configs([&ResourceSpecifier::Broker(broker)], &options)
            .await;
        let mut limits = Self::default();
        let Some(Ok(found)) = asked.ok().and_then(|found| found.into_iter().next()) else {
            tracing::debug!("the broker does not tell its settings; the usual ones are assumed");
            return limits;
        };
        let number = |name: &str| number(&found, name);
        if let Some(bytes) = number("message.max.bytes") {
            limits.message = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        if let Some(millis) = number("group.min.session.timeout.ms") {
            limits.min_session = Duration::from_millis(millis);
        }
        if let Some(millis) = number("group.max.session.timeout.ms") {
            limits.max_session = Duration::from_millis(millis);
        }
        if let Some(millis) = number("group.consumer.session.timeout.ms") {
            limits.consumer_session = Duration::from_millis(millis);
        }
        if let Some(bytes) = number("offset.metadata.max.bytes") {
            limits.metadata = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        limits
    }
}

fn number(found: &ConfigResource, name: &str) -> Option<u64> {
    found.get(name)?.value.as_deref()?.parse().ok()
}
