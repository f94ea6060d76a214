//! Redis as a local process.

use std::fs::File;
use std::process::Child;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Local, install};
use crate::brokers::keeper;

pub(super) const PROGRAM: &str = "redis-server";

pub(super) fn spawn(local: &Local, log: File) -> Result<Child> {
    let program = install::redis()?;
    let configuration = local.data.path().join("redis.conf");
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", local.port),
        format!("dir {}", local.data.path().display()),
        "save \"\"".to_owned(),
        "appendonly yes".to_owned(),
        format!(
            "appendfsync {}",
            if local.options.sync_always {
                "always"
            } else {
                "everysec"
            }
        ),
    ];
    lines.extend(local.options.extra.iter().cloned());
    std::fs::write(&configuration, lines.join("\n"))?;
    keeper::spawn(&program, |command| {
        command.arg(&configuration).stdout(log);
    })
}

/// It answers once its data is loaded; before that it says `LOADING`.
pub(super) async fn answers(port: u16) -> bool {
    async fn ping(port: u16) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await?;
        // A server that wants a password answers too.
        Ok(answer[..read].starts_with(b"+PONG") || answer[..read].starts_with(b"-NOAUTH"))
    }
    ping(port).await.unwrap_or(false)
}
