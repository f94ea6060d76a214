//! Redis: TLS, credentials, addresses, rights, and what `health` says of the server's settings (B3, B4, L5).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Error, ErrorKind, Raw, Start};
use integration_tests::brokers::free_port;
use integration_tests::certificates::{Authority, Files};
use integration_tests::redis::rights::{self, PASSWORD, Role};
use integration_tests::redis::server::{Server, connect, message, round_trip};
use integration_tests::trip::{self, whole_use};

/// Longer than any refusal may take, shorter than `connect_timeout`.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Connecting fails at once, and nothing in the error is a secret.
async fn refused(url: &str, kind: ErrorKind) -> Result<Error> {
    trip::refused(connect(url), kind, AT_ONCE).await
}

/// A server with TLS on a port of its own.
async fn with_tls(authority: &Authority, clients: &str) -> Result<(Server, u16)> {
    let port = free_port()?;
    let Files { certificate, key } = authority.issue("server")?;
    let server = Server::start([
        format!("tls-port {port}"),
        format!("tls-cert-file {}", certificate.display()),
        format!("tls-key-file {}", key.display()),
        format!("tls-ca-cert-file {}", authority.certificate().display()),
        format!("tls-auth-clients {clients}"),
    ])
    .await?;
    Ok((server, port))
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() -> Result<()> {
    let authority = Authority::new()?;
    let (server, port) = with_tls(&authority, "no").await?;
    let ca = authority.certificate();
    let bus = connect(&format!(
        "rediss://localhost:{port}?tls_ca={}",
        ca.display()
    ))
    .await?;
    round_trip(&bus, "t.tls").await?;
    bus.close().await?;
    let error = refused(
        &format!("rediss://localhost:{port}"),
        ErrorKind::Unauthenticated,
    )
    .await?;
    ensure!(error.to_string().contains("`tls_ca`"), "{error}");
    // Not the name in the certificate.
    let other = Authority::new()?;
    let url = format!(
        "rediss://localhost:{port}?tls_ca={}",
        other.certificate().display()
    );
    refused(&url, ErrorKind::Unauthenticated).await?;
    // A port without TLS.
    let plain = format!(
        "rediss://{}?tls_ca={}&connect_timeout=500ms",
        server.address(),
        ca.display()
    );
    refused(&plain, ErrorKind::Unavailable).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_wanted_and_given() -> Result<()> {
    let authority = Authority::new()?;
    let (_server, port) = with_tls(&authority, "yes").await?;
    let url = format!(
        "rediss://127.0.0.1:{port}?tls_ca={}",
        authority.certificate().display()
    );
    let Files { certificate, key } = authority.issue("client")?;
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        format!(
            "{url}&tls_cert={}&tls_key={}",
            certificate.display(),
            key.display()
        )
    };
    let bus = connect(&with(&certificate, &key)).await?;
    round_trip(&bus, "t.mutual").await?;
    bus.close().await?;
    refused(&url, ErrorKind::Unauthenticated).await?;
    let others = Authority::new()?;
    let foreign = others.issue("foreign")?;
    refused(
        &with(&foreign.certificate, &foreign.key),
        ErrorKind::Unauthenticated,
    )
    .await?;
    // A key of another certificate, and a file that is none.
    let error = refused(&with(&certificate, &foreign.key), ErrorKind::InvalidConfig).await?;
    ensure!(error.to_string().contains("`tls_key`"), "{error}");
    let error = refused(&with(&key, &key), ErrorKind::InvalidConfig).await?;
    ensure!(error.to_string().contains("`tls_cert`"), "{error}");
    Ok(())
}

#[tokio::test]
async fn users_and_passwords() -> Result<()> {
    let server = Server::start([
        "user default on >secret-of-all ~* &* +@all".to_owned(),
        "user one on >secret-of-one ~* &* +@all".to_owned(),
    ])
    .await?;
    let at = server.address();
    for login in [
        ":secret-of-all",
        "default:secret-of-all",
        "one:secret-of-one",
    ] {
        let bus = connect(&format!("redis://{login}@{at}")).await?;
        round_trip(&bus, "t.login").await?;
        bus.close().await?;
    }
    for login in [
        "",
        ":secret-wrong@",
        "one:secret-wrong@",
        "nobody:secret-of-one@",
    ] {
        refused(&format!("redis://{login}{at}"), ErrorKind::Unauthenticated).await?;
    }
    Ok(())
}

#[tokio::test]
async fn databases_by_number_and_a_socket() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("redis.sock");
    let server = Server::start([format!("unixsocket {}", socket.display())]).await?;
    let urls = [
        format!("redis://{}/3", server.address()),
        format!("redis://{}?database=4", server.address()),
        format!("unix://{}?database=5", socket.display()),
    ];
    for (url, database) in urls.iter().zip(["3", "4", "5"]) {
        let bus = connect(url).await?;
        round_trip(&bus, "t.database").await?;
        bus.close().await?;
        let keyspace = server.run(&["INFO", "keyspace"]).await?;
        let keyspace: String = redis::from_redis_value(keyspace)?;
        ensure!(keyspace.contains(&format!("db{database}:")), "{keyspace}");
        ensure!(!keyspace.contains("db0:"), "{keyspace}");
    }
    refused(
        &format!("redis://{}/77", server.address()),
        ErrorKind::InvalidConfig,
    )
    .await?;
    Ok(())
}

