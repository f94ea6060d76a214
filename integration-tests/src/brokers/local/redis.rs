//! Redis as a local process.

use std::fs::File;
use std::process::Child;

use anyhow::Result;

use super::{Local, install};
use crate::brokers::keeper;

pub(super) const PROGRAM: &str = "redis-server";

pub(super) fn spawn(local: &Local, log: File) -> Result<Child> {
    let program = install::redis()?;
    let configuration = local.data.path().join("redis.conf");
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", local.ports.main),
        format!("dir {}", local.data.path().display()),
        "save \"\"".to_owned(),
        "appendonly yes".to_owned(),
        format!(
            "appendfsync {}",
            if local.setup.sync_always {
                "always"
            } else {
                "everysec"
            }
        ),
    ];
    lines.extend(local.setup.extra.iter().cloned());
    std::fs::write(&configuration, lines.join("\n"))?;
    keeper::spawn(&program, |command| {
        command
            .arg(&configuration)
            .args(&local.setup.arguments)
            .stdout(log);
    })
}
