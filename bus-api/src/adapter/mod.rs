//! For adapters over a network: what each of them needs and none should write again.

mod backoff;
mod life;
mod tls_files;

pub use backoff::Backoff;
pub use life::Life;
pub use tls_files::TlsFiles;
