//! TLS: by OpenSSL, which the client library is built with.

use std::path::Path;

use bus_api::adapter::TlsFiles;
use bus_api::{Options, Result};
use rdkafka::ClientConfig;

use crate::error::{NAME, invalid_config};

/// Takes the options; `None`: no TLS is wanted.
///
/// # Errors
/// `InvalidConfig` for a certificate without its key, a key without its certificate, and contradictions.
pub(crate) fn take(options: &mut Options) -> Result<Option<TlsFiles>> {
    let wanted = options.take_bool("tls")?;
    let files = TlsFiles::take(options).map_err(|error| error.transport(NAME))?;
    let named = !files.is_empty();
    if named && wanted == Some(false) {
        return Err(invalid_config(
            "option `tls` is off and others of TLS are given",
        ));
    }
    Ok((named || wanted == Some(true)).then_some(files))
}

/// Looks at the files: the client library would name its property, and not the option.
///
/// # Errors
/// `InvalidConfig`, naming the option whose file cannot be used.
pub(crate) fn check(files: &TlsFiles) -> Result<()> {
    if let Some(ca) = &files.ca {
        holds("tls_ca", ca, "CERTIFICATE-----")?;
    }
    if let Some((certificate, key)) = &files.client {
        holds("tls_cert", certificate, "CERTIFICATE-----")?;
        holds("tls_key", key, "PRIVATE KEY-----")?;
    }
    Ok(())
}

fn holds(option: &'static str, file: &Path, block: &str) -> Result<()> {
    let text = std::fs::read(file).map_err(|failed| {
        invalid_config(format!(
            "the file of `{option}` cannot be read: {}",
            failed.kind()
        ))
        .with("file", file.display())
    })?;
    if !String::from_utf8_lossy(&text).contains(block) {
        return Err(
            invalid_config(format!("the file of `{option}` holds none in PEM form"))
                .with("file", file.display()),
        );
    }
    Ok(())
}

/// Tells the client library.
pub(crate) fn apply(files: &TlsFiles, client: &mut ClientConfig) {
    let mut set = |property, file: &Path| {
        client.set(property, file.display().to_string());
    };
    // An OpenSSL that was compiled along does not know where this system keeps its authorities.
    let ca = files.ca.as_deref().unwrap_or(Path::new("probe"));
    set("ssl.ca.location", ca);
    if let Some((certificate, key)) = &files.client {
        set("ssl.certificate.location", certificate);
        set("ssl.key.location", key);
    }
}
