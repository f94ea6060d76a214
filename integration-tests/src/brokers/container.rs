//! Brokers in containers: killed, paused and restarted at will, on the same port and data.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::{ContainerPort, client::docker_client_instance};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::runtime::{Builder, Runtime};

use super::local::kafka_settings;
use super::{Kind, START_TIMEOUT, Setup, ports, probe};

/// Everything that concerns the engine happens on this runtime: containers and the engine's client outlive
/// the runtime of the test that asked first, and are removed from wherever they are dropped.
static ENGINE: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("container-engine")
        .enable_all()
        .build()
});

/// The containers that run for this process, by the engine's names.
static RUNNING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The memory of a Kafka in a container: with less for what lives shortly it is cleared many times a second.
const HEAP: &str = "-Xms512m -Xmx512m -Xmn256m";
/// How long an image may take to arrive.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);

/// A broker in a container; the engine removes it when this is dropped, and on Ctrl-C.
#[derive(Debug)]
pub(super) struct Container {
    kind: Kind,
    engine: String,
    image: String,
    host: String,
    port: u16,
    /// Only without while it is being removed.
    running: Option<ContainerAsync<GenericImage>>,
}

/// The address of a container engine, when there seems to be one.
pub(super) fn engine() -> Option<String> {
    match std::env::var("DOCKER_HOST") {
        Ok(address) if !address.is_empty() => Some(address),
        _ => {
            let socket = "/var/run/docker.sock";
            std::os::unix::net::UnixStream::connect(socket)
                .ok()
                .map(|_| socket.to_owned())
        }
    }
}

impl Container {
    pub(super) async fn start(kind: Kind, engine: String, setup: &Setup) -> Result<Self> {
        let image =
            std::env::var(kind.image_variable()).unwrap_or_else(|_| kind.image().to_owned());
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        // An engine gives a container another port at every start unless it is told which.
        let port = ports::free()?;
        let mut near = on_engine(async { Ok(bridge().await) }).await?;
        let request = match kind {
            Kind::Redis => redis(name, tag, setup),
            Kind::Nats => nats(name, tag, setup),
            Kind::Kafka => {
                // It has to know before it starts where its clients shall go, wherever they have asked first.
                let near = near.get_or_insert(Ipv4Addr::LOCALHOST);
                kafka(name, tag, setup, *near, port)
            }
        };
        let request = request
            .with_mapped_port(port, kind_port(kind))
            .with_startup_timeout(PULL_TIMEOUT);
        let (running, host) = on_engine(async move {
            let running = request.start().await?;
            let host = running.get_host().await?.to_string();
            // The name has two addresses, and clients differ in which they try first.
            Ok((running, host.replace("localhost", "127.0.0.1")))
        })
        .await
        .with_context(|| {
            format!(
                "{image} does not start; another can be named by {}",
                kind.image_variable()
            )
        })?;
        register(|names| names.insert(running.id().to_owned()));
        let host = near.map_or(host, |near| near.to_string());
        let container = Self {
            kind,
            engine,
            image,
            host,
            port,
            running: Some(running),
        };
        container.wait_until_ready().await?;
        Ok(container)
    }

    pub(super) fn why(&self) -> String {
        let (engine, image) = (&self.engine, &self.image);
        format!("the container engine at {engine} runs {image}")
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) async fn kill(&self) -> Result<()> {
        let id = self.running()?.id().to_owned();
        on_engine(async move {
            let options = KillContainerOptionsBuilder::new().signal("KILL").build();
            let engine = docker_client_instance().await?;
            engine.kill_container(&id, Some(options)).await?;
            Ok(())
        })
        .await?;
        let running = self.running()?;
        // The engine notices a little later.
        while running.is_running().await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) async fn restart(&self) -> Result<()> {
        self.running()?.start().await?;
        self.wait_until_ready().await
    }

    pub(super) async fn pause(&self) -> Result<()> {
        Ok(self.running()?.pause().await?)
    }

    pub(super) async fn resume(&self) -> Result<()> {
        Ok(self.running()?.unpause().await?)
    }

