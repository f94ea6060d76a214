//! How a connection is described: a URL and its options.

mod options;
mod settings;
mod url;

pub use options::Options;
pub use settings::{Provision, Settings};
pub use url::{BusUrl, HostPort, Secret};
