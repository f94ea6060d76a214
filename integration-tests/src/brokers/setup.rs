//! How a broker is set up.

/// How a broker is set up, in a container as in a local process.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Every confirmed write is on disk: `appendfsync always`, `sync_interval: always`.
    pub sync_always: bool,
    /// Lines added to the broker's configuration, in its own syntax. In those of a local Kafka `{main}` and `{side}`
    /// are the ports of its clients and of its controller.
    pub extra: Vec<String>,
    /// Arguments added to the command line of a local process; of Kafka, to that of formatting its storage.
    pub arguments: Vec<String>,
}

impl Setup {
    /// Every confirmed write is on disk, so that the broker can be killed at will.
    #[must_use]
    pub fn synced() -> Self {
        Self {
            sync_always: true,
            ..Self::default()
        }
    }
}
