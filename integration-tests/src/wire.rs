//! What stands between one connection of the bus and its broker.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bus_conformance::Disturb;

use crate::brokers::Proxy;

/// A connection that can be cut and a client that can die.
pub(crate) struct Wire {
    proxy: Arc<Proxy>,
    kill: Box<dyn Fn() + Send + Sync>,
}

impl Wire {
    /// `kill` is how the client ends without saying good-bye.
    pub(crate) fn new(proxy: Arc<Proxy>, kill: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let kill = Box::new(kill);
        Arc::new(Self { proxy, kill })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, kill: _ } = self;
        f.debug_struct("Wire")
            .field("proxy", proxy)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Disturb for Wire {
    async fn kill(&self) {
        (self.kill)();
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    async fn heal(&self) {
        self.proxy.heal();
    }
}
