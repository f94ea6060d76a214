//! Settings that mean the same on every transport.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::options::Options;
use crate::contract::{Namespace, Retention, RetentionMode, WhenFull};
use crate::error::{Error, ErrorKind, Result};

/// Settings that mean the same on every transport; the rest of the options is the adapter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `namespace`: default `bus`.
    pub namespace: Namespace,
    /// `source`: the CloudEvents source of what is published; default the executable's name.
    pub source: Arc<str>,
    /// `retention`, `retention.age`, `retention.bytes`, `retention.count`, `retention.full`.
    pub retention: Retention,
    /// `dedup_window`: default 2 minutes.
    pub dedup_window: Duration,
    /// `connect_timeout`: how long `connect` waits for the broker; default 4 seconds.
    pub connect_timeout: Duration,
    /// `connect_lazily`: `connect` does not wait for the broker.
    pub connect_lazily: bool,
    /// `provision`: `create`, `verify` or `none`.
    pub provision: Provision,
    /// `publish_timeout`: how long a publish is retried while the broker is away; default 30 seconds.
    pub publish_timeout: Duration,
    /// `window`: most publishes outstanding; default 4,096.
    pub window: usize,
    /// `window_bytes`: most bytes of publishes outstanding; default 64 MiB.
    pub window_bytes: usize,
}

/// What the bus may do about logs and groups that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provision {
    /// Create what is missing; report what differs.
    #[default]
    Create,
    /// Create nothing; fail when something is missing or differs.
    Verify,
    /// Neither create nor look: what is needed is there.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            source: executable_name().into(),
            retention: Retention::default(),
            dedup_window: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(4),
            connect_lazily: false,
            provision: Provision::default(),
            publish_timeout: Duration::from_secs(30),
            window: 4096,
            window_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// The options that [`take`](Self::take) knows.
    pub const KEYS: [&'static str; 14] = [
        "namespace",
        "source",
        "retention",
        "retention.age",
        "retention.bytes",
        "retention.count",
        "retention.full",
        "dedup_window",
        "connect_timeout",
        "connect_lazily",
        "provision",
        "publish_timeout",
        "window",
        "window_bytes",
    ];

    /// Takes the common settings out of `options`; what is not given has its default.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option; `InvalidTopic` for a namespace that breaks the grammar.
    pub fn take(options: &mut Options) -> Result<Self> {
        let mut settings = Self::default();
        if let Some(text) = options.take("namespace") {
            settings.namespace = Namespace::new(&text)?;
        }
        if let Some(text) = options.take("source") {
            settings.source = text.into();
        }
        settings.retention = take_retention(options)?;
        let provisions = [
            ("create", Provision::Create),
            ("verify", Provision::Verify),
            ("none", Provision::None),
        ];
        assign(
            &mut settings.provision,
            options.take_choice("provision", &provisions)?,
        );
        assign(
            &mut settings.dedup_window,
            options.take_duration("dedup_window")?,
        );
        assign(
            &mut settings.connect_timeout,
            options.take_duration("connect_timeout")?,
        );
        assign(
            &mut settings.connect_lazily,
            options.take_bool("connect_lazily")?,
        );
        assign(
            &mut settings.publish_timeout,
            options.take_duration("publish_timeout")?,
        );
        assign(
            &mut settings.window,
            options.take_parsed("window", "a number of messages")?,
        );
        let window_bytes = options
            .take_bytes("window_bytes")?
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        assign(&mut settings.window_bytes, window_bytes);
        if settings.window == 0 || settings.window_bytes == 0 {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "options `window` and `window_bytes` are at least 1",
            ));
        }
        Ok(settings)
    }
}

fn take_retention(options: &mut Options) -> Result<Retention> {
    let mut retention = Retention::default();
    let modes = [
        ("limits", RetentionMode::Limits),
        ("settled", RetentionMode::Settled),
    ];
    assign(
        &mut retention.mode,
        options.take_choice("retention", &modes)?,
    );
    assign(&mut retention.age, options.take_duration("retention.age")?);
    retention.bytes = options.take_bytes("retention.bytes")?;
    retention.count = options.take_parsed("retention.count", "a number of messages")?;
    let choices = [
        ("reject", WhenFull::Reject),
        ("drop_oldest", WhenFull::DropOldest),
    ];
    assign(
        &mut retention.when_full,
        options.take_choice("retention.full", &choices)?,
    );
    Ok(retention)
}

fn assign<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

fn executable_name() -> String {
    std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .unwrap_or_else(|| "bus".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_taken() {
        let mut options = Options::default();
        for (key, value) in Settings::KEYS.iter().zip([
            "shop",
            "svc",
            "settled",
            "1d",
            "1GiB",
            "10",
            "drop_oldest",
            "1m",
            "1s",
            "true",
            "verify",
            "2s",
            "7",
            "1MiB",
        ]) {
            options.insert(*key, value).unwrap();
        }
        let settings = Settings::take(&mut options).unwrap();
        options.finish(&Settings::KEYS).unwrap();
        assert_eq!(settings.namespace.as_str(), "shop");
        assert_eq!(settings.retention.count, Some(10));
        assert_eq!((settings.window, settings.window_bytes), (7, 1 << 20));
    }
}
