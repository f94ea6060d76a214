//! TLS: what the URL asks for, as the client library takes it.

use bus_api::adapter::TlsFiles;
use bus_api::{Error, Options, Result};
use bus_tls::Pem;
use redis::{ClientTlsConfig, RedisError, TlsCertificates};

use crate::error::{NAME, invalid_config};

/// Takes the options; `None` without TLS.
///
/// # Errors
/// `InvalidConfig` for a certificate without its key, a key without its certificate, and any file without TLS.
pub(crate) fn take(options: &mut Options, tls: bool) -> Result<Option<TlsFiles>> {
    let files = TlsFiles::take(options).map_err(|error| error.transport(NAME))?;
    match (tls, files.is_empty()) {
        (true, _) => Ok(Some(files)),
        (false, true) => Ok(None),
        (false, false) => Err(invalid_config(
            "`tls_ca`, `tls_cert` and `tls_key` need a URL with TLS, rediss://host:port",
        )),
    }
}

/// Reads the files, and sees to it that there is a provider of cryptography.
///
/// # Errors
/// `InvalidConfig`, naming the option whose file cannot be used.
pub(crate) fn load(files: &TlsFiles) -> Result<TlsCertificates> {
    bus_tls::ensure_provider();
    let pem = Pem::load(files).map_err(|error| error.transport(NAME))?;
    Ok(TlsCertificates {
        client_tls: pem.client.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: pem.ca,
    })
}

/// What a failed handshake means; `None` when the error is of another kind.
pub(crate) fn refusal(native: &RedisError) -> Option<Error> {
    let found = bus_tls::found_in(native)?;
    Some(bus_tls::meaning(found, "use its port for TLS, or redis:// without TLS").transport(NAME))
}

#[cfg(test)]
mod tests {
    use bus_api::ErrorKind;
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn a_failed_handshake_is_found_inside_the_client_s_error() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let io = std::io::Error::new(std::io::ErrorKind::InvalidData, alert);
        let refusal = refusal(&RedisError::from(io)).unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Unauthenticated);
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(super::refusal(&broken).is_none());
    }
}
