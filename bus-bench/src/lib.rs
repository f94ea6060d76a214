//! What the bus costs over the raw clients: all sides do the same work in turn, in one run, against the
//! same server.
//!
//! The bus does its work as its users get it: its public API with default settings, confirmed publishes and
//! acks, leases, attempts, metadata. The raw sides write the same bytes. `docs/performance.md` has results
//! and what they mean.

mod arguments;
mod flat;
mod load;
mod measured;
mod ours;
mod place;
mod raw;
mod report;
mod rounds;
mod side;
mod tally;
mod work;

pub use arguments::Arguments;
pub use report::Report;
pub use rounds::run;