    fn running(&self) -> Result<&ContainerAsync<GenericImage>> {
        self.running
            .as_ref()
            .ok_or_else(|| anyhow!("the container of {} is being removed", self.kind))
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        if probe::answers_by(self.kind, &self.address(), deadline, || false).await {
            return Ok(());
        }
        let running = self.running()?;
        let mut log = running.stdout_to_vec().await.unwrap_or_default();
        log.extend(running.stderr_to_vec().await.unwrap_or_default());
        bail!(
            "{} does not answer after {START_TIMEOUT:?}:\n{}",
            self.image,
            super::tail(&log)
        )
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (Some(running), Ok(engine)) = (self.running.take(), ENGINE.as_ref()) else {
            return;
        };
        register(|names| names.remove(running.id()));
        let (removed, waiting) = std::sync::mpsc::channel();
        engine.spawn(async move {
            drop(running);
            let _ = removed.send(());
        });
        // The process may end next, and the container has to be gone by then.
        let _ = waiting.recv();
    }
}

/// Removes the containers whose owners have not been dropped, because a thread that hangs has them.
pub(super) async fn remove_all() -> Result<()> {
    let mut names = BTreeSet::new();
    register(|running| std::mem::swap(running, &mut names));
    if names.is_empty() {
        return Ok(());
    }
    on_engine(async move {
        let engine = docker_client_instance().await?;
        for name in names {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
            engine
                .remove_container(&name, Some(options.build()))
                .await?;
        }
        Ok(())
    })
    .await
}

fn register<T>(change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
    change(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// This machine's address on the engine's bridge, where the engine runs on this machine: the kernel passes on what
/// comes to a port there, and a process of the engine copies what comes to 127.0.0.1.
async fn bridge() -> Option<Ipv4Addr> {
    let engine = docker_client_instance().await.ok()?;
    let network = engine.inspect_network("bridge", None).await.ok()?;
    let mut ranges = network.ipam?.config?.into_iter();
    let address = ranges.find_map(|range| range.gateway?.parse::<Ipv4Addr>().ok())?;
    // Only an address of this machine can be listened on.
    TcpListener::bind((address, 0)).is_ok().then_some(address)
}

async fn on_engine<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let engine = ENGINE
        .as_ref()
        .map_err(|error| anyhow!("no runtime for the container engine: {error}"))?;
    engine.spawn(work).await?
}

/// The port that it listens on in its container.
fn kind_port(kind: Kind) -> ContainerPort {
    ContainerPort::Tcp(match kind {
        Kind::Redis => 6379,
        Kind::Nats => 4222,
        Kind::Kafka => 9092,
    })
}

fn redis(name: &str, tag: &str, setup: &Setup) -> ContainerRequest<GenericImage> {
    let fsync = if setup.sync_always {
        "always"
    } else {
        "everysec"
    };
    let mut command = [
        "redis-server",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
    ]
    .map(str::to_owned)
    .to_vec();
    command.push(fsync.to_owned());
    for line in &setup.extra {
        command.extend(format!("--{line}").split(' ').map(str::to_owned));
    }
    GenericImage::new(name, tag).with_cmd(command)
}

fn nats(name: &str, tag: &str, setup: &Setup) -> ContainerRequest<GenericImage> {
    const CONFIGURATION: &str = "/bus/nats.conf";
    let text = super::local::nats_configuration("0.0.0.0:4222", "/bus/data", setup);
    GenericImage::new(name, tag)
        .with_copy_to(CONFIGURATION, text.into_bytes())
        .with_cmd(["--config", CONFIGURATION])
}

/// The image turns variables into settings: `KAFKA_SOME_KEY=v` is `some.key=v`.
fn kafka(
    name: &str,
    tag: &str,
    setup: &Setup,
    host: Ipv4Addr,
    port: u16,
) -> ContainerRequest<GenericImage> {
    let own = [
        "process.roles=broker,controller",
        "node.id=1",
        "controller.quorum.voters=1@localhost:9094",
        "listeners=PLAINTEXT://0.0.0.0:9092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
        "inter.broker.listener.name=BROKER",
        "controller.listener.names=CONTROLLER",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    ];
    let advertised =
        format!("advertised.listeners=PLAINTEXT://{host}:{port},BROKER://localhost:9093");
    let lines = own.map(str::to_owned).into_iter().chain([advertised]);
    let mut request = ContainerRequest::from(GenericImage::new(name, tag));
    for line in lines.chain(kafka_settings(setup)) {
        if let Some((key, value)) = line.split_once('=') {
            let variable = format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
            request = request.with_env_var(variable, value);
        }
    }
    request.with_env_var("KAFKA_HEAP_OPTS", HEAP)
}
