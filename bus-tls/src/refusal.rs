use std::error::Error as Cause;
use std::sync::Arc;

use bus_api::{Error, ErrorKind};
use rustls::AlertDescription;

/// The error of rustls among the causes of a client's error, however the client wrapped it.
#[must_use]
pub fn found_in<'a>(error: &'a (dyn Cause + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = rustls_of(cause) {
            return Some(found);
        }
        // What a cause was shared by hides it from `source`.
        next = match cause.downcast_ref::<Arc<dyn Cause + Send + Sync>>() {
            Some(shared) => Some(shared.as_ref()),
            None => cause.source(),
        };
    }
    None
}

fn rustls_of<'a>(cause: &'a (dyn Cause + 'static)) -> Option<&'a rustls::Error> {
    cause
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .or_else(|| cause.downcast_ref::<rustls::Error>())
}

/// What a failed handshake means to the one who connects. `plain` says how to connect to this server without
/// TLS, for one that does not speak it.
#[must_use]
pub fn meaning(found: &rustls::Error, plain: &'static str) -> Error {
    let (kind, message) = match found {
        rustls::Error::InvalidCertificate(_) => (
            ErrorKind::Unauthenticated,
            "the server's certificate is not trusted; `tls_ca` names a file with the certificates of its \
             authority"
                .to_owned(),
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
            "the server does not accept the client's certificate; set `tls_cert` and `tls_key`"
                .to_owned(),
        ),
        rustls::Error::InconsistentKeys(_) => (
            ErrorKind::InvalidConfig,
            "`tls_key` is not the key of `tls_cert`".to_owned(),
        ),
        rustls::Error::InvalidMessage(_) => (
            ErrorKind::Unavailable,
            format!("the server's answer is not TLS; {plain}"),
        ),
        _ => (ErrorKind::Unavailable, "TLS failed".to_owned()),
    };
    Error::new(kind, message).with("tls", found)
}

#[cfg(test)]
mod tests {
    use std::io;

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
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, found);
            let found = found_in(&wrapped).unwrap();
            assert_eq!(meaning(found, "use another port").kind(), kind);
        }
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(found_in(&broken).is_none());
    }
}
