//! NATS: TLS, credentials, several hosts, rights, and servers that are too old (B3, B4).

use anyhow::{Context, Result, ensure};
use bus_api::{ErrorKind, Raw};
use integration_tests::brokers::Broker;
use integration_tests::certificates::{Authority, Files};
use integration_tests::nats::server::{
    PATIENCE, address, connect, message, refused, round_trip, start, whole_use,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

async fn with_tls(authority: &Authority, verify: bool) -> Result<Broker> {
    let Files { certificate, key } = authority.issue("server")?;
    start([format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: {verify} }}",
        certificate.display(),
        key.display(),
        authority.certificate().display()
    )])
    .await
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() -> Result<()> {
    let authority = Authority::new()?;
    let server = with_tls(&authority, false).await?;
    let ca = authority.certificate();
    // The server asks for TLS: the scheme need not.
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://{}?tls_ca={}", address(&server), ca.display());
        let bus = connect(&url).await?;
        round_trip(&bus, "t.tls").await?;
        bus.close().await?;
    }
    let url = format!("tls://{}", address(&server));
    let error = refused(&url, ErrorKind::Unauthenticated).await?;
    ensure!(error.to_string().contains("`tls_ca`"), "{error}");
    let other = Authority::new()?;
    let url = format!("{url}?tls_ca={}", other.certificate().display());
    refused(&url, ErrorKind::Unauthenticated).await?;
    // A server without TLS.
    let plain = start([]).await?;
    let url = format!(
        "tls://{}?tls_ca={}&connect_timeout=500ms",
        address(&plain),
        ca.display()
    );
    refused(&url, ErrorKind::Unavailable).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_wanted_and_given() -> Result<()> {
    let authority = Authority::new()?;
    let server = with_tls(&authority, true).await?;
    let url = format!(
        "tls://{}?tls_ca={}",
        address(&server),
        authority.certificate().display()
    );
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        format!(
            "{url}&tls_cert={}&tls_key={}",
            certificate.display(),
            key.display()
        )
    };
    let Files { certificate, key } = authority.issue("client")?;
    let bus = connect(&with(&certificate, &key)).await?;
    round_trip(&bus, "t.mutual").await?;
    bus.close().await?;
    refused(&url, ErrorKind::Unauthenticated).await?;
    let foreign = Authority::new()?.issue("foreign");
    ensure!(foreign.is_ok());
    let error = refused(&with(&key, &key), ErrorKind::InvalidConfig).await?;
    ensure!(error.to_string().contains("`tls_cert`"), "{error}");
    Ok(())
}

#[tokio::test]
async fn users_tokens_and_keys() -> Result<()> {
    const SEED: &str = "SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM";
    let users = start([
        "authorization { users = [ {user: one, password: \"secret-of-one\"}, \
         {nkey: UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VE} ] }"
            .to_owned(),
    ])
    .await?;
    let tokens = start(["authorization { token: \"secret-token\" }".to_owned()]).await?;
    let (users, tokens) = (address(&users), address(&tokens));
    for url in [
        format!("nats://one:secret-of-one@{users}"),
        format!("nats://{users}?nkey={SEED}"),
        format!("nats://secret-token@{tokens}"),
        format!("nats://{tokens}?token=secret-token"),
        // One of several hosts is enough.
        format!("nats://one:secret-of-one@127.0.0.1:1,{users}"),
    ] {
        let bus = connect(&url).await.with_context(|| url.clone())?;
        round_trip(&bus, "t.login").await?;
        bus.close().await?;
    }
    for url in [
        format!("nats://{users}"),
        format!("nats://one:secret-wrong@{users}"),
        format!("nats://nobody:secret-of-one@{users}"),
        format!("nats://{tokens}?token=secret-wrong"),
        format!("nats://{users}?nkey=secret"),
    ] {
        refused(&url, ErrorKind::Unauthenticated).await?;
    }
    let url = format!("nats://{users}?credentials=/does/not/exist");
    let error = refused(&url, ErrorKind::InvalidConfig).await?;
    ensure!(error.to_string().contains("`credentials`"), "{error}");
    Ok(())
}

