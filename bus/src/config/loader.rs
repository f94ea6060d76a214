//! Merging the layers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use bus_api::{BusUrl, Error, ErrorKind, Options, Result, Secret, Settings, WorkerOptions};

use super::known::{self, BUS, OTHER, SECRET_FILES, SECTIONS, WORKERS};
use super::layer::{Layer, Place, locate};
use super::{Config, ConfigValue, secrets, source};

/// The file that is read when it is there.
const DEFAULT_FILE: &str = "bus.toml";

/// Chooses what a [`Config`] is read from; made by [`Config::loader`].
#[must_use = "nothing is read until it is loaded"]
#[derive(Clone, Default)]
pub struct ConfigLoader {
    file: FileChoice,
    environment: Option<Vec<(OsString, OsString)>>,
    url: Option<String>,
    code: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
enum FileChoice {
    /// What `BUS_CONFIG` names, else `bus.toml` when it is there.
    #[default]
    Usual,
    None,
    Path(PathBuf),
}

/// A value after merging.
struct Merged {
    section: String,
    key: String,
    text: String,
    from: String,
}

impl ConfigLoader {
    /// Reads this file, which must be there, instead of `bus.toml` or what `BUS_CONFIG` names.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = FileChoice::Path(path.into());
        self
    }

    /// Reads no file.
    pub fn without_file(mut self) -> Self {
        self.file = FileChoice::None;
        self
    }

    /// Takes these for the environment instead of the process's own.
    pub fn environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter();
        self.environment = Some(variables.map(|(k, v)| (k.into(), v.into())).collect());
        self
    }

    /// The URL, such as the value of a flag `--url`; it and its query win over file and environment.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets a key, such as `redis.database`; it wins over everything else.
    pub fn set(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.code.push((key.into(), format!("{value}")));
        self
    }

    /// Reads and merges.
    ///
    /// # Errors
    /// `InvalidConfig`, naming key, place and what would be right; never a secret.
    pub fn load(self) -> Result<Config> {
        let variables = match &self.environment {
            Some(variables) => variables.clone(),
            None => std::env::vars_os().collect(),
        };
        let mut layers = self.layers(&variables)?;
        let url = choose_url(&mut layers)?;
        for index in 1..layers.len() {
            let (earlier, later) = layers.split_at_mut(index);
            for layer in earlier {
                layer.yield_to(&later[0]);
            }
        }
        finish(url, merge(layers)?)
    }

    /// All layers, the weakest first, each URL still where it was said.
    fn layers(&self, variables: &[(OsString, OsString)]) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        if let Some(path) = self.path(variables)? {
            layers.push(source::file(&path)?);
        }
        let mut environment = source::environment(variables)?;
        if let Some(file) = layers.first() {
            spell_as_in(file, &mut environment);
        }
        layers.push(environment);
        if let Some(url) = source::variable(variables, "BUS_URL")? {
            layers.push(only_url("BUS_URL", url));
        }
        if let Some(url) = &self.url {
            layers.push(only_url("the given URL", url.clone()));
        }
        let code = self
            .code
            .iter()
            .map(|(key, text)| (key.clone(), text.as_str().into()));
        layers.push(Layer::read(Place::Named("code".into()), code.collect())?);
        Ok(layers)
    }

    fn path(&self, variables: &[(OsString, OsString)]) -> Result<Option<PathBuf>> {
        Ok(match &self.file {
            FileChoice::Path(path) => Some(path.clone()),
            FileChoice::None => None,
            FileChoice::Usual => match source::variable(variables, "BUS_CONFIG")? {
                Some(path) => Some(path.into()),
                None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
            },
        })
    }
}

fn only_url(place: &str, url: String) -> Layer {
    let mut layer = Layer {
        place: Place::Named(place.into()),
        entries: Vec::new(),
    };
    layer.push(BUS, "url", url);
    layer
}

/// Takes the strongest URL out of the layers and puts its options where it was; other URLs are forgotten.
fn choose_url(layers: &mut Vec<Layer>) -> Result<BusUrl> {
    let mut chosen = None;
    for (index, layer) in layers.iter_mut().enumerate() {
        let (mut urls, rest): (Vec<_>, _) = std::mem::take(&mut layer.entries)
            .into_iter()
            .partition(|entry| entry.section == BUS && entry.key == "url");
        layer.entries = rest;
        if let Some(entry) = urls.pop() {
            chosen = Some((index, layer.place.of(BUS, "url"), entry.text));
        }
    }
    let Some((index, place, text)) = chosen else {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "no bus is configured; set BUS_URL, or `url` in the section [bus] of bus.toml, such as \
             redis://localhost:6379",
        ));
    };
    let url: BusUrl = text
        .parse()
        .map_err(|error: Error| locate(error, BUS, "url", &place))?;
    let options = Layer::of_url(place, &url)?;
    layers.insert(index + 1, options);
    Ok(url)
}

/// Names workers in the environment, where there are no capitals and hyphens, as the file does.
fn spell_as_in(file: &Layer, environment: &mut Layer) {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    for entry in &mut environment.entries {
        let Some((name, option)) = entry.key.split_once('.') else {
            continue;
        };
        let spelled = file
            .entries
            .iter()
            .filter(|known| known.section == WORKERS && entry.section == WORKERS)
            .filter_map(|known| known.key.split_once('.'))
            .find(|(known, _)| plain(known) == plain(name));
        if let Some((spelled, _)) = spelled {
            entry.key = format!("{spelled}.{option}");
        }
    }
}

