//! Wrong configurations: each gives one clear line with the remedy, soon, and never a secret.

use std::time::{Duration, Instant};

use integration_tests::brokers::{Broker, Kind, Setup};

use crate::common::{Done, Place, finish};

const SECRET: &str = "hunter2";
/// How long a user waits for the answer at most.
const SOON: Duration = Duration::from_secs(5);

/// One wrong configuration.
#[derive(Debug)]
struct Wrong {
    url: Option<String>,
    file: Option<&'static str>,
    variable: Option<(&'static str, &'static str)>,
    arguments: &'static [&'static str],
    code: i32,
    /// What the line says.
    parts: &'static [&'static str],
}

fn wrong(code: i32, parts: &'static [&'static str]) -> Wrong {
    Wrong {
        url: None,
        file: None,
        variable: None,
        arguments: &["topics", "list"],
        code,
        parts,
    }
}

fn url(url: impl Into<String>, code: i32, parts: &'static [&'static str]) -> Wrong {
    Wrong {
        url: Some(url.into()),
        ..wrong(code, parts)
    }
}

fn file(text: &'static str, parts: &'static [&'static str]) -> Wrong {
    Wrong {
        file: Some(text),
        ..url("redis://localhost", 3, parts)
    }
}

fn variable(name: &'static str, value: &'static str, parts: &'static [&'static str]) -> Wrong {
    Wrong {
        variable: Some((name, value)),
        ..url("redis://localhost", 3, parts)
    }
}

fn arguments(
    arguments: &'static [&'static str],
    code: i32,
    parts: &'static [&'static str],
) -> Wrong {
    Wrong {
        arguments,
        ..url("redis://localhost", code, parts)
    }
}

