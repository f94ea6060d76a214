//! TLS for the adapters whose client speaks it by rustls: the files of the options are read and checked before
//! anything connects, there is a provider of cryptography, and a failed handshake has one meaning everywhere.

mod pem;
mod provider;
mod refusal;

pub use pem::Pem;
pub use provider::ensure_provider;
pub use refusal::{found_in, meaning};
