//! Whether a broker is ready: it has loaded its data and answers.
//!
//! Being able to connect proves nothing: a container engine accepts connections before the server does.

use std::io::Result;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Kind;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(20);

/// Asks until the broker answers; `false` when it has not by `deadline`, or `gone` says that it never will.
pub(super) async fn answers_by(
    kind: Kind,
    address: &str,
    deadline: Instant,
    mut gone: impl FnMut() -> bool,
) -> bool {
    loop {
        if answers(kind, address).await {
            return true;
        }
        if gone() || Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

async fn answers(kind: Kind, address: &str) -> bool {
    let question = async {
        let stream = TcpStream::connect(address).await?;
        match kind {
            Kind::Redis => redis(stream).await,
            Kind::Nats => nats(stream).await,
            Kind::Kafka => kafka(stream).await,
        }
    };
    matches!(timeout(PATIENCE, question).await, Ok(Ok(true)))
}

/// It says `LOADING` while it reads its data. One that wants a password answers, too.
async fn redis(mut stream: TcpStream) -> Result<bool> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).await?;
    Ok(answer[..read].starts_with(b"+PONG") || answer[..read].starts_with(b"-NOAUTH"))
}

/// It greets with `INFO`, and answers a ping once its streams are recovered.
async fn nats(stream: TcpStream) -> Result<bool> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let guarded = ["\"auth_required\":true", "\"tls_required\":true"];
    if !line.starts_with("INFO ") || guarded.iter().any(|word| line.contains(word)) {
        return Ok(line.starts_with("INFO "));
    }
    stream
        .write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")
        .await?;
    line.clear();
    stream.read_line(&mut line).await?;
    Ok(line.starts_with("PONG"))
}

/// It names a live broker in its metadata once the controller lets it serve.
async fn kafka(mut stream: TcpStream) -> Result<bool> {
    // Metadata, version 4, correlation 1, no client id, no topics, no creation.
    const REQUEST: &[u8] = &[
        0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0,
    ];
    stream.write_all(REQUEST).await?;
    // Length, correlation, throttle time, number of brokers.
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    Ok(head[12..] != [0; 4])
}
