//! TLS: files, the provider of its cryptography, and what a failed handshake means.

use std::path::{Path, PathBuf};

use async_nats::{ConnectError, ConnectOptions};
use bus_api::{Error, ErrorKind, Options, Result};
use rustls::AlertDescription;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{error, invalid_config};

/// What TLS is set up with. A server that asks for TLS gets it; without anything it has to have a certificate of an
/// authority that the operating system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `tls`, or the scheme `tls://`: never talk without TLS.
    pub required: bool,
    /// `tls_ca`: a PEM file with the certificates of the authorities that are trusted, instead of those of
    /// the operating system.
    pub ca: Option<PathBuf>,
    /// `tls_cert` and `tls_key`: PEM files with the certificates of this client, its own first, and the
    /// private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Takes the options; `scheme` says whether the URL's scheme asks for TLS.
    ///
    /// # Errors
    /// `InvalidConfig` for a certificate without its key, a key without its certificate, and contradictions.
    pub(crate) fn take(options: &mut Options, scheme: bool) -> Result<Self> {
        let required = options.take_bool("tls")?;
        if scheme && required == Some(false) {
            return Err(invalid_config("tls:// and option `tls` disagree"));
        }
        let ca = options.take_path("tls_ca");
        let client = match (options.take_path("tls_cert"), options.take_path("tls_key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(invalid_config("`tls_cert` needs `tls_key`")),
            (None, Some(_)) => return Err(invalid_config("`tls_key` needs `tls_cert`")),
        };
        Ok(Self {
            required: required.unwrap_or(scheme),
            ca,
            client,
        })
    }

    /// Checks the files, and sees to it that there is a provider of cryptography.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option whose file cannot be used.
    pub(crate) fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions> {
        choose_provider();
        options = options.require_tls(self.required);
        if let Some(path) = &self.ca {
            certificates("tls_ca", path)?;
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.client {
            certificates("tls_cert", certificate)?;
            private_key("tls_key", key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
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

fn certificates(option: &'static str, path: &Path) -> Result<()> {
    let pem = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if found.is_ok_and(|found| !found.is_empty()) {
        return Ok(());
    }
    Err(
        invalid_config(format!("the file of `{option}` holds no PEM certificates"))
            .with("file", path.display()),
    )
}

fn private_key(option: &'static str, path: &Path) -> Result<()> {
    if PrivateKeyDer::from_pem_slice(&read(option, path)?).is_ok() {
        return Ok(());
    }
    Err(
        invalid_config(format!("the file of `{option}` holds no PEM private key"))
            .with("file", path.display()),
    )
}

/// What a failed handshake means; `None` when the error is of another kind.
pub(crate) fn refusal(native: &ConnectError) -> Option<Error> {
    let mut next = std::error::Error::source(native);
    while let Some(source) = next {
        let inner = source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(found) = inner.or_else(|| source.downcast_ref::<rustls::Error>()) {
            return Some(meaning(found));
        }
        next = source.source();
    }
    None
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
        rustls::Error::InconsistentKeys(_) => (
            ErrorKind::InvalidConfig,
            "`tls_key` is not the key of `tls_cert`",
        ),
        rustls::Error::InvalidMessage(_) => (
            ErrorKind::Unavailable,
            "the server's answer is not TLS; use nats:// without option `tls`",
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
            let native = ConnectError::with_source(async_nats::ConnectErrorKind::Io, io);
            assert_eq!(refusal(&native).map(|refusal| refusal.kind()), Some(kind));
        }
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let native = ConnectError::with_source(async_nats::ConnectErrorKind::Io, broken);
        assert!(refusal(&native).is_none());
    }

    #[test]
    fn files_are_named_by_their_option() {
        let tls = Tls {
            ca: Some("/does/not/exist".into()),
            ..Tls::default()
        };
        let error = tls.apply(ConnectOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`tls_ca`"), "{error}");
    }
}
