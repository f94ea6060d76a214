//! The three streams of a namespace: made or checked when the connection is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::{Error, ErrorKind, Notice, Provision, Result, WhenFull};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{StreamInfo, nanos};
use crate::config::Storage;
use crate::core::Core;
use crate::error::{STREAM_EXISTS, error, is_refusal};
use crate::retention::age_at_server;

/// What is known of the streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    ready: AtomicBool,
    /// Held by whoever looks for them; and when the last look failed, and why.
    making: tokio::sync::Mutex<Option<(Instant, Error)>>,
    log: Mutex<Option<Arc<str>>>,
    differing: Mutex<Vec<String>>,
}

impl Streams {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// A stream may be gone: they are looked at before the next use.
    pub(crate) fn doubt(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// The settings of streams that are not what is configured.
    pub(crate) fn differing(&self) -> Vec<String> {
        self.differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The name of the log of messages: the stream, and when it was made.
fn incarnation(stream: &str, info: &StreamInfo) -> Arc<str> {
    format!("{stream}:{}", info.created.as_nanosecond()).into()
}

impl Core {
    /// The log of messages.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub(crate) async fn log(&self) -> Result<Arc<str>> {
        self.ready().await?;
        let log = self
            .streams
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        log.ok_or_else(|| error(ErrorKind::Unavailable, "the stream of messages is missing"))
    }

    /// Makes sure that the streams are there.
    ///
    /// # Errors
    /// `NotFound` and `InvalidConfig` when they may not be made or do not fit; `Unsupported` without
    /// JetStream.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.usable()?;
        if self.streams.is_ready() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut failed = self.streams.making.lock().await;
        if self.streams.is_ready() {
            return Ok(());
        }
        // Those who waited for a look share what it found: they do not look one after the other.
        if let Some((at, error)) = &*failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let looked = self.look_for_streams().await;
        *failed = looked.clone().err().map(|error| (Instant::now(), error));
        looked
    }

    async fn look_for_streams(&self) -> Result<()> {
        let mut differing = Vec::new();
        for (name, config) in self.wanted() {
            let is_data = name == self.keys.data();
            if self.config.settings.provision == Provision::None && !is_data {
                continue;
            }
            let info = self.provide(&name, &config).await?;
            differing.extend(differences(&name, &config, &info.config));
            if is_data {
                self.found_log(&incarnation(&name, &info));
            }
        }
        if !differing.is_empty() && self.config.settings.provision == Provision::Verify {
            return Err(error(
                ErrorKind::InvalidConfig,
                format!("streams are not as configured: {}", differing.join("; ")),
            ));
        }
        for difference in &differing {
            tracing::warn!(
                difference,
                "a stream is not as configured; it is left as it is"
            );
        }
        *self
            .streams
            .differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = differing;
        self.streams.ready.store(true, Ordering::Release);
        Ok(())
    }

    fn found_log(&self, log: &Arc<str>) {
        let mut known = self
            .streams
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = known.replace(Arc::clone(log));
        drop(known);
        if let Some(before) = before.filter(|before| before != log) {
            self.life.notices().report(Notice::LogLost { log: before });
        }
    }

    /// The stream of this name, made when it is missing and may be made.
    async fn provide(&self, name: &str, config: &Value) -> Result<StreamInfo> {
        if let Some(info) = self.stream_info(name).await? {
            return Ok(info);
        }
        if self.config.settings.provision != Provision::Create {
            return Err(error(
                ErrorKind::NotFound,
                "a stream of the bus does not exist and `provision` forbids to create it",
            )
            .with("stream", name));
        }
        let rest = format!("STREAM.CREATE.{name}");
        let made = self.api("creating a stream", &rest, config).await;
        match made {
            Err(failed) if !is_refusal(&failed, STREAM_EXISTS) => Err(failed),
            // Another connection was faster, with other settings; and a new one is looked at for the server's clock,
            // by which the deadlines of requests are told.
            made => self.stream_info(name).await?.map_or(made, Ok),
        }
    }

    fn wanted(&self) -> [(String, Value); 3] {
        let retention = &self.config.settings.retention;
        let age = age_at_server(retention.age);
        let mut window = self
            .config
            .settings
            .dedup_window
            .max(Duration::from_millis(100));
        if !age.is_zero() {
            window = window.min(age);
        }
        let storage = match self.config.storage {
            Storage::File => "file",
            Storage::Memory => "memory",
        };
        let limit =
            |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let discard = match retention.when_full {
            WhenFull::DropOldest => "old",
            _ => "new",
        };
        let replicas = self.config.replicas;
        let (data, dead, books) = (self.keys.data(), self.keys.dead(), self.keys.books());
        [
            (
                books.clone(),
                json!({
                    "name": books, "subjects": [self.keys.all('m')], "storage": storage,
                    "num_replicas": replicas, "retention": "limits", "discard": "old",
                    "max_msgs_per_subject": 1,
                }),
            ),
            (
                dead.clone(),
                json!({
                    "name": dead, "subjects": [self.keys.all('d')], "storage": storage,
                    "num_replicas": replicas, "retention": "limits", "discard": "new",
                    "max_msgs_per_subject": 1, "discard_new_per_subject": true,
                }),
            ),
            (
                data.clone(),
                json!({
                    "name": data, "subjects": [self.keys.all('t')], "storage": storage,
                    "num_replicas": replicas, "retention": "limits", "discard": discard,
                    "max_age": nanos(age), "max_msgs": limit(retention.count),
                    "max_bytes": limit(retention.bytes), "duplicate_window": nanos(window),
                    "allow_direct": true,
                }),
            ),
        ]
    }
}

/// In what the settings of a stream differ from what is configured.
fn differences(name: &str, wanted: &Value, actual: &Value) -> Vec<String> {
    let Some(wanted) = wanted.as_object() else {
        return Vec::new();
    };
    wanted
        .iter()
        .filter_map(|(key, wanted)| {
            let actual = actual.get(key).unwrap_or(&Value::Null);
            let is_default = actual.is_null()
                && (wanted == &json!(0) || wanted == &json!(-1) || wanted == false);
            (actual != wanted && !is_default)
                .then(|| format!("`{key}` of stream {name} is {actual}, not {wanted}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_configured_is_compared() {
        let wanted = json!({"max_msgs": 5, "max_age": 0, "discard": "new"});
        assert!(
            differences(
                "s",
                &wanted,
                &json!({"max_msgs": 5, "discard": "new", "x": 1})
            )
            .is_empty()
        );
        let found = differences("s", &wanted, &json!({"max_msgs": -1, "discard": "new"}));
        assert_eq!(found, ["`max_msgs` of stream s is -1, not 5"]);
    }
}
