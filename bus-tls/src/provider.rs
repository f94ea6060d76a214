use rustls::crypto::{CryptoProvider, ring};

/// Sees to it that the process has a provider of cryptography.
///
/// Client libraries panic without a process-wide one when more than one was compiled in. The application's own
/// choice counts; one is installed only where there is none.
pub fn ensure_provider() {
    if CryptoProvider::get_default().is_none() {
        // Somebody else may be faster; then that choice counts.
        let _ = ring::default_provider().install_default();
    }
}
