use std::path::PathBuf;

use crate::connect::Options;
use crate::error::{Error, ErrorKind, Result};

/// The files that TLS is set up with; the names of the options are the same for every transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `tls_ca`: a PEM file with the certificates of the authorities that are trusted, instead of those of
    /// the operating system.
    pub ca: Option<PathBuf>,
    /// `tls_cert` and `tls_key`: PEM files with the certificates of this client, its own first, and the
    /// private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// The options' names.
    pub const KEYS: [&'static str; 3] = ["tls_ca", "tls_cert", "tls_key"];

    /// Takes the options.
    ///
    /// # Errors
    /// `InvalidConfig` for a certificate without its key, and for a key without its certificate.
    pub fn take(options: &mut Options) -> Result<Self> {
        let alone = |given, other| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!("`{given}` needs `{other}`"),
            )
        };
        let ca = options.take_path("tls_ca");
        let client = match (options.take_path("tls_cert"), options.take_path("tls_key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(alone("tls_cert", "tls_key")),
            (None, Some(_)) => return Err(alone("tls_key", "tls_cert")),
        };
        Ok(Self { ca, client })
    }

    /// Whether no file is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_belong_together() {
        for (given, missing) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
            let url = format!("redis://h?{given}=/a.pem");
            let mut url = url.parse::<crate::connect::BusUrl>().unwrap();
            let error = TlsFiles::take(url.options_mut()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(
                error.to_string().contains(&format!("needs `{missing}`")),
                "{error}"
            );
        }
    }
}
