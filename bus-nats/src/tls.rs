//! TLS: what the URL asks for, as the client library takes it.

use async_nats::{ConnectError, ConnectOptions};
use bus_api::adapter::TlsFiles;
use bus_api::{Error, Options, Result};
use bus_tls::Pem;

use crate::error::{NAME, invalid_config};

/// What TLS is set up with. A server that asks for TLS gets it; without any file it has to have a certificate
/// of an authority that the operating system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `tls`, or the scheme `tls://`: never talk without TLS.
    pub required: bool,
    /// `tls_ca`, `tls_cert` and `tls_key`.
    pub files: TlsFiles,
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
        Ok(Self {
            required: required.unwrap_or(scheme),
            files: TlsFiles::take(options).map_err(|error| error.transport(NAME))?,
        })
    }

    /// Checks the files, and sees to it that there is a provider of cryptography.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option whose file cannot be used.
    pub(crate) fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions> {
        bus_tls::ensure_provider();
        // The client reads the files itself at every connection, and says less about what is wrong with them.
        Pem::load(&self.files).map_err(|error| error.transport(NAME))?;
        options = options.require_tls(self.required);
        if let Some(path) = &self.files.ca {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.files.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// What a failed handshake means; `None` when the error is of another kind.
pub(crate) fn refusal(native: &ConnectError) -> Option<Error> {
    let found = bus_tls::found_in(native)?;
    Some(bus_tls::meaning(found, "use nats:// without option `tls`").transport(NAME))
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
        let native = ConnectError::with_source(async_nats::ConnectErrorKind::Io, io);
        let refusal = refusal(&native).unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Unauthenticated);
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let native = ConnectError::with_source(async_nats::ConnectErrorKind::Io, broken);
        assert!(super::refusal(&native).is_none());
    }
}