/// All of them; `host` is the address of a server with the user `svc`.
fn all(host: &str) -> Vec<Wrong> {
    vec![
        wrong(3, &["BUS_URL", "bus.toml", "redis://localhost:6379"]),
        url(
            "localhost:6379",
            3,
            &["starts with a scheme", "redis://host:6379", "BUS_URL"],
        ),
        url(
            "reids://localhost",
            3,
            &["unknown scheme `reids`", "did you mean `redis`?"],
        ),
        url("carrier-pigeon://loft", 3, &["known are"]),
        url("redis://u:hunter2@h:port", 3, &["a port", "0 to 65535"]),
        url(
            "redis://u:hunter2@a,b",
            3,
            &["one host", "redis://host:port"],
        ),
        url("redis://h/seven", 3, &["number of a database"]),
        url("redis://h?window=1&window=2", 3, &["twice", "window"]),
        url("redis://h?window", 3, &["write key=value"]),
        url("redis://h?namespcae=a", 3, &["did you mean `namespace`?"]),
        url("redis://h?namespace=No", 3, &["a-z 0-9 -", "BUS_URL"]),
        url(
            "redis://h?window=hunter2",
            3,
            &["`window`", "a number of messages"],
        ),
        url(
            "redis://h?retention.age=soon",
            3,
            &["`retention.age`", "7d"],
        ),
        url(
            "redis://h?retention.full=maybe",
            3,
            &["one of reject, drop_oldest"],
        ),
        url(
            "redis://h?max_payload=0",
            3,
            &["`max_payload`", "at least 1"],
        ),
        url(
            "memory://u:hunter2@name",
            3,
            &["memory://name", "without credentials"],
        ),
        url("redis://h?tls_ca=/ca.pem", 3, &["tls_ca"]),
        url("rediss://h?tls_cert=/c.pem", 3, &["tls_cert", "tls_key"]),
        url(
            format!("rediss://{host}?tls_ca=/no/such/ca.pem"),
            3,
            &["tls_ca", "/no/such/ca.pem"],
        ),
        // A file that is there and holds no certificate.
        Wrong {
            url: Some(format!("rediss://{host}?tls_ca=bus.toml")),
            ..file("[redis]\n", &["tls_ca", "bus.toml"])
        },
        url(
            "redis://localhost:1",
            4,
            &["unavailable", "check that the broker runs"],
        ),
        url(
            "redis://no-such-host.invalid",
            4,
            &["unavailable", "host and port of the URL"],
        ),
        url(
            format!("redis://svc:hunter2@{host}"),
            5,
            &["unauthenticated", "check user and password"],
        ),
        url(
            format!("redis://nobody:hunter2@{host}"),
            5,
            &["unauthenticated", "check user and password"],
        ),
        file(
            "[bus]\npassword = 'hunter2",
            &["bus.toml", "no TOML", "line 2"],
        ),
        file(
            "[rdis]\ndatabase = 1",
            &[
                "unknown section `rdis`",
                "did you mean `redis`?",
                "bus.toml",
            ],
        ),
        file(
            "[redis]\ndatabse = 1",
            &["did you mean `database`?", "redis.databse", "bus.toml"],
        ),
        file(
            "[redis]\nnamespace = 'a'",
            &["belongs to the section [bus]"],
        ),
        file(
            "[redis]\ndatabase = [1]",
            &["a text, a number or a boolean", "redis.database"],
        ),
        file(
            "[redis]\npassword_file = '/no/such/secret'",
            &["/no/such/secret", "redis.password_file"],
        ),
        file(
            "[redis]\npassword_file = 'x'\npassword = 'hunter2'",
            &["one is enough"],
        ),
        file(
            "[workers.mail]\nretry.atempts = 3",
            &["did you mean `retry.attempts`?", "workers.mail"],
        ),
        variable(
            "BUS__REDIS__DATABSE",
            "1",
            &["did you mean `database`?", "BUS__REDIS__DATABSE"],
        ),
        variable(
            "BUS__BUS__WINDOW",
            "hunter2",
            &["`window`", "BUS__BUS__WINDOW"],
        ),
        variable(
            "BUS_CONFIG",
            "/no/such/bus.toml",
            &["cannot be read", "/no/such/bus.toml"],
        ),
        arguments(
            &["topics", "list", "--config", "none.toml"],
            3,
            &["cannot be read", "none.toml"],
        ),
        arguments(
            &["topics", "list", "--set", "redis.databse=1"],
            3,
            &["did you mean `database`?"],
        ),
        arguments(
            &["topics", "list", "--namespace", "No Such"],
            3,
            &["a-z 0-9 -", "bus.namespace"],
        ),
    ]
}

async fn run(case: &Wrong) -> (Done, Duration) {
    let place = Place::new(case.url.clone());
    if let Some(text) = case.file {
        std::fs::write(place.path().join("bus.toml"), text).unwrap();
    }
    let mut command = place.command(case.arguments);
    if let Some((name, value)) = case.variable {
        command.env(name, value);
    }
    let begun = Instant::now();
    let done = finish(command, "").await;
    (done, begun.elapsed())
}

#[tokio::test]
async fn each_gives_one_clear_line() {
    let user = "user svc on >right ~* &* +@all".to_owned();
    let setup = Setup {
        extra: vec![user],
        ..Setup::default()
    };
    let broker = Broker::start(Kind::Redis, setup).await.unwrap();
    let url = broker.url();
    let cases = all(url.split_once("://").unwrap().1);
    assert!(cases.len() >= 25);
    let mut failures = Vec::new();
    for case in cases {
        let (done, took) = run(&case).await;
        let what = [
            case.url.as_deref(),
            case.file,
            case.variable.map(|(name, _)| name),
        ];
        let is_clear = done.code == Some(case.code)
            && done.out.is_empty()
            && done.err.lines().count() == 1
            && done.err.starts_with("bus: ")
            && case.parts.iter().all(|part| done.err.contains(part))
            && !done.err.contains(SECRET)
            && took < SOON;
        if !is_clear {
            failures.push(format!("{what:?} after {took:?}: {done:?}, not {case:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
