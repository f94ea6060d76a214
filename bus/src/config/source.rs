//! What the merging library reads for us: the file and the environment.

use std::ffi::OsString;
use std::path::Path;

use bus_api::{Error, ErrorKind, Result};
use config::{ConfigError, Environment, File, FileFormat, Map, Source};

use super::layer::{Layer, Place};

/// A file that must be there.
///
/// # Errors
/// `InvalidConfig` when it is not there or no TOML; the text of the file is not shown.
pub(super) fn file(path: &Path) -> Result<Layer> {
    let shown = path.display().to_string();
    let wrong = |text: String| Error::new(ErrorKind::InvalidConfig, text).with("file", &shown);
    // The library would look for other endings, too.
    let text = std::fs::read_to_string(path)
        .map_err(|native| wrong(format!("the configuration file cannot be read: {native}")))?;
    let tables = File::from(path)
        .format(FileFormat::Toml)
        .collect()
        .map_err(|native| wrong(syntax(&text, &native)))?;
    Layer::read(Place::Named(shown.clone()), tables)
}

/// Where the text is no TOML. The library's own text quotes the line, which may hold a secret.
fn syntax(text: &str, native: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = native else {
        return "the configuration file is no TOML".into();
    };
    let Some(error) = cause.downcast_ref::<toml::de::Error>() else {
        return "the configuration file is no TOML".into();
    };
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    format!(
        "the configuration file is no TOML, line {line}: {}",
        error.message()
    )
}

/// The variables `BUS__SECTION__KEY`.
///
/// # Errors
/// `InvalidConfig`, naming the variable.
pub(super) fn environment(variables: &[(OsString, OsString)]) -> Result<Layer> {
    let mut texts = Map::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        texts.insert(name.to_owned(), text(name, value)?);
    }
    let source = Environment::with_prefix("BUS")
        .prefix_separator("__")
        .separator("__")
        .source(Some(texts));
    let tables = source.collect().map_err(|native| {
        Error::new(ErrorKind::InvalidConfig, "the environment cannot be read").caused_by(native)
    })?;
    Layer::read(Place::Environment, tables)
}

const PREFIX: &str = "BUS__";

/// The value of a variable; empty is as good as unset.
///
/// # Errors
/// `InvalidConfig`, naming the variable.
pub(super) fn variable(variables: &[(OsString, OsString)], name: &str) -> Result<Option<String>> {
    let found = variables.iter().find(|(known, _)| known == name);
    let value = found.map(|(_, value)| text(name, value)).transpose()?;
    Ok(value.filter(|value| !value.is_empty()))
}

fn text(name: &str, value: &OsString) -> Result<String> {
    value.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            "an environment variable is no UTF-8",
        )
        .with("variable", name)
    })
}
