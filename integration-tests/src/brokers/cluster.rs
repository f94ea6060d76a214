//! Servers that belong together, each a local process with a proxy before it.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::local::{Local, Ports};
use super::{Broker, Kind, Proxy, Setup, Source, ports};

/// How long servers may take to elect a leader. A server waits 4 to 9 s before it stands for election
/// (`minElectionTimeout` and `maxElectionTimeout` in `server/raft.go` of NATS), and an election may be in vain.
const ELECTION: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_millis(20);

/// One or more servers that belong together, as local processes, each with a proxy before it.
#[derive(Debug)]
pub struct Cluster {
    kind: Kind,
    nodes: Vec<Node>,
}

/// A server of a cluster.
#[derive(Debug)]
struct Node {
    broker: Broker,
    proxy: Proxy,
    /// Where it tells about itself, if it does.
    monitor: u16,
}

/// The ports of a server to be.
struct Place {
    ports: Ports,
    /// Where what comes through the proxy arrives.
    entrance: u16,
    monitor: u16,
    proxy: Proxy,
}

impl Cluster {
    /// Starts `size` servers with everything stored on most of them: three copies, two to confirm.
    ///
    /// # Errors
    /// A server does not start, or this broker knows no clusters of this size.
    pub async fn start(kind: Kind, size: usize, setup: &Setup) -> Result<Self> {
        if kind == Kind::Redis && size > 1 {
            bail!("clusters of redis are not tested here");
        }
        let mut places = Vec::with_capacity(size);
        for _ in 0..size {
            let main = ports::free()?;
            let entrance = if kind == Kind::Kafka {
                ports::free()?
            } else {
                main
            };
            places.push(Place {
                ports: Ports {
                    main,
                    side: ports::free()?,
                },
                entrance,
                monitor: ports::free()?,
                proxy: Proxy::start(SocketAddr::from(([127, 0, 0, 1], entrance))).await?,
            });
        }
        // A server that is one of several may answer only when the others do.
        let starting = (0..size).map(|index| {
            let mut setup = setup.clone();
            setup.extra.extend(match kind {
                Kind::Redis => Vec::new(),
                Kind::Nats => nats(&places, index),
                Kind::Kafka => kafka(&places, index),
            });
            let ports = places[index].ports;
            tokio::spawn(async move { Local::start_at(kind, setup, ports).await })
        });
        let starting: Vec<_> = starting.collect();
        let mut nodes = Vec::with_capacity(size);
        for (started, place) in starting.into_iter().zip(places) {
            let local = started.await??;
            nodes.push(Node {
                broker: Broker::of(kind, Source::Local(local)),
                proxy: place.proxy,
                monitor: place.monitor,
            });
        }
        let cluster = Self { kind, nodes };
        cluster.led().await?;
        Ok(cluster)
    }

    /// Waits until all servers know who leads them: a server answers pings before, and nothing else.
    async fn led(&self) -> Result<()> {
        if self.kind != Kind::Nats || self.nodes.len() < 2 {
            return Ok(());
        }
        let elected = async {
            for node in &self.nodes {
                while !ask(node.monitor, "/jsz")
                    .await
                    .is_ok_and(|told| is_led(&told))
                {
                    sleep(BETWEEN).await;
                }
            }
        };
        timeout(ELECTION, elected)
            .await
            .context("the servers of the cluster elected no leader")
    }

