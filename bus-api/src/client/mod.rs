//! The handle that users hold.

mod backoff;
mod check;
mod core;
mod life;
mod publish;
mod tries;
mod window;

use std::sync::Arc;

pub(crate) use self::backoff::Backoff;
pub(crate) use self::core::Core;
pub(crate) use self::life::Participant;
pub use self::publish::{Confirmed, Direct, Publish};
use crate::connect::Settings;
use crate::contract::{Bus, Capabilities};
use crate::event::{Codecs, Event};

/// A connection to a bus: cheap to clone, the same on every transport.
#[derive(Clone, Debug)]
pub struct BusClient(Arc<Core>);

impl BusClient {
    /// A client over an adapter, with the default codecs; usually made by `connect`.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, settings: Settings) -> Self {
        Self(Arc::new(Core::new(bus, settings, Codecs::default(), None)))
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

    /// Publishes `event`: options first, then `.await` for the broker's confirmation.
    ///
    /// The event is encoded here; what is returned borrows nothing and can be awaited in another task.
    /// For a message without a Rust type publish a [`Raw`](crate::Raw).
    ///
    /// ```no_run
    /// # async fn example(bus: bus_api::BusClient, placed: bus_api::Raw) -> bus_api::Result<()> {
    /// let confirmed = bus.publish(&placed).header("tenant", "a").await?;
    /// println!("{} lies at {:?}", confirmed.id, confirmed.position);
    /// # Ok(()) }
    /// ```
    pub fn publish<E: Event>(&self, event: &E) -> Publish {
        Publish::new(&self.0, event, Direct)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}
