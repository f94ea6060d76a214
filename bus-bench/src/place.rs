//! Where a run took place.

use serde::Serialize;

/// The machine, and what ran on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    /// Release of the bus.
    bus: &'static str,
    /// The server, as it calls itself.
    server: Option<String>,
    /// Model of the processor, when the system tells.
    processor: Option<String>,
    /// Threads that can run at once.
    cores: usize,
    /// The kernel, when the system tells.
    kernel: Option<String>,
    /// Programs that wanted to run before the first round, averaged over a minute: what others did.
    load_before: Option<String>,
    /// Whether the build was optimised.
    optimised: bool,
}

impl Place {
    pub(crate) fn here(server: Option<String>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let processor = read("/proc/cpuinfo").and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load = read("/proc/loadavg");
        Self {
            bus: env!("CARGO_PKG_VERSION"),
            server,
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            load_before: load.and_then(|text| Some(text.split_whitespace().next()?.to_owned())),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        write!(f, "bus {}", self.bus)?;
        if let Some(server) = &self.server {
            write!(f, ", {server}")?;
        }
        write!(
            f,
            "; {}, {} cores, kernel {}, load {} before",
            or(&self.processor),
            self.cores,
            or(&self.kernel),
            or(&self.load_before),
        )?;
        if !self.optimised {
            f.write_str("; NOT OPTIMISED: build with --release")?;
        }
        Ok(())
    }
}
