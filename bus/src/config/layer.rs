//! One layer of configuration: checked keys with texts.

use bus_api::{BusUrl, Error, ErrorKind, Result};
use config::{ConfigError, Map, Source, Value, ValueKind};

use super::known::{self, BUS, OTHER, SECRET_FILES};

/// One layer: section, key and text of everything that it says.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// Where a layer comes from.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A file, a URL, the code.
    Named(String),
    /// The variables `BUS__SECTION__KEY`.
    Environment,
}

impl Place {
    /// What errors and values say.
    pub(super) fn of(&self, section: &str, key: &str) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Environment => {
                format!("BUS__{section}__{}", key.replace('.', "__")).to_uppercase()
            }
        }
    }
}

/// One value, as it was written.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) section: String,
    /// With dots, as in a URL.
    pub(super) key: String,
    pub(super) text: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.section, self.key)
    }
}

impl Layer {
    /// What `source` says, its keys checked.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn read(place: Place, tables: Map<String, Value>) -> Result<Self> {
        let mut layer = Self {
            place,
            entries: Vec::new(),
        };
        for (name, value) in tables {
            let (section, key) = name.split_once('.').unwrap_or((&name, ""));
            layer.flatten(section, key, value)?;
        }
        layer.check_keys()?;
        layer.check_secrets()?;
        Ok(layer)
    }

    /// The options, user and password of a URL.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(super) fn of_url(place: String, url: &BusUrl) -> Result<Self> {
        let own = known::section_of(url.scheme());
        let mut layer = Self {
            place: Place::Named(place),
            entries: Vec::new(),
        };
        for key in url.options().names() {
            let section = if bus_api::Settings::KEYS.contains(&key) {
                BUS
            } else {
                own
            };
            let text = url.options().get(key).unwrap_or_default();
            layer.push(section, key, text);
        }
        layer.check_keys()?;
        // Whether there can be any is the transport's to say.
        if let Some(user) = url.user() {
            layer.push(own, "user", user);
        }
        if let Some(password) = url.password() {
            layer.push(own, "password", password.expose());
        }
        layer.check_secrets()?;
        Ok(layer)
    }

    pub(super) fn push(&mut self, section: &str, key: &str, text: impl Into<String>) {
        self.entries.push(Entry {
            section: section.into(),
            key: known::canonical(section, key),
            text: text.into(),
        });
    }

    fn flatten(&mut self, section: &str, key: &str, value: Value) -> Result<()> {
        if let ValueKind::Table(table) = value.kind {
            for (name, value) in table {
                let key = if key.is_empty() {
                    name
                } else {
                    format!("{key}.{name}")
                };
                self.flatten(section, &key, value)?;
            }
            return Ok(());
        }
        if key.is_empty() {
            return self.refuse(
                section,
                "",
                "a key stands outside of a section; sections are [bus], [workers.NAME] and those of transports",
            );
        }
        match value.into_string() {
            Ok(text) => self.push(section, key, text),
            Err(_) => {
                return self.refuse(section, key, "the value is a text, a number or a boolean");
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<()> {
        for entry in &self.entries {
            known::check_key(&entry.section, &entry.key)
                .map_err(|error| self.place(error, &entry.section, &entry.key))?;
        }
        Ok(())
    }

    /// A secret is said once.
    fn check_secrets(&self) -> Result<()> {
        for (file, secret) in SECRET_FILES {
            let said = |key: &str, section: &str| {
                self.entries
                    .iter()
                    .any(|entry| entry.key == key && entry.section == section)
            };
            let twice = self
                .entries
                .iter()
                .find(|entry| entry.key == file && said(secret, &entry.section));
            if let Some(entry) = twice {
                let text = format!("`{file}` and `{secret}` are both given; one is enough");
                return self.refuse(&entry.section, file, &text);
            }
        }
        Ok(())
    }

    fn refuse(&self, section: &str, key: &str, text: &str) -> Result<()> {
        let error = Error::new(ErrorKind::InvalidConfig, text.to_owned());
        Err(self.place(error, section, key))
    }

    fn place(&self, error: Error, section: &str, key: &str) -> Error {
        locate(error, section, key, &self.place.of(section, key))
    }

    /// Forgets what a later layer says in another way: a password instead of a file with one.
    pub(super) fn yield_to(&mut self, later: &Self) {
        self.entries.retain(|mine| {
            !later.entries.iter().any(|other| {
                mine.section == other.section && stands_for(&mine.key) == stands_for(&other.key)
            })
        });
    }
}

/// The option that a key gives a value to.
fn stands_for(key: &str) -> &str {
    SECRET_FILES
        .iter()
        .find(|(file, _)| *file == key)
        .map_or(key, |(_, secret)| secret)
}

/// Says of an error which key it is about, and where that was written.
pub(super) fn locate(error: Error, section: &str, key: &str, from: &str) -> Error {
    let key = match (section, key) {
        (OTHER, key) => key.to_owned(),
        (section, "") => section.to_owned(),
        (section, key) => format!("{section}.{key}"),
    };
    error.with("key", key).with("from", from)
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut sections = Map::<String, Map<String, Value>>::new();
        for entry in &self.entries {
            let from = self.place.of(&entry.section, &entry.key);
            sections.entry(entry.section.clone()).or_default().insert(
                entry.key.clone(),
                Value::new(Some(&from), entry.text.as_str()),
            );
        }
        Ok(sections
            .into_iter()
            .map(|(section, table)| (section, Value::new(None, table)))
            .collect())
    }
}
