//! Programs of brokers: found on `PATH`, or fetched once into `target/brokers/` by what is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

use super::archive;
use crate::brokers::directory;

const NATS: &str = "2.12.15";
/// Names another version of NATS, such as the oldest that the bus works with.
const NATS_VERSION: &str = "BUS_TEST_NATS_VERSION";
const KAFKA: &str = "4.1.0";

/// One fetch at a time in this process; the file lock below is for the others.
static FETCHING: Mutex<()> = Mutex::new(());

/// `redis-server`, from `PATH` or, for root on Debian, from its package.
pub(super) fn redis() -> Result<String> {
    let help = "install redis-server 7 or later, or set BUS_TEST_REDIS_URL";
    once("redis", || debian("redis-server", help))
}

/// A program from `PATH`, or from the package of that name.
fn debian(program: &str, help: &str) -> Result<String> {
    if on_path(program) {
        return Ok(program.to_owned());
    }
    ensure!(on_path("apt-get"), "{program} is missing: {help}");
    run("apt-get", &["update", "-qq"], &[])?;
    run(
        "apt-get",
        &["install", "-y", "-qq", program],
        &[("DEBIAN_FRONTEND", "noninteractive")],
    )?;
    Ok(program.to_owned())
}

/// `nats-server`, built by Go; one on `PATH` is not taken, because distributions ship versions that are
/// too old for the bus.
pub(super) fn nats() -> Result<String> {
    once("nats", || {
        let version = std::env::var(NATS_VERSION);
        let version = version.as_deref().unwrap_or(NATS);
        let folder = directory().join(format!("nats-{version}"));
        let program = folder.join("nats-server");
        if !program.exists() {
            ensure!(
                on_path("go"),
                "nats is missing: install Go 1.24 or later so that it can be built, or set BUS_TEST_NATS_URL"
            );
            std::fs::create_dir_all(&folder)?;
            run(
                "go",
                &[
                    "install",
                    &format!("github.com/nats-io/nats-server/v2@v{version}"),
                ],
                &[("GOBIN", &absolute(&folder)?), ("CGO_ENABLED", "0")],
            )?;
        }
        absolute(&program)
    })
}

/// The folder of Kafka's class files and those of its command-line tools, fetched by Maven.
pub(super) fn kafka() -> Result<PathBuf> {
    once("kafka", || {
        let folder = directory().join(format!("kafka-{KAFKA}"));
        let complete = folder.join("complete-with-tools");
        if !complete.exists() {
            ensure!(
                on_path("mvn") && on_path("java"),
                "kafka is missing: install Java 17 and Maven so that it can be fetched, or set BUS_TEST_KAFKA_URL"
            );
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("pom.xml"), pom())?;
            let (pom, libs) = (
                absolute(&folder.join("pom.xml"))?,
                absolute(&folder)? + "/libs",
            );
            let out = format!("-DoutputDirectory={libs}");
            run(
                "mvn",
                &["-q", "-B", "-f", &pom, "dependency:copy-dependencies", &out],
                &[],
            )?;
            std::fs::write(&complete, "")?;
        }
        let libs = PathBuf::from(absolute(&folder.join("libs"))?);
        if !archive::path(&libs).exists() {
            archive::make(&libs)?;
        }
        Ok(libs)
    })
}

/// `kcat`, from `PATH` or, for root on Debian, from its package.
pub(super) fn kcat() -> Result<String> {
    once("kcat", || debian("kcat", "install kcat 1.7 or later"))
}

fn pom() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>bus</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>\
         <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>\
         <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA}</version></dependency>\
         <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>\
         </dependencies></project>"
    )
}

/// Runs `fetch` while no other thread or process of this workspace fetches the same thing.
fn once<T>(name: &str, fetch: impl FnOnce() -> Result<T>) -> Result<T> {
    let _thread = FETCHING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = directory();
    std::fs::create_dir_all(&folder)?;
    let lock = std::fs::File::create(folder.join(format!("{name}.lock")))?;
    lock.lock()
        .with_context(|| format!("cannot lock the fetching of {name}"))?;
    fetch()
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)?;
    Ok(path
        .to_str()
        .context("the path of the workspace is not UTF-8")?
        .to_owned())
}

fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", arguments.join(" "), text.trim());
    }
    Ok(())
}
