//! Whether all of a namespace have laid it out alike.

use std::sync::Arc;

use bus_api::Result;

use crate::core::Core;
use crate::error::invalid_config;

impl Core {
    /// Looks whether others have laid out the namespace with another `depth`: they publish to other logs, and
    /// look for messages there. The registry's name tells.
    ///
    /// # Errors
    /// `InvalidConfig` when they have, and what the brokers say.
    pub(crate) async fn check_depth(self: &Arc<Self>) -> Result<()> {
        if self.topics.known(&self.names.registry()).is_some() {
            return Ok(());
        }
        let (depths, others): (Vec<usize>, Vec<String>) =
            self.names.other_registries().into_iter().unzip();
        let found = self.look_up(&others).await?;
        if let Some((depth, _)) = depths.iter().zip(found).find(|(_, found)| found.is_some()) {
            return Err(invalid_config(format!(
                "namespace `{}` is laid out with `depth={depth}`, not `depth={}`",
                self.config.settings.namespace, self.config.depth
            )));
        }
        Ok(())
    }
}
