//! Kafka: TLS, logins, several hosts, properties and rights (B3, B4).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, BusUrl, Error, ErrorKind, Raw, Secret, Settings};
use bus_kafka::{Config, KafkaBus, Token, TokenSource};
use integration_tests::certificates::{Authority, Files};
use integration_tests::kafka::server::{Server, connect};
use integration_tests::trip::{self, message, round_trip};

/// Longer than any refusal may take, shorter than `connect_timeout`.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Connecting fails at once, and nothing in the error is a secret.
async fn refused(url: &str, kind: ErrorKind) -> Result<Error> {
    trip::refused(connect(url), kind, AT_ONCE).await
}

/// Key and certificate in one file, as the broker reads them.
fn keystore(files: &Files, directory: &Path) -> Result<String> {
    let both = [&files.key, &files.certificate].map(std::fs::read_to_string);
    let [key, certificate] = both;
    let path = directory.join("keystore.pem");
    std::fs::write(&path, key? + &certificate?)?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_and_client_certificates() -> Result<()> {
    let authority = Authority::new()?;
    let directory = tempfile::tempdir()?;
    let store = keystore(&authority.issue("server")?, directory.path())?;
    let ca = authority.certificate().display().to_string();
    let server = Server::start(
        &[("TLS", "SSL"), ("MUTUAL", "SSL")],
        [
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={store}"),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={ca}"),
            "listener.name.mutual.ssl.client.auth=required".to_owned(),
        ],
        &[],
    )
    .await?;
    let (tls, mutual) = (server.listener(0), server.listener(1));
    let bus = connect(&format!("kafka://{tls}?tls_ca={ca}")).await?;
    round_trip(&bus, "t.tls").await?;
    bus.close().await?;
    let error = refused(
        &format!("kafka://{tls}?tls=true"),
        ErrorKind::Unauthenticated,
    )
    .await?;
    ensure!(error.to_string().contains("`tls_ca`"), "{error}");
    let other = Authority::new()?;
    let url = format!("kafka://{tls}?tls_ca={}", other.certificate().display());
    refused(&url, ErrorKind::Unauthenticated).await?;
    // A port without TLS.
    let plain = format!(
        "kafka://{}?tls_ca={ca}&connect_timeout=500ms",
        server.address()
    );
    refused(&plain, ErrorKind::Unavailable).await?;

    let with = |certificate: &Path, key: &Path| {
        format!(
            "kafka://{mutual}?tls_ca={ca}&tls_cert={}&tls_key={}",
            certificate.display(),
            key.display()
        )
    };
    let own = authority.issue("client")?;
    let bus = connect(&with(&own.certificate, &own.key)).await?;
    round_trip(&bus, "t.mutual").await?;
    bus.close().await?;
    refused(
        &format!("kafka://{mutual}?tls_ca={ca}"),
        ErrorKind::Unauthenticated,
    )
    .await?;
    let foreign = other.issue("foreign")?;
    refused(
        &with(&foreign.certificate, &foreign.key),
        ErrorKind::Unauthenticated,
    )
    .await?;
    // Files that are none.
    let missing = Path::new("/no/such/file.pem");
    for (url, option) in [
        (with(missing, &own.key), "`tls_cert`"),
        (with(&own.certificate, &own.certificate), "`tls_key`"),
        (format!("kafka://{tls}?tls_ca=/no/such/ca.pem"), "`tls_ca`"),
    ] {
        let error = refused(&url, ErrorKind::InvalidConfig).await?;
        ensure!(error.to_string().contains(option), "{error}");
    }
    Ok(())
}

/// Tokens that nobody has signed, as a broker takes them that is told nothing else.
struct Unsigned(&'static str);

impl TokenSource for Unsigned {
    fn token(&self) -> std::result::Result<Token, Box<dyn std::error::Error + Send + Sync>> {
        let now = SystemTime::now();
        let expires = now + Duration::from_secs(600);
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH);
        let claims = format!(
            r#"{{"sub":"{}","iat":{},"exp":{}}}"#,
            self.0,
            seconds(now)?.as_secs(),
            seconds(expires)?.as_secs()
        );
        let text = format!(
            "{}.{}.",
            base64(br#"{"alg":"none"}"#),
            base64(claims.as_bytes())
        );
        Ok(Token {
            text: Secret::new(text),
            principal: self.0.to_owned(),
            expires,
        })
    }
}

/// Base64 with the alphabet of URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[word >> (18 - 6 * place) & 63]));
        }
    }
    text
}

/// The client behind a configuration that no URL can say.
async fn open(url: &str, tokens: Arc<dyn TokenSource>) -> bus_api::Result<BusClient> {
    let mut url: BusUrl = url.parse()?;
    let settings = Settings::take(url.options_mut())?;
    let mut config = Config::from_url(url, settings.clone())?;
    config.tokens = Some(tokens);
    let bus = Arc::new(KafkaBus::open(config).await?);
    Ok(BusClient::new(bus, settings))
}

const MECHANISMS: &str = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
const MODULES: &str = "org.apache.kafka.common.security";

