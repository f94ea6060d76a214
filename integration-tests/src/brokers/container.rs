//! Brokers in containers.

use std::path::Path;

use anyhow::{Context, Result};
use testcontainers_modules::kafka::apache::Kafka;
use testcontainers_modules::nats::{Nats, NatsServerCmd};
use testcontainers_modules::redis::Redis;
use testcontainers_modules::testcontainers::core::ContainerPort;
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, ImageExt};

use super::{Kind, START_TIMEOUT};

/// A broker in a container; the engine removes it when this is dropped.
#[derive(Debug)]
pub(super) struct Container {
    _running: Running,
    image: String,
    port: u16,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held so that the container lives as long")]
enum Running {
    Redis(ContainerAsync<Redis>),
    Nats(ContainerAsync<Nats>),
    Kafka(ContainerAsync<Kafka>),
}

/// The address of a container engine, when there seems to be one.
pub(super) fn engine() -> Option<String> {
    match std::env::var("DOCKER_HOST") {
        Ok(address) if !address.is_empty() => Some(address),
        _ => {
            let socket = "/var/run/docker.sock";
            std::os::unix::net::UnixStream::connect(Path::new(socket))
                .ok()
                .map(|_| socket.to_owned())
        }
    }
}

impl Container {
    pub(super) async fn start(kind: Kind) -> Result<Self> {
        let image =
            std::env::var(kind.image_variable()).unwrap_or_else(|_| kind.image().to_owned());
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let (running, port) = match kind {
            Kind::Redis => {
                let request = Redis::default()
                    .with_name(name)
                    .with_tag(tag)
                    .with_startup_timeout(START_TIMEOUT)
                    .with_cmd(["redis-server", "--appendonly", "yes"]);
                let container = request.start().await.context("redis container")?;
                let port = container.get_host_port_ipv4(6379).await?;
                (Running::Redis(container), port)
            }
            Kind::Nats => {
                let command = NatsServerCmd::default().with_jetstream();
                let request = Nats::default()
                    .with_cmd(&command)
                    .with_name(name)
                    .with_tag(tag)
                    .with_startup_timeout(START_TIMEOUT);
                let container = request.start().await.context("nats container")?;
                let port = container.get_host_port_ipv4(4222).await?;
                (Running::Nats(container), port)
            }
            Kind::Kafka => {
                let request = Kafka::default()
                    .with_jvm_image()
                    .with_name(name)
                    .with_tag(tag)
                    .with_startup_timeout(START_TIMEOUT)
                    .with_env_var("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
                    .with_env_var("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
                    .with_env_var("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1");
                let container = request.start().await.context("kafka container")?;
                let port = container
                    .get_host_port_ipv4(ContainerPort::Tcp(9092))
                    .await?;
                (Running::Kafka(container), port)
            }
        };
        Ok(Self {
            _running: running,
            image,
            port,
        })
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}