fn merge(layers: Vec<Layer>) -> Result<Vec<Merged>> {
    let broken = |native: config::ConfigError| {
        Error::new(
            ErrorKind::Internal,
            "the layers of configuration do not merge",
        )
        .caused_by(native)
    };
    let builder = layers
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| {
            builder.add_source(layer)
        });
    let mut merged = Vec::new();
    for (section, table) in builder
        .build()
        .map_err(broken)?
        .cache
        .into_table()
        .map_err(broken)?
    {
        for (key, value) in table.into_table().map_err(broken)? {
            merged.push(Merged {
                from: value.origin().unwrap_or_default().to_owned(),
                text: value.into_string().map_err(broken)?,
                section: section.clone(),
                key,
            });
        }
    }
    merged.sort_by(|a, b| (&a.section, &a.key).cmp(&(&b.section, &b.key)));
    Ok(merged)
}

fn finish(mut url: BusUrl, merged: Vec<Merged>) -> Result<Config> {
    let own = known::section_of(url.scheme());
    check_common(&merged)?;
    let workers = workers(&merged)?;
    for section in SECTIONS.iter().filter(|section| section.name != own) {
        check_section(section, &merged)?;
    }
    *url.options_mut() = Options::default();
    apply(&mut url, own, &merged, secrets::read)?;
    if let Some(section) = SECTIONS.iter().find(|section| section.name == own) {
        check_url(section, url.clone(), &merged)?;
    }
    let values = merged.into_iter().map(|value| ConfigValue {
        applies: [own, BUS, WORKERS].contains(&&*value.section),
        value: if known::is_secret(&value.section, &value.key) {
            "***".into()
        } else {
            value.text
        },
        key: match &*value.section {
            OTHER => value.key,
            section => format!("{section}.{}", value.key),
        },
        from: value.from,
    });
    Ok(Config {
        values: values.collect(),
        url,
        workers,
    })
}

/// Sets what `[bus]` and the section `own` say.
fn apply(
    url: &mut BusUrl,
    own: &str,
    merged: &[Merged],
    read: fn(&Path) -> Result<String>,
) -> Result<()> {
    for value in merged {
        if value.section != own && value.section != BUS {
            continue;
        }
        let file = SECRET_FILES.iter().find(|(file, _)| *file == value.key);
        let (key, text) = match file {
            Some((_, secret)) => {
                let text = read(Path::new(&value.text)).map_err(|error| value.locate(error))?;
                (*secret, text)
            }
            None => (&*value.key, value.text.clone()),
        };
        match key {
            "user" => url.set_user(Some(text)),
            "password" => url.set_password(Some(Secret::new(text))),
            key => url.options_mut().set(key, text),
        }
    }
    Ok(())
}

/// The values of `[bus]`, one by one, so that an error names the right one.
fn check_common(merged: &[Merged]) -> Result<()> {
    for value in merged.iter().filter(|value| value.section == BUS) {
        let mut options = Options::default();
        options.set(&value.key, &value.text);
        Settings::take(&mut options).map_err(|error| value.locate(error))?;
    }
    Ok(())
}

fn workers(merged: &[Merged]) -> Result<BTreeMap<String, WorkerOptions>> {
    let mut texts = BTreeMap::<&str, Vec<(&str, &Merged)>>::new();
    for value in merged.iter().filter(|value| value.section == WORKERS) {
        if let Some((name, option)) = value.key.split_once('.') {
            texts.entry(name).or_default().push((option, value));
        }
    }
    let mut workers = BTreeMap::new();
    for (name, values) in texts {
        let mut all = Options::default();
        for (option, value) in values {
            let mut one = Options::default();
            one.set(option, &value.text);
            WorkerOptions::take(&mut one).map_err(|error| value.locate(error))?;
            all.set(option, &value.text);
        }
        workers.insert(name.to_owned(), WorkerOptions::take(&mut all)?);
    }
    Ok(workers)
}

/// A section of another transport than the URL's: it has to fit some URL of its own.
fn check_section(section: &known::Section, merged: &[Merged]) -> Result<()> {
    if section.adapter.is_none() || !merged.iter().any(|value| value.section == section.name) {
        return Ok(());
    }
    let mut url: BusUrl = section.sample.parse()?;
    // Its secrets need not be on this machine.
    apply(&mut url, section.name, merged, |_| Ok("unread".into()))?;
    check_url(section, url, merged)
}

fn check_url(section: &known::Section, mut url: BusUrl, merged: &[Merged]) -> Result<()> {
    let Some(adapter) = &section.adapter else {
        return Ok(());
    };
    let settings = Settings::take(url.options_mut())?;
    (adapter.check)(url, settings).map_err(|error| {
        let guilty = merged
            .iter()
            .filter(|value| value.section == section.name)
            .find(|value| error.message().contains(&format!("`{}`", value.key)));
        match guilty {
            Some(value) => value.locate(error),
            None => error,
        }
    })
}

impl Merged {
    fn locate(&self, error: Error) -> Error {
        locate(error, &self.section, &self.key, &self.from)
    }
}

impl std::fmt::Debug for ConfigLoader {
    /// Without URL and values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigLoader")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
