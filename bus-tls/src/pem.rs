use std::path::Path;

use bus_api::adapter::TlsFiles;
use bus_api::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The files' contents, in PEM as they were read.
#[derive(Clone, Default)]
pub struct Pem {
    /// The certificates of the authorities that are trusted; `None` for those of the operating system.
    pub ca: Option<Vec<u8>>,
    /// The certificates of this client, its own first, and the private key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pem {
    /// Reads the files and checks that each holds what its option says. Blocks on the disk.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option whose file cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self> {
        let ca = files.ca.as_deref().map(|path| certificates("tls_ca", path));
        let client = files.client.as_ref().map(|(certificate, key)| {
            Ok::<_, Error>((
                certificates("tls_cert", certificate)?,
                private_key("tls_key", key)?,
            ))
        });
        Ok(Self {
            ca: ca.transpose()?,
            client: client.transpose()?,
        })
    }
}

/// The private key stays out of it.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem")
            .field("ca", &self.ca.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    let pem = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if found.is_ok_and(|found| !found.is_empty()) {
        return Ok(pem);
    }
    Err(unusable(option, path, "holds no PEM certificates"))
}

fn private_key(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    let pem = read(option, path)?;
    if PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        return Ok(pem);
    }
    Err(unusable(option, path, "holds no PEM private key"))
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|failed| unusable(option, path, &format!("cannot be read: {}", failed.kind())))
}

fn unusable(option: &'static str, path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("the file of `{option}` {why}"),
    )
    .with("file", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_option() {
        let files = TlsFiles {
            ca: Some("/does/not/exist".into()),
            client: None,
        };
        let error = Pem::load(&files).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("`tls_ca`"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let files = TlsFiles {
            ca: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()),
            client: None,
        };
        let error = Pem::load(&files).unwrap_err();
        assert!(error.to_string().contains("no PEM certificates"), "{error}");
    }
}
