//! An archive of Kafka's classes as the virtual machine has read them (class data sharing): with it a broker starts
//! in less than half the time, and a run of the suite starts a dozen.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Ports, kafka};
use crate::brokers::{Setup, free_port, keeper};

/// What a broker says last of its start.
const STARTED: &str = "Kafka Server started";

/// Where the archive of the classes in `libs` lies.
pub(super) fn path(libs: &Path) -> PathBuf {
    libs.with_file_name("classes.jsa")
}

/// Starts a broker and ends it: the virtual machine writes down at its end what it has read.
///
/// # Errors
/// The broker does not start.
pub(super) fn make(libs: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ports = Ports {
        main: free_port()?,
        side: free_port()?,
    };
    let configuration = kafka::configure(libs, folder.path(), ports, &Setup::default())?;
    let archive = format!("-XX:ArchiveClassesAtExit={}", path(libs).display());
    let mut broker = keeper::spawn(kafka::PROGRAM, |command| {
        kafka::serve(command, libs, &archive, &configuration);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    })?;
    let said = broker.stderr.take().context("it says nothing")?;
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    let started = lines.any(|line| line.contains(STARTED));
    kill(Pid::from_raw(i32::try_from(broker.id())?), Signal::SIGTERM)?;
    // It would wait for somebody to read on.
    lines.for_each(drop);
    broker.wait()?;
    ensure!(started, "kafka did not start to have its classes archived");
    Ok(())
}
