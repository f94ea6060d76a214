//! Kafka as a local process: one node that is broker and controller.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;

use super::{Local, Ports, archive, install};
use crate::brokers::{Setup, keeper};

pub(super) const PROGRAM: &str = "java";

/// Any 22 characters of base64 do; a fixed one lets a broker be formatted again in the same place.
const CLUSTER_ID: &str = "YnVzLXRlc3QtY2x1c3Rlcg";

pub(super) fn spawn(local: &Local, log: File) -> Result<Child> {
    let libs = install::kafka()?;
    let configuration = configure(&libs, local.data.path(), local.ports, &local.setup)?;
    let archive = format!("-XX:SharedArchiveFile={}", archive::path(&libs).display());
    keeper::spawn(PROGRAM, |command| {
        serve(command, &libs, &archive, &configuration);
        command.stderr(log);
    })
}

/// Writes a broker's configuration into `folder`, and formats its storage there unless it is.
pub(super) fn configure(
    libs: &Path,
    folder: &Path,
    ports: Ports,
    setup: &Setup,
) -> Result<PathBuf> {
    let configuration = folder.join("server.properties");
    std::fs::write(&configuration, properties(folder, ports, setup))?;
    if !folder.join("logs/meta.properties").exists() {
        let format = Command::new(PROGRAM)
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(libs.join("*"))
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&configuration)
            .args(&setup.arguments)
            .output()
            .context("cannot start java")?;
        ensure!(
            format.status.success(),
            "kafka format: {}",
            String::from_utf8_lossy(&format.stderr)
        );
    }
    Ok(configuration)
}

/// The arguments of a broker; `archive` says what the virtual machine does with its archive of classes.
pub(super) fn serve(command: &mut Command, libs: &Path, archive: &str, configuration: &Path) {
    command
        .args(["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC"])
        .args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", archive, "-cp"])
        .arg(libs.join("*"))
        .arg("kafka.Kafka")
        .arg(configuration);
}

fn properties(folder: &Path, ports: Ports, setup: &Setup) -> String {
    let (port, controller) = (ports.main, ports.side);
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        format!("log.dirs={}/logs", folder.display()),
    ];
    lines.extend(settings(setup));
    // Who adds a listener has to name these two again.
    lines
        .join("\n")
        .replace("{main}", &port.to_string())
        .replace("{side}", &controller.to_string())
}

/// Runs one of Kafka's own command-line tools with `input` and returns what it says.
///
/// # Errors
/// It fails.
pub async fn tool(class: &str, arguments: &[&str], input: &str) -> Result<String> {
    let classes = format!("{}/*", install::kafka()?.display());
    let own = [
        "-Xmx128m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &classes,
        class,
    ];
    run(PROGRAM, &[&own[..], arguments].concat(), input).await
}

/// Runs `kcat` with `input` and returns what it says.
///
/// # Errors
/// It is not there, or fails.
pub async fn kcat(arguments: &[&str], input: &str) -> Result<String> {
    run(&install::kcat()?, arguments, input).await
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().context("no way in")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program} {}: {said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// What does not depend on where it runs, also for a container.
///
/// The two broker session settings let a killed node register again after two seconds instead of nine.
pub(in crate::brokers) fn settings(setup: &Setup) -> Vec<String> {
    let mut lines = [
        "offsets.topic.replication.factor=1",
        "offsets.topic.num.partitions=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "transaction.state.log.num.partitions=1",
        "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.min.isr=1",
        "group.initial.rebalance.delay.ms=0",
        "group.consumer.heartbeat.interval.ms=1000",
        "group.consumer.min.heartbeat.interval.ms=500",
        "group.consumer.session.timeout.ms=3000",
        "group.consumer.min.session.timeout.ms=1000",
        "group.min.session.timeout.ms=1000",
        "broker.session.timeout.ms=1500",
        "broker.heartbeat.interval.ms=300",
        "auto.create.topics.enable=false",
        "num.network.threads=1",
        "num.io.threads=2",
        "num.recovery.threads.per.data.dir=2",
        // A run makes hundreds of topics.
        "log.index.size.max.bytes=65536",
        "log.cleaner.dedupe.buffer.size=2097152",
    ]
    .map(str::to_owned)
    .to_vec();
    if setup.sync_always {
        lines.push("log.flush.interval.messages=1".to_owned());
    }
    lines.extend(setup.extra.iter().cloned());
    lines
}
