//! NATS as a local process.

use std::fs::File;
use std::process::Child;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Local, install};
use crate::brokers::keeper;

pub(super) const PROGRAM: &str = "nats-server";

pub(super) fn spawn(local: &Local, log: File) -> Result<Child> {
    let program = install::nats()?;
    let configuration = local.data.path().join("nats.conf");
    let sync = if local.options.sync_always {
        "  sync_interval: always\n"
    } else {
        ""
    };
    let mut text = format!(
        "listen: \"127.0.0.1:{}\"\njetstream {{\n  store_dir: \"{}\"\n{sync}}}\n",
        local.port,
        local.data.path().display()
    );
    for line in &local.options.extra {
        text.push_str(line);
        text.push('\n');
    }
    std::fs::write(&configuration, text)?;
    keeper::spawn(&program, |command| {
        command.arg("--config").arg(&configuration).stderr(log);
    })
}

/// It greets with `INFO`, and answers a ping once its streams are recovered.
pub(super) async fn answers(port: u16) -> bool {
    async fn ping(port: u16) -> std::io::Result<bool> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if !line.starts_with("INFO ") || line.contains("\"auth_required\":true") {
            return Ok(line.starts_with("INFO "));
        }
        stream
            .write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")
            .await?;
        line.clear();
        stream.read_line(&mut line).await?;
        Ok(line.starts_with("PONG"))
    }
    ping(port).await.unwrap_or(false)
}