    /// Which broker it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many servers there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The URL that leads straight to the servers.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses = self.nodes.iter().map(|node| node.broker.address());
        self.kind.url(&addresses.collect::<Vec<_>>().join(","))
    }

    /// The URL that leads through the proxies.
    #[must_use]
    pub fn proxied_url(&self) -> String {
        let addresses = self
            .nodes
            .iter()
            .map(|node| node.proxy.address().to_string());
        self.kind.url(&addresses.collect::<Vec<_>>().join(","))
    }

    /// The proxies, one before each server.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.nodes.iter().map(|node| &node.proxy)
    }

    /// One of the servers.
    #[must_use]
    pub fn node(&mut self, index: usize) -> Option<&mut Broker> {
        self.nodes.get_mut(index).map(|node| &mut node.broker)
    }

    /// All of the servers.
    pub fn brokers(&mut self) -> impl Iterator<Item = &mut Broker> {
        self.nodes.iter_mut().map(|node| &mut node.broker)
    }

    /// Which server leads the fullest log, if this broker has leaders and they can be asked for.
    ///
    /// # Errors
    /// No server answers.
    pub async fn leader(&self) -> Result<Option<usize>> {
        if self.kind != Kind::Nats || self.nodes.len() < 2 {
            return Ok(None);
        }
        let mut fullest: Option<(u64, usize)> = None;
        let mut answered = false;
        for node in &self.nodes {
            let Ok(told) = ask(node.monitor, "/jsz?streams=true").await else {
                continue;
            };
            answered = true;
            for (messages, leader) in streams(&told) {
                let index = (0..self.nodes.len()).find(|index| name(*index) == leader);
                if let Some(index) = index
                    && fullest.is_none_or(|(most, _)| messages > most)
                {
                    fullest = Some((messages, index));
                }
            }
        }
        if !answered {
            bail!("no server of the cluster tells who leads");
        }
        Ok(fullest.map(|(_, index)| index))
    }
}

/// What a server is called in its cluster.
fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

fn nats(places: &[Place], index: usize) -> Vec<String> {
    let place = &places[index];
    let mut lines = vec![format!("http: \"127.0.0.1:{}\"", place.monitor)];
    if places.len() > 1 {
        let routes = places
            .iter()
            .map(|place| format!("\"nats://127.0.0.1:{}\"", place.ports.side))
            .collect::<Vec<_>>()
            .join(", ");
        lines.push(format!("server_name: {}", name(index)));
        // A client that is told of the servers' own addresses would go round the proxies.
        lines.push(format!(
            "cluster {{ name: bus, listen: \"127.0.0.1:{}\", no_advertise: true, routes: [{routes}] }}",
            place.ports.side
        ));
    }
    lines
}

fn kafka(places: &[Place], index: usize) -> Vec<String> {
    let place = &places[index];
    let (main, side, entrance) = (place.ports.main, place.ports.side, place.entrance);
    let proxy = place.proxy.address();
    let voters = (1..)
        .zip(places)
        .map(|(id, place)| format!("{id}@127.0.0.1:{}", place.ports.side))
        .collect::<Vec<_>>()
        .join(",");
    let (copies, confirming) = (places.len().min(3), places.len().min(2));
    vec![
        format!("node.id={}", index + 1),
        format!("controller.quorum.voters={voters}"),
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{main},PROXIED://127.0.0.1:{entrance},\
             CONTROLLER://127.0.0.1:{side}"
        ),
        // A client is sent to the address of the way that it came.
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{main},PROXIED://{proxy}"),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
            .to_owned(),
        format!("default.replication.factor={copies}"),
        format!("min.insync.replicas={confirming}"),
        format!("offsets.topic.replication.factor={copies}"),
        format!("transaction.state.log.replication.factor={copies}"),
        format!("transaction.state.log.min.isr={confirming}"),
    ]
}

/// Whether a server knows who leads the cluster, by what it told.
fn is_led(told: &Value) -> bool {
    let leader = told["meta_cluster"]["leader"].as_str();
    leader.is_some_and(|leader| !leader.is_empty())
}

/// The messages and the leader's name of every stream in what a server told.
fn streams(told: &Value) -> Vec<(u64, &str)> {
    told["account_details"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|account| account["stream_detail"].as_array().into_iter().flatten())
        .filter_map(|stream| {
            let messages = stream["state"]["messages"].as_u64()?;
            Some((messages, stream["cluster"]["leader"].as_str()?))
        })
        .collect()
}

/// Asks the monitoring port of a server.
async fn ask(port: u16, path: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let body = body.ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
    serde_json::from_str(body).context("what the server tells about itself")
}
