//! NATS: logging in with a credentials file, and JetStream in another domain (B3).

use std::path::PathBuf;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bus_api::ErrorKind;
use integration_tests::brokers::free_port;
use integration_tests::nats::server::{address, connect, refused, round_trip, start, whole_use};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A signed claim: `about` is the public key of whom it is about.
fn claim(issuer: &KeyPair, about: &KeyPair, what: &Value) -> Result<String> {
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": about.public_key(), "nats": what,
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&header), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// An account that may use JetStream without limits, or not at all.
fn account(operator: &KeyPair, account: &KeyPair, jetstream: bool) -> Result<String> {
    let room = if jetstream { -1 } else { 0 };
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": room, "disk_storage": room, "streams": -1,
        "consumer": -1,
    });
    let what = json!({"type": "account", "version": 2, "limits": limits});
    claim(operator, account, &what)
}

/// A file as `nsc` writes it.
fn credentials(folder: &TempDir, name: &str, jwt: &str, seed: &str) -> Result<PathBuf> {
    let path = folder.path().join(name);
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

#[tokio::test]
async fn a_credentials_file_logs_in() -> Result<()> {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (service, user, stranger) = (
        KeyPair::new_account(),
        KeyPair::new_user(),
        KeyPair::new_user(),
    );
    let root = claim(
        &operator,
        &operator,
        &json!({"type": "operator", "version": 2}),
    )?;
    let server = start([
        format!("operator: \"{root}\""),
        format!("system_account: {}", system.public_key()),
        "resolver: MEMORY".to_owned(),
        format!(
            "resolver_preload: {{ {}: \"{}\", {}: \"{}\" }}",
            system.public_key(),
            account(&operator, &system, false)?,
            service.public_key(),
            account(&operator, &service, true)?
        ),
    ])
    .await?;
    let may = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let jwt = claim(&service, &user, &may)?;
    let folder = TempDir::new()?;
    let good = credentials(&folder, "good.creds", &jwt, &user.seed()?)?;
    let url = format!("nats://{}?credentials", address(&server));
    let bus = connect(&format!("{url}={}", good.display())).await?;
    whole_use(&bus, "1").await?;
    bus.close().await?;
    // The right claim with the wrong key, and a claim of an account that the server does not know.
    let wrong = credentials(&folder, "wrong.creds", &jwt, &stranger.seed()?)?;
    let unknown = claim(&KeyPair::new_account(), &user, &may)?;
    let unknown = credentials(&folder, "unknown.creds", &unknown, &user.seed()?)?;
    for path in [wrong, unknown] {
        let url = format!("{url}={}", path.display());
        refused(&url, ErrorKind::Unauthenticated).await?;
    }
    let empty = folder.path().join("empty.creds");
    std::fs::write(&empty, "nothing")?;
    let url = format!("{url}={}", empty.display());
    refused(&url, ErrorKind::InvalidConfig).await?;
    Ok(())
}

/// Two servers: one keeps the streams of domain `hub`, clients are at the other one.
#[tokio::test]
async fn streams_in_another_domain_are_used() -> Result<()> {
    let stores = (TempDir::new()?, TempDir::new()?);
    let port = free_port()?;
    let jetstream = |store: &TempDir, domain: &str| {
        let store = store.path().display();
        format!("jetstream {{ store_dir: \"{store}\", domain: {domain} }}")
    };
    let hub = start([
        jetstream(&stores.0, "hub"),
        "server_name: hub".to_owned(),
        format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"),
    ])
    .await?;
    let leaf = start([
        jetstream(&stores.1, "leaf"),
        "server_name: leaf".to_owned(),
        format!("leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}"),
    ])
    .await?;
    let far = connect(&format!(
        "nats://{}?domain=hub&connect_timeout=20s",
        address(&leaf)
    ))
    .await?;
    whole_use(&far, "1").await?;
    // What was written from afar lies in the hub.
    let near = connect(&format!("nats://{}", address(&hub))).await?;
    let same = near.publish(&integration_tests::nats::server::message("r.a", "one")?);
    ensure!(same.dedup_id("1").await?.duplicate);
    round_trip(&far, "t.far").await?;
    far.close().await?;
    near.close().await?;
    let url = format!(
        "nats://{}?domain=nowhere&connect_timeout=1s",
        address(&leaf)
    );
    refused(&url, ErrorKind::Unavailable).await?;
    Ok(())
}
