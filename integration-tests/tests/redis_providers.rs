//! Redis over TLS with every provider of cryptography that a process may have: rustls panics where two are
//! compiled in and none was chosen. A provider belongs to the process, so that each choice gets its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::brokers::free_port;
use integration_tests::certificates::Authority;
use integration_tests::redis::server::{Server, connect, round_trip};
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use tokio::process::Command;
use tokio::time::timeout;

const CHOICE: &str = "BUS_TEST_PROVIDER";
const URL: &str = "BUS_TEST_TLS_URL";
const LIMIT: Duration = Duration::from_secs(60);

/// What the children do; without a choice there is nothing to do.
#[tokio::test]
async fn in_a_process_of_its_own() -> Result<()> {
    let Ok(choice) = std::env::var(CHOICE) else {
        return Ok(());
    };
    let chosen = match choice.as_str() {
        "ring" => Some(ring::default_provider()),
        "aws-lc" => Some(aws_lc_rs::default_provider()),
        _ => None,
    };
    if let Some(provider) = chosen {
        provider.install_default().ok().context("it is the first")?;
    }
    let bus = connect(&std::env::var(URL)?).await?;
    round_trip(&bus, "t.provider").await?;
    bus.close().await?;
    let counts = CryptoProvider::get_default().context("there is none")?;
    let expected = match choice.as_str() {
        "aws-lc" => aws_lc_rs::default_provider(),
        _ => ring::default_provider(),
    };
    // Providers have no names; the sources of randomness are told apart by theirs.
    let name = |provider: &CryptoProvider| format!("{:?}", provider.secure_random);
    ensure!(name(counts) == name(&expected), "{} counts", name(counts));
    Ok(())
}

#[tokio::test]
async fn every_choice_of_the_application_counts() -> Result<()> {
    let authority = Authority::new()?;
    let files = authority.issue("server")?;
    let ca = authority.certificate();
    let port = free_port()?;
    let _server = Server::start([
        format!("tls-port {port}"),
        format!("tls-cert-file {}", files.certificate.display()),
        format!("tls-key-file {}", files.key.display()),
        format!("tls-ca-cert-file {}", ca.display()),
        "tls-auth-clients no".to_owned(),
    ])
    .await?;
    for choice in ["none", "ring", "aws-lc"] {
        let child = Command::new(std::env::current_exe()?)
            .args(["in_a_process_of_its_own", "--exact", "--nocapture"])
            .env(CHOICE, choice)
            .env(
                URL,
                format!("rediss://localhost:{port}?tls_ca={}", ca.display()),
            )
            .kill_on_drop(true)
            .output();
        let output = timeout(LIMIT, child).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && said.contains("1 passed"),
            "{choice}: {said} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