/// A client with the documented rights in namespace `bus`.
async fn with_rights(server: &Server, role: Role, options: &str) -> Result<BusClient> {
    let mut admin = server.raw().await?;
    let user = format!("{role:?}");
    rights::grant(&mut admin, &user, role, "bus").await?;
    Ok(connect(&format!(
        "redis://{user}:{PASSWORD}@{}?{options}",
        server.address()
    ))
    .await?)
}

#[tokio::test]
async fn the_documented_rights_are_enough() -> Result<()> {
    let server = Server::start([]).await?;
    let service = with_rights(&server, Role::Service, "").await?;
    whole_use(&service, "1").await?;
    let health = service.health().await;
    ensure!(health.problems.is_empty(), "{health:?}");
    let guest = with_rights(&server, Role::Guest, "provision=verify").await?;
    whole_use(&guest, "2").await?;
    guest.close().await?;
    let guest = with_rights(&server, Role::Guest, "provision=none").await?;
    whole_use(&guest, "3").await?;
    // What is missing is not created.
    let missing = guest
        .subscribe::<Raw>("new")
        .pattern("r.a")
        .start_at(Start::Earliest)
        .await;
    ensure!(missing.is_err_and(|error| error.kind() == ErrorKind::NotFound));
    let health = guest.health().await;
    ensure!(health.connected && health.writable, "{health:?}");
    let unknown = health.unprotected.join("\n");
    ensure!(
        unknown.contains("INFO") && unknown.contains("CONFIG"),
        "{unknown}"
    );
    guest.close().await?;
    // The log of refusals of the server: nobody asked for more than the rights, but for health.
    let refused: Vec<Vec<redis::Value>> =
        redis::from_redis_value(server.run(&["ACL", "LOG"]).await?)?;
    for entry in refused {
        let entry = format!("{entry:?}");
        ensure!(
            ["info", "config|get", "client|setinfo", "hsetnx"]
                .iter()
                .any(|name| entry.contains(name)),
            "{entry}"
        );
    }
    service.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_not_created_where_that_is_forbidden() -> Result<()> {
    let server = Server::start([]).await?;
    let guest = with_rights(&server, Role::Guest, "provision=verify").await?;
    let outcome = guest.publish(&message("unknown", "x")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::NotFound, "{error}");
    guest.close().await?;
    Ok(())
}

#[tokio::test]
async fn missing_rights_are_named() -> Result<()> {
    let server = Server::start(["user poor on >secret ~bus:* &* +@all -xadd".to_owned()]).await?;
    let bus = connect(&format!("redis://poor:secret@{}", server.address())).await?;
    let outcome = bus.publish(&message("r.a", "x")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::PermissionDenied, "{error}");
    ensure!(
        !error.is_indeterminate() && !error.is_retryable(),
        "{error}"
    );
    bus.close().await?;
    Ok(())
}

#[tokio::test]
async fn health_says_what_the_settings_do_not_protect() -> Result<()> {
    let server = Server::start(["appendonly no".to_owned()]).await?;
    let bus = server.client("").await?;
    let unprotected = async || bus.health().await.unprotected.join("\n");
    ensure!(unprotected().await.contains("`appendonly yes`"));
    server.run(&["CONFIG", "SET", "appendonly", "yes"]).await?;
    server
        .run(&["CONFIG", "SET", "appendfsync", "everysec"])
        .await?;
    ensure!(unprotected().await.contains("`appendfsync` is everysec"));
    server
        .run(&["CONFIG", "SET", "appendfsync", "always"])
        .await?;
    ensure!(!unprotected().await.contains("append"));
    ensure!(unprotected().await.contains("no replica"));
    server.run(&["CONFIG", "SET", "maxmemory", "100mb"]).await?;
    server
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await?;
    let problems = bus.health().await.problems.join("\n");
    ensure!(problems.contains("maxmemory-policy"), "{problems}");
    server.run(&["REPLICAOF", "127.0.0.1", "1"]).await?;
    let health = bus.health().await;
    ensure!(!health.writable, "{health:?}");
    ensure!(health.problems.join("\n").contains("replica"), "{health:?}");
    Ok(())
}
