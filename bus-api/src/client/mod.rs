//! The handle that users hold.

mod core;

use std::sync::Arc;

pub(crate) use self::core::Core;
use crate::connect::Settings;
use crate::contract::{Bus, Capabilities};

/// A connection to a bus: cheap to clone, the same on every transport.
#[derive(Clone, Debug)]
pub struct BusClient(Arc<Core>);

impl BusClient {
    /// A client over an adapter; usually made by `connect`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, settings: Settings) -> Self {
        Self(Arc::new(Core::new(bus, settings)))
    }

    /// The adapter below, for its native parts and for tests of adapters.
    #[must_use]
    pub fn adapter(&self) -> &Arc<dyn Bus> {
        &self.0.bus
    }

    /// What may differ from other transports.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}
