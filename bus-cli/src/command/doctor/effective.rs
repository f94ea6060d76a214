//! What is in force, and where it came from.

use std::time::Duration;

use bus::{Config, ConfigValue, Settings};
use serde_json::{Value, json};

/// A value that is in force, or was said for another transport.
pub(super) struct Effective {
    key: String,
    value: String,
    from: String,
}

impl Effective {
    pub(super) fn row(self) -> Vec<String> {
        vec![self.key, self.value, self.from]
    }

    pub(super) fn value(self) -> Value {
        json!({"key": self.key, "value": self.value, "from": self.from})
    }
}

/// The common settings, said or not, and everything else that was said.
pub(super) fn effective(config: &Config) -> Vec<Effective> {
    let said = config.values();
    let common = Settings::KEYS.into_iter().map(|key| {
        let full = format!("bus.{key}");
        match said.iter().find(|value| value.key == full) {
            Some(value) => of(value),
            None => Effective {
                key: full,
                value: default(key),
                from: "default".into(),
            },
        }
    });
    let others = said.iter().filter(|value| {
        let common = value.key.strip_prefix("bus.");
        !common.is_some_and(|key| Settings::KEYS.contains(&key))
    });
    common.chain(others.map(of)).collect()
}

fn of(value: &ConfigValue) -> Effective {
    let from = if value.applies {
        value.from.clone()
    } else {
        format!("{}, not for this transport", value.from)
    };
    Effective {
        key: value.key.clone(),
        value: value.value.clone(),
        from,
    }
}

/// What a setting is when nobody says anything.
fn default(key: &str) -> String {
    let settings = Settings::default();
    let limit = |limit: Option<u64>| limit.map_or_else(|| "no limit".into(), |n| n.to_string());
    match key {
        "namespace" => settings.namespace.to_string(),
        "source" => settings.source.to_string(),
        "retention" => format!("{:?}", settings.retention.mode).to_lowercase(),
        "retention.age" => length(settings.retention.age),
        "retention.bytes" => limit(settings.retention.bytes),
        "retention.count" => limit(settings.retention.count),
        "retention.full" => format!("{:?}", settings.retention.when_full).to_lowercase(),
        "dedup_window" => length(settings.dedup_window),
        "connect_timeout" => length(settings.connect_timeout),
        "connect_lazily" => settings.connect_lazily.to_string(),
        "provision" => format!("{:?}", settings.provision).to_lowercase(),
        "publish_timeout" => length(settings.publish_timeout),
        "window" => settings.window.to_string(),
        "window_bytes" => format!("{}MiB", settings.window_bytes >> 20),
        _ => "-".into(),
    }
}

/// A length of time as it is written in options.
fn length(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % DAY == 0 => format!("{}d", seconds / DAY),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
