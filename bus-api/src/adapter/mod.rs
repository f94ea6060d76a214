//! For adapters over a network: what each of them needs and none should write again.

mod backoff;
mod broadcast_settler;
mod certainty;
mod leaving;
mod life;
mod tls_files;
mod until;

pub use crate::contract::leb128;
pub use backoff::Backoff;
pub use broadcast_settler::BroadcastSettler;
pub use certainty::{Certainty, Hold, certain};
pub use leaving::{Leave, Leaving};
pub use life::Life;
pub use tls_files::TlsFiles;
pub use until::until;
