//! What all handles of one connection share.

use std::sync::Arc;

use crate::connect::Settings;
use crate::contract::{Bus, Capabilities};

/// What all handles of one connection share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) capabilities: Capabilities,
    pub(crate) settings: Settings,
}

impl Core {
    pub(crate) fn new(bus: Arc<dyn Bus>, settings: Settings) -> Self {
        Self {
            capabilities: bus.capabilities(),
            bus,
            settings,
        }
    }
}