/// The rights of `docs/wire/nats.md`, for namespace `bus`, in the syntax of the server.
fn rights(user: &str, may_create: bool, without: &str) -> String {
    let mut publish: Vec<String> = [
        "bus.t.>", "bus.d.>", "bus.m.>", "bus.q.>", "bus.r.>", "_INBOX.>",
    ]
    .map(str::to_owned)
    .into();
    publish.push("$JS.ACK.bus-t.>".to_owned());
    let api = [
        ("STREAM.INFO", &["bus-t", "bus-d", "bus-m"][..]),
        ("STREAM.PURGE", &["bus-d", "bus-m"]),
        ("STREAM.MSG.GET", &["bus-t", "bus-d", "bus-m"]),
        ("STREAM.MSG.DELETE", &["bus-t", "bus-m"]),
        ("CONSUMER.LIST", &["bus-t"]),
        ("CONSUMER.CREATE", &["bus-t.*", "bus-d.*"]),
        ("CONSUMER.INFO", &["bus-t.*"]),
        ("CONSUMER.DELETE", &["bus-t.*", "bus-d.*"]),
        ("CONSUMER.MSG.NEXT", &["bus-t.*", "bus-d.*"]),
    ];
    for (call, of) in api {
        publish.extend(of.iter().map(|of| format!("$JS.API.{call}.{of}")));
    }
    if may_create {
        publish.extend(["t", "d", "m"].map(|kind| format!("$JS.API.STREAM.CREATE.bus-{kind}")));
    }
    publish.retain(|subject| subject != without);
    let quoted: Vec<String> = publish
        .iter()
        .map(|subject| format!("\"{subject}\""))
        .collect();
    format!(
        "{{user: {user}, password: word, permissions: {{ publish: [{}], \
         subscribe: [\"_INBOX.>\", \"bus.r.>\", \"bus.q.>\"] }} }}",
        quoted.join(", ")
    )
}

#[tokio::test]
async fn the_documented_rights_are_enough() -> Result<()> {
    let users = [
        rights("service", true, ""),
        rights("guest", false, ""),
        rights("poor", false, "bus.t.>"),
    ];
    let users = format!("authorization {{ users = [ {} ] }}", users.join(", "));
    let server = start([users]).await?;
    let at = address(&server);
    let service = connect(&format!("nats://service:word@{at}")).await?;
    whole_use(&service, "1").await?;
    service.close().await?;
    for (provision, dedup_id) in [("verify", "2"), ("none", "3")] {
        let url = format!("nats://guest:word@{at}?provision={provision}");
        let guest = connect(&url).await?;
        whole_use(&guest, dedup_id).await?;
        // What is missing is not created.
        let missing = guest.subscribe::<Raw>("new").pattern("r.a").await;
        ensure!(missing.is_err_and(|error| error.kind() == ErrorKind::NotFound));
        guest.close().await?;
    }
    let url = format!("nats://guest:word@{at}?provision=verify&namespace=other");
    let outcome = timeout(PATIENCE, connect(&url)).await?;
    ensure!(outcome.is_err(), "another namespace was opened");
    // What is not allowed is named, and certainly not stored.
    let poor = connect(&format!("nats://poor:word@{at}?provision=verify")).await?;
    let outcome = poor.publish(&message("r.a", "x")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::PermissionDenied, "{error}");
    ensure!(
        !error.is_indeterminate() && !error.is_retryable(),
        "{error}"
    );
    poor.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let info = b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1048576}\r\n";
                stream.write_all(info).await?;
                let mut line = String::new();
                while stream.read_line(&mut line).await? > 0 {
                    if line.starts_with("PING") {
                        stream.write_all(b"PONG\r\n").await?;
                    }
                    line.clear();
                }
                std::io::Result::Ok(())
            });
        }
    });
    let error = refused(&format!("nats://127.0.0.1:{port}"), ErrorKind::Unsupported).await?;
    ensure!(error.to_string().contains("2.9.10"), "{error}");
    serving.abort();
    Ok(())
}
