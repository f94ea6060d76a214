//! From the command line to a connection.

use anyhow::Result;
use bus::{BusClient, Codecs, Config, Connector};

use crate::arguments::Global;
use crate::output::Output;
use crate::verbatim::Verbatim;

/// What the command line, the environment and the file say together.
pub(crate) fn config(global: &Global) -> Result<Config> {
    let mut loader = Config::loader();
    if let Some(file) = &global.config {
        loader = loader.file(file);
    }
    if let Some(url) = &global.url {
        loader = loader.url(url);
    }
    if let Some(namespace) = &global.namespace {
        loader = loader.set("bus.namespace", namespace);
    }
    for (key, value) in &global.set {
        loader = loader.set(key, value);
    }
    Ok(loader.load()?)
}

/// Connects; says so when nobody else can be there.
pub(crate) async fn connect(global: &Global, output: &Output) -> Result<BusClient> {
    let config = config(global)?;
    if config.url().scheme() == "memory" {
        output.note("memory:// lives in this process only: nobody else is there");
    }
    Ok(open(&config).await?)
}

/// Connects.
pub(crate) async fn open(config: &Config) -> bus::Result<BusClient> {
    let codecs = Codecs::default().with(Verbatim);
    config.connect_with(Connector::new().codecs(codecs)).await
}