#[tokio::test]
async fn logins_hosts_and_properties() -> Result<()> {
    let server = Server::start(
        &[("LOGIN", "SASL_PLAINTEXT")],
        [
            format!("listener.name.login.sasl.enabled.mechanisms={MECHANISMS}"),
            format!(
                "listener.name.login.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule \
                 required user_plain=\"secret-plain\";"
            ),
            format!(
                "listener.name.login.scram-sha-256.sasl.jaas.config=\
                 {MODULES}.scram.ScramLoginModule required;"
            ),
            format!(
                "listener.name.login.scram-sha-512.sasl.jaas.config=\
                 {MODULES}.scram.ScramLoginModule required;"
            ),
            format!(
                "listener.name.login.oauthbearer.sasl.jaas.config=\
                 {MODULES}.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"broker\";"
            ),
        ],
        &[
            "--add-scram",
            "SCRAM-SHA-256=[name=short,password=secret-short]",
            "--add-scram",
            "SCRAM-SHA-512=[name=long,password=secret-long]",
        ],
    )
    .await?;
    let at = server.listener(0);
    for (login, sasl) in [
        ("plain:secret-plain", "sasl=plain&"),
        ("short:secret-short", ""),
        ("long:secret-long", "sasl=scram-sha-512&"),
    ] {
        let url = format!("kafka://{login}@{at}?{sasl}partitions=1");
        let bus = connect(&url).await.context(sasl)?;
        round_trip(&bus, "t.login").await?;
        bus.close().await?;
    }
    for (login, sasl) in [
        ("plain:secret-wrong", "plain"),
        ("short:secret-wrong", "scram-sha-256"),
        ("nobody:secret-short", "scram-sha-512"),
    ] {
        let url = format!("kafka://{login}@{at}?sasl={sasl}");
        refused(&url, ErrorKind::Unauthenticated).await?;
    }
    let bus = open(&format!("kafka://{at}"), Arc::new(Unsigned("token"))).await?;
    round_trip(&bus, "t.token").await?;
    bus.close().await?;

    // Of several hosts one is enough, and the properties of the client library are in reach.
    let nobody = integration_tests::brokers::free_port()?;
    let hosts = format!("kafka://127.0.0.1:{nobody},{}", server.address());
    let bus = connect(&format!("{hosts}?kafka.compression.type=zstd")).await?;
    round_trip(&bus, "t.hosts").await?;
    bus.close().await?;
    let error = refused(&format!("{hosts}?kafka.linger=5"), ErrorKind::InvalidConfig).await?;
    ensure!(error.to_string().contains("linger"), "{error}");
    Ok(())
}

/// Gives a user the rights of the documentation.
async fn allow(server: &Server, user: &str, rights: &[(&str, &str, &[&str])]) -> Result<()> {
    for (what, name, operations) in rights {
        let principal = format!("User:{user}");
        let mut arguments = vec!["--add", "--allow-principal", &principal, what];
        if !name.is_empty() {
            arguments.extend([*name, "--resource-pattern-type", "prefixed"]);
        }
        for operation in *operations {
            arguments.extend(["--operation", operation]);
        }
        server
            .tool("org.apache.kafka.tools.AclCommand", &arguments, "")
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_least_rights_are_enough() -> Result<()> {
    let server = Server::start(
        &[("LOGIN", "SASL_PLAINTEXT")],
        [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            "super.users=User:ANONYMOUS".to_owned(),
            "listener.name.login.sasl.enabled.mechanisms=PLAIN".to_owned(),
            format!(
                "listener.name.login.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule \
                 required user_service=\"secret-1\" user_guest=\"secret-2\" user_other=\"secret-3\";"
            ),
        ],
        &[],
    )
    .await?;
    let at = server.listener(0);
    allow(
        &server,
        "service",
        &[
            (
                "--topic",
                "bus.",
                &["Describe", "Read", "Write", "Create", "Delete"],
            ),
            ("--group", "bus.", &["Describe", "Read", "Delete"]),
        ],
    )
    .await?;
    allow(
        &server,
        "guest",
        &[
            ("--topic", "bus.", &["Describe", "Read", "Write"]),
            ("--group", "bus.", &["Describe", "Read"]),
        ],
    )
    .await?;
    let service = connect(&format!("kafka://service:secret-1@{at}?sasl=plain")).await?;
    round_trip(&service, "t.rights").await?;
    // What is there is enough for whoever may make nothing.
    let guest = connect(&format!(
        "kafka://guest:secret-2@{at}?sasl=plain&provision=none"
    ))
    .await?;
    round_trip(&guest, "t.rights").await?;
    let missing = guest.publish(&message("new.topic", "no")?).await;
    let kind = missing.err().context("it was stored")?.kind();
    ensure!(
        matches!(kind, ErrorKind::NotFound | ErrorKind::PermissionDenied),
        "{kind}"
    );
    guest.close().await?;
    // Another namespace is closed to both.
    let outside = connect(&format!(
        "kafka://service:secret-1@{at}?sasl=plain&namespace=other"
    ))
    .await?;
    for error in [
        outside.publish(&message("t.rights", "no")?).await.err(),
        outside
            .subscribe::<Raw>("g")
            .pattern("t.rights")
            .await
            .err(),
    ] {
        let kind = error.context("it was allowed")?.kind();
        ensure!(kind == ErrorKind::PermissionDenied, "{kind}");
    }
    outside.close().await?;
    service.close().await?;
    Ok(())
}
