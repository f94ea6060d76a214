//! TLS: files, and the provider of its cryptography.

use std::path::{Path, PathBuf};

use bus_api::{Error, ErrorKind, Options, Result};
use redis::{ClientTlsConfig, RedisError, TlsCertificates};
use rustls::AlertDescription;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{error, invalid_config};

/// What TLS is set up with. Without anything, the server has to have a certificate of an authority that the
/// operating system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `tls_ca`: a PEM file with the certificates of the authorities that are trusted, instead of those of
    /// the operating system.
    pub ca: Option<PathBuf>,
    /// `tls_cert` and `tls_key`: PEM files with the certificates of this client, its own first, and the
    /// private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Takes the options.
    ///
    /// # Errors
    /// `InvalidConfig` for a certificate without its key, a key without its certificate, and any of them
    /// without TLS.
    pub(crate) fn take(options: &mut Options, tls: bool) -> Result<Option<Self>> {
        let ca = options.take_path("tls_ca");
        let client = match (options.take_path("tls_cert"), options.take_path("tls_key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(invalid_config("`tls_cert` needs `tls_key`")),
            (None, Some(_)) => return Err(invalid_config("`tls_key` needs `tls_cert`")),
        };
        if tls {
            return Ok(Some(Self { ca, client }));
        }
        if ca.is_some() || client.is_some() {
            return Err(invalid_config(
                "`tls_ca`, `tls_cert` and `tls_key` need a URL with TLS, rediss://host:port",
            ));
        }
        Ok(None)
    }

    /// Reads the files, and sees to it that there is a provider of cryptography.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option whose file cannot be used.
    pub(crate) fn load(&self) -> Result<TlsCertificates> {
        choose_provider();
        let root_cert = match &self.ca {
            Some(path) => Some(certificates("tls_ca", path)?),
            None => None,
        };
        let client_tls = match &self.client {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: certificates("tls_cert", certificate)?,
                client_key: private_key("tls_key", key)?,
            }),
            None => None,
        };
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }
}

/// The client library panics without a process-wide provider when more than one was compiled in. The
/// application's own choice counts; one is installed only where there is none.
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster; then that choice counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|failed| {
        invalid_config(format!(
            "the file of `{option}` cannot be read: {}",
            failed.kind()
        ))
        .with("file", path.display())
    })
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    let pem = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if found.is_ok_and(|found| !found.is_empty()) {
        return Ok(pem);
    }
    Err(
        invalid_config(format!("the file of `{option}` holds no PEM certificates"))
            .with("file", path.display()),
    )
}

fn private_key(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    let pem = read(option, path)?;
    if PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        return Ok(pem);
    }
    Err(
        invalid_config(format!("the file of `{option}` holds no PEM private key"))
            .with("file", path.display()),
    )
}

/// What a failed handshake means; `None` when the error is of another kind.
pub(crate) fn refusal(native: &RedisError) -> Option<Error> {
    let source = std::error::Error::source(native)?;
    let shared = source.downcast_ref::<std::sync::Arc<dyn std::error::Error + Send + Sync>>()?;
    let found = match shared.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref()?.downcast_ref::<rustls::Error>()?,
        None => shared.downcast_ref::<rustls::Error>()?,
    };
    Some(meaning(found))
}

fn meaning(found: &rustls::Error) -> Error {
    let (kind, message) = match found {
        rustls::Error::InvalidCertificate(_) => (
            ErrorKind::Unauthenticated,
            "the server's certificate is not trusted; `tls_ca` names a file with the certificates of its \
             authority",
        ),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => (
            ErrorKind::Unauthenticated,
            "the server does not accept the client's certificate; set `tls_cert` and `tls_key`",
        ),
        rustls::Error::InvalidMessage(_) => (
            ErrorKind::Unavailable,
            "the server's answer is not TLS; use its port for TLS, or redis:// without TLS",
        ),
        _ => (ErrorKind::Unavailable, "TLS failed"),
    };
    error(kind, message).with("tls", found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_cannot_succeed_is_told_from_one_that_may() {
        for (found, kind) in [
            (
                rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
                ErrorKind::Unauthenticated,
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                ErrorKind::Unauthenticated,
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::InternalError),
                ErrorKind::Unavailable,
            ),
        ] {
            let io = std::io::Error::new(std::io::ErrorKind::InvalidData, found);
            let refusal = refusal(&RedisError::from(io)).unwrap();
            assert_eq!(refusal.kind(), kind);
        }
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(refusal(&broken).is_none());
    }

    #[test]
    fn files_are_named_by_their_option() {
        let tls = Tls {
            ca: Some("/does/not/exist".into()),
            client: None,
        };
        let error = tls.load().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`tls_ca`"), "{error}");
    }
}
