//! Brings docker-compose.yml up with the example services, asks the `bus` command how they are, and takes
//! everything down again.

mod project;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::project::{Project, output};

/// The services of the example.
const SERVICES: [&str; 4] = ["mail", "order", "payment", "stock"];

/// A broker of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Broker {
    Redis,
    Nats,
    Kafka,
}

impl Broker {
    const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
        }
    }

    /// Its address for the other containers; Redis is the one that nobody has to name.
    const fn inside(self) -> Option<&'static str> {
        match self {
            Self::Redis => None,
            Self::Nats => Some("nats://nats:4222"),
            Self::Kafka => Some("kafka://kafka:19092"),
        }
    }

    const fn port_variable(self) -> &'static str {
        match self {
            Self::Redis => "BUS_REDIS_PORT",
            Self::Nats => "BUS_NATS_PORT",
            Self::Kafka => "BUS_KAFKA_PORT",
        }
    }
}

/// Runs the demonstration on each of the brokers.
pub fn run(brokers: &[Broker]) -> Result<()> {
    if output(Command::new("docker").args(["compose", "version"])).is_err()
        || output(Command::new("docker").arg("info")).is_err()
    {
        println!("left out: there is no container engine with `docker compose` (version 2)");
        return Ok(());
    }
    let brokers = if brokers.is_empty() {
        &[Broker::Redis][..]
    } else {
        brokers
    };
    let binaries = build()?;
    let image = image(&binaries)?;
    let bus = binaries.join("bus");
    let mut done = Ok(());
    for broker in brokers {
        done = on(*broker, &image, &bus);
        if done.is_err() {
            done = done.with_context(|| format!("the demonstration on {}", broker.name()));
            break;
        }
    }
    let removed = output(Command::new("docker").args(["rmi", "--force", &image]));
    done.and(removed.map(drop))
}

/// Builds the two programs as the tests do, so that nothing is compiled once more; where they are.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tests = "test --quiet --no-run --workspace --all-features --test cli --test orders";
    let status = Command::new(cargo).args(tests.split(' ')).status()?;
    ensure!(status.success(), "cargo {tests}: {status}");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let directory = target.join("compose");
    std::fs::create_dir_all(&directory)?;
    for program in ["bus", "orders"] {
        std::fs::copy(target.join("debug").join(program), directory.join(program))
            .with_context(|| format!("cannot copy {program}"))?;
        // Without what only a debugger reads the image is a fifth of the size.
        let _ = Command::new("strip").arg(directory.join(program)).status();
    }
    Ok(directory)
}

/// An image of the programs that were built here; its name.
fn image(binaries: &Path) -> Result<String> {
    let name = format!("bus-orders:test-{}", std::process::id());
    let mut build = Command::new("docker");
    build.args(["build", "--quiet", "--target", "prebuilt", "--tag", &name]);
    build.args(["--build-arg", "BINARIES=.", "--file", "Dockerfile"]);
    // Whoever has to name the brokers' images has no other base either: any of them has a C library.
    let base = ["BUS_RUNTIME_IMAGE", "BUS_REDIS_IMAGE"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok());
    if let Some(base) = base {
        build
            .arg("--build-arg")
            .arg(format!("RUNTIME_IMAGE={base}"));
    }
    output(build.arg(binaries))?;
    Ok(name)
}

fn on(broker: Broker, image: &str, bus: &Path) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut variables = vec![
        ("BUS_ORDERS_IMAGE", image.to_owned()),
        (broker.port_variable(), port.to_string()),
    ];
    let mut profiles = vec!["demo"];
    if let Some(url) = broker.inside() {
        variables.push(("BUS_URL", url.to_owned()));
        profiles.push(broker.name());
    }
    println!("==> the demonstration on {}", broker.name());
    let project = Project::new(broker.name(), &profiles, variables);
    let judged = judge(&project, broker, port, bus);
    if judged.is_err() {
        project.logs();
    }
    let down = project.down();
    judged.and(down)
}

fn judge(project: &Project, broker: Broker, port: u16, bus: &Path) -> Result<()> {
    project.up()?;
    let code = project.wait("customers")?;
    ensure!(code == 0, "the check of the customers ended with {code}");
    for service in SERVICES.iter().chain([&broker.name()]) {
        project.healthy(service)?;
    }
    let url = format!("{}://localhost:{port}", broker.name());
    let bus = |arguments: &str| {
        let mut command = Command::new(bus);
        command.args(arguments.split(' ')).env("BUS_URL", &url);
        output(&mut command)
    };
    let doctor = bus("doctor --json")?;
    ensure!(doctor.contains(r#""status":"up""#), "bus doctor: {doctor}");
    groups(&bus("groups list --json")?)?;
    ensure!(
        bus("dlq list --json")?.is_empty(),
        "the check leaves no dead letter"
    );
    // A command that nobody can read is seen where it fails, and the group goes on.
    bus("pub orders.command.place { --type order.place --content-type application/json")?;
    let dead = until("one dead letter of the group order", || {
        let dead = bus("dlq list --json")?;
        Ok((dead.lines().count() == 1).then_some(dead))
    })?;
    ensure!(
        dead.contains(r#""group":"order""#) && dead.contains(r#""dead_letters":1"#),
        "bus dlq list: {dead}"
    );
    project.stop()?;
    for service in SERVICES {
        let code = project.wait(service)?;
        ensure!(
            code == 0,
            "{service} ended with {code} when it was asked to end"
        );
    }
    println!("healthy, and `bus doctor`, `bus groups list`, `bus dlq list` say so; ended clean");
    Ok(())
}

/// Each subscription of the services has one member, and nothing waits.
fn groups(listed: &str) -> Result<()> {
    for service in SERVICES {
        let group = format!(r#""group":"{service}""#);
        let mut lines = listed
            .lines()
            .filter(|line| line.contains(&group))
            .peekable();
        ensure!(lines.peek().is_some(), "no group {service}: {listed}");
        for line in lines {
            ensure!(
                line.contains(r#""members":1"#) && line.contains(r#""lag":0"#),
                "bus groups list: {line}"
            );
        }
    }
    Ok(())
}

/// Looks again until there is something, for half a minute.
fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 30 {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    bail!("{what}: not within 30 s")
}
