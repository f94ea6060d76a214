//! Certificates of an authority of the test's own.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority and the files of what it issued; they go when it is dropped.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// An authority that nobody trusts yet.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(
            directory.path().join("ca.pem"),
            params.self_signed(&key)?.pem(),
        )?;
        Ok(Self {
            directory,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// Issues a certificate for this machine.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn issue(&self, name: &str) -> Result<Files> {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        // With the name of its authority it would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let files = Files {
            certificate: self.path().join(format!("{name}.pem")),
            key: self.path().join(format!("{name}.key")),
        };
        let certificate = params.signed_by(&key, &self.issuer)?;
        std::fs::write(&files.certificate, certificate.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}
