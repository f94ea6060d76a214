//! The examples run, and are short.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than any example takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an example and returns what it prints.
async fn run(program: &str) -> String {
    let output = Command::new(program).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}

#[tokio::test]
async fn publish() {
    let out = run(env!("CARGO_BIN_EXE_publish")).await;
    assert!(out.contains("2 of a batch stored"), "{out}");
}

#[tokio::test]
async fn configured() {
    let out = run(env!("CARGO_BIN_EXE_configured")).await;
    for line in [
        "bus.namespace = shop (",
        "bus.source = example (code)",
        "connected: true",
    ] {
        assert!(out.contains(line), "{out}");
    }
}

#[tokio::test]
async fn worker() {
    let out = run(env!("CARGO_BIN_EXE_worker")).await;
    assert!(out.contains("the shop sends a mail about order 7"), "{out}");
    assert!(
        out.contains("MailSent { order: 7 } caused by Some("),
        "{out}"
    );
}

#[tokio::test]
async fn request_reply() {
    let out = run(env!("CARGO_BIN_EXE_request_reply")).await;
    assert_eq!(
        out,
        "before: no_responders\nbook: Ok(1299)\nunicorn: Err(UnknownSku)\n"
    );
}

#[tokio::test]
async fn dead_letters() {
    let out = run(env!("CARGO_BIN_EXE_dead_letters")).await;
    let found = "handler: 550 no such mailbox: OrderPlaced { id: 7 }\n";
    assert!(out.starts_with(found), "{out}");
    // The worker may be quicker than the report of the redrive.
    for line in ["redriven: 1\n", "mail about order 7\n"] {
        assert!(out.contains(line), "{out}");
    }
}

#[tokio::test]
async fn testing() {
    let out = run(env!("CARGO_BIN_EXE_testing")).await;
    assert!(out.contains("Handled"), "{out}");
}

#[tokio::test]
async fn axum() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_axum"))
        .arg("127.0.0.1:0")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .expect("it listens")
        .unwrap()
        .unwrap();
    let address = line.strip_prefix("listening on http://").unwrap();
    let accepted = call(address, "POST /orders/7").await;
    assert!(accepted.starts_with("HTTP/1.1 202"), "{accepted}");
    let health = call(address, "GET /healthz").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("\r\n\r\nup"),
        "{health}"
    );
    server.kill().await.unwrap();
}

async fn call(address: &str, request: &str) -> String {
    let request = format!(
        "{request} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let call = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    timeout(PATIENCE, call).await.expect("it answers").unwrap()
}

#[test]
fn every_example_is_below_40_lines() {
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines < 40, "{} has {lines} lines", path.display());
        }
    }
}
