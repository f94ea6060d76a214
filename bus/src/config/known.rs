//! Which sections and keys there are.

use bus_api::{BusUrl, Error, ErrorKind, Options, Result, Settings, WorkerOptions};

/// The section of what is the same on every transport.
pub(super) const BUS: &str = "bus";
/// The section of the workers.
pub(super) const WORKERS: &str = "workers";
/// The options of a URL whose scheme has no section: a transport of a third party.
pub(super) const OTHER: &str = "transport";

/// A section of one transport.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) schemes: &'static [&'static str],
    /// A URL that any options of the section fit.
    pub(super) sample: &'static str,
    pub(super) adapter: Option<Adapter>,
}

/// What a transport that was compiled in knows.
pub(super) struct Adapter {
    /// Options of its own.
    pub(super) keys: &'static [&'static str],
    /// Options that start so are handed to the client as they are.
    pub(super) prefix: Option<&'static str>,
    /// Whether it logs in.
    pub(super) logs_in: bool,
    /// Reads a URL as connecting does.
    pub(super) check: fn(BusUrl, Settings) -> Result<()>,
}

/// The sections of transports.
pub(super) const SECTIONS: [Section; 4] = [
    Section {
        name: "memory",
        schemes: &["memory"],
        sample: "memory://",
        #[cfg(feature = "memory")]
        adapter: Some(Adapter {
            keys: &bus_memory::Config::KEYS,
            prefix: None,
            logs_in: false,
            check: |url, settings| bus_memory::Config::from_url(url, settings).map(drop),
        }),
        #[cfg(not(feature = "memory"))]
        adapter: None,
    },
    Section {
        name: "redis",
        schemes: &[
            "redis",
            "rediss",
            "redis+sentinel",
            "rediss+sentinel",
            "unix",
        ],
        sample: "rediss+sentinel://localhost/master",
        #[cfg(feature = "redis")]
        adapter: Some(Adapter {
            keys: &bus_redis::Config::KEYS,
            prefix: None,
            logs_in: true,
            check: |url, settings| bus_redis::Config::from_url(url, settings).map(drop),
        }),
        #[cfg(not(feature = "redis"))]
        adapter: None,
    },
    Section {
        name: "nats",
        schemes: &["nats", "tls"],
        sample: "nats://localhost",
        #[cfg(feature = "nats")]
        adapter: Some(Adapter {
            keys: &bus_nats::Config::KEYS,
            prefix: None,
            logs_in: true,
            check: |url, settings| bus_nats::Config::from_url(url, settings).map(drop),
        }),
        #[cfg(not(feature = "nats"))]
        adapter: None,
    },
    Section {
        name: "kafka",
        schemes: &["kafka"],
        sample: "kafka://localhost",
        #[cfg(feature = "kafka")]
        adapter: Some(Adapter {
            keys: &bus_kafka::Config::KEYS,
            prefix: Some(bus_kafka::Config::PREFIX),
            logs_in: true,
            check: |url, settings| bus_kafka::Config::from_url(url, settings).map(drop),
        }),
        #[cfg(not(feature = "kafka"))]
        adapter: None,
    },
];

/// Options that hold a secret.
const SECRETS: [&str; 4] = ["password", "sentinel_password", "token", "nkey"];
/// Options of a file that holds a secret, and the option that it stands for.
pub(super) const SECRET_FILES: [(&str, &str); 3] = [
    ("password_file", "password"),
    ("sentinel_password_file", "sentinel_password"),
    ("token_file", "token"),
];

/// The section of the options of a URL with this scheme.
pub(super) fn section_of(scheme: &str) -> &'static str {
    SECTIONS
        .iter()
        .find(|section| section.schemes.contains(&scheme))
        .map_or(OTHER, |section| section.name)
}

/// Whether the value of this key is never shown.
pub(super) fn is_secret(section: &str, key: &str) -> bool {
    // What a client or a third party is given as it is may be anything.
    SECRETS.contains(&key)
        || key.contains('.') && section != BUS && section != WORKERS
        || section == OTHER
}

/// The name that the bus has for a key of a section: a table whose own value is `mode`.
pub(super) fn canonical(section: &str, key: &str) -> String {
    match (section, key) {
        (BUS, "retention.mode") => "retention".into(),
        _ => key.into(),
    }
}

/// Checks that there is such a key in such a section.
///
/// # Errors
/// `InvalidConfig`, naming the nearest that is there.
pub(super) fn check_key(section: &str, key: &str) -> Result<()> {
    match section {
        BUS => check(key, &[&["url"], &Settings::KEYS[..]].concat()),
        WORKERS => {
            let (_, option) = key.split_once('.').unwrap_or((key, ""));
            check(option, &WorkerOptions::KEYS)
        }
        OTHER => Ok(()),
        _ => check_section(section).and_then(|section| check_own(section, key)),
    }
}

/// # Errors
/// `InvalidConfig`, naming the nearest section that is there.
fn check_section(name: &str) -> Result<&'static Section> {
    if let Some(section) = SECTIONS.iter().find(|section| section.name == name) {
        return Ok(section);
    }
    let mut known = vec![BUS, WORKERS];
    known.extend(SECTIONS.iter().map(|section| section.name));
    check(name, &known).map_err(|error| {
        let text = error.message().replace("option", "section");
        Error::new(ErrorKind::InvalidConfig, text)
    })?;
    Err(Error::new(ErrorKind::InvalidConfig, "no key is given"))
}

fn check_own(section: &Section, key: &str) -> Result<()> {
    let Some(adapter) = &section.adapter else {
        return Ok(());
    };
    if adapter.prefix.is_some_and(|prefix| key.starts_with(prefix)) {
        return Ok(());
    }
    if Settings::KEYS.contains(&key) {
        let text = format!("option `{key}` belongs to the section [bus]");
        return Err(Error::new(ErrorKind::InvalidConfig, text));
    }
    let mut known = adapter.keys.to_vec();
    if adapter.logs_in {
        known.extend(["user", "password"]);
    }
    let files = SECRET_FILES
        .into_iter()
        .filter(|(_, secret)| known.contains(secret))
        .map(|(file, _)| file)
        .collect::<Vec<_>>();
    known.extend(files);
    // In a URL the common options stand beside those of the transport.
    known.extend(Settings::KEYS);
    check(key, &known)
}

/// The typing errors of options are told in one way, in files as in URLs.
fn check(key: &str, known: &[&str]) -> Result<()> {
    if known.contains(&key) {
        return Ok(());
    }
    let mut options = Options::default();
    options.set(key, "");
    options.finish(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_or_section_names_the_nearest() {
        for (section, key, hint) in [
            ("bus", "namespcae", "did you mean `namespace`?"),
            (
                "bsu",
                "namespace",
                "unknown section `bsu`; did you mean `bus`?",
            ),
            ("memory", "max_paylod", "did you mean `max_payload`?"),
            ("memory", "namespace", "belongs to the section [bus]"),
            ("memory", "password", "unknown option"),
            ("workers", "mail.concurency", "did you mean `concurrency`?"),
            ("workers", "mail", "unknown option"),
        ] {
            let error = check_key(section, key).unwrap_err().to_string();
            assert!(error.contains(hint), "{section}.{key}: {error}");
        }
    }

    #[test]
    fn secrets_are_known_as_such() {
        assert!(is_secret("redis", "password") && is_secret("nats", "token"));
        assert!(is_secret(OTHER, "anything") && is_secret("kafka", "kafka.sasl.jaas.config"));
        assert!(!is_secret("redis", "password_file") && !is_secret("bus", "retention.age"));
    }
}
