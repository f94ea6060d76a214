//! A TCP proxy that disturbs what passes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A TCP proxy before one address. Dropping it closes every connection through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    listening: tokio::task::JoinHandle<()>,
}

/// What happens to what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Connections are closed and new ones refused while odd; every change closes the old ones.
    cuts: u64,
    /// Nothing is forwarded from client to broker, and the connection stays open.
    hold_requests: bool,
    /// Nothing is forwarded from broker to client: what was asked for happens, and nobody is told.
    hold_responses: bool,
    /// Each chunk waits this long.
    delay: Duration,
}

impl Proxy {
    /// A proxy on a free port before `target`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("no free port")?;
        let address = listener.local_addr()?;
        let (state, watching) = watch::channel(State::default());
        let listening = tokio::spawn(listen(listener, target, watching, None));
        Ok(Self {
            address,
            state,
            listening,
        })
    }

    /// A proxy before a Kafka broker. Such a broker tells its clients where to connect to, and they would pass
    /// the proxy by; so every mention of `advertised` in its answers becomes the proxy's own port. It listens on the
    /// address of the broker, which therefore is one of this machine.
    ///
    /// # Errors
    /// No port is free, or the address is another machine's.
    pub async fn before_kafka(target: SocketAddr, advertised: (&str, u16)) -> Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0))
            .await
            .context("no free port")?;
        let address = listener.local_addr()?;
        let (state, watching) = watch::channel(State::default());
        let mut mention = advertised.0.as_bytes().to_vec();
        mention.extend(u32::from(advertised.1).to_be_bytes());
        let rewrite = Rewrite {
            mention: mention.into(),
            port: address.port(),
        };
        let listening = tokio::spawn(listen(listener, target, watching, Some(rewrite)));
        Ok(Self {
            address,
            state,
            listening,
        })
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts |= 1);
    }

    /// Closes every connection once; new ones pass.
    pub fn reset(&self) {
        self.state
            .send_modify(|state| state.cuts = (state.cuts | 1) + 1);
    }

    /// Lets nothing through in either direction, while connections stay open.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| {
            state.hold_requests = true;
            state.hold_responses = true;
        });
    }

    /// Lets requests through and holds the responses: whoever asked cannot know what happened.
    pub fn hold_responses(&self) {
        self.state.send_modify(|state| state.hold_responses = true);
    }

    /// Delays every chunk in both directions.
    pub fn slow(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            *state = State {
                cuts: state.cuts + (state.cuts & 1),
                ..State::default()
            };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What is changed in the answers of a Kafka broker: addresses are a host and a port of four bytes.
#[derive(Clone, Debug)]
struct Rewrite {
    mention: Arc<[u8]>,
    port: u16,
}

impl Rewrite {
    fn apply(&self, answer: &mut [u8]) {
        let size = self.mention.len();
        let mut at = 0;
        while at + size <= answer.len() {
            if answer[at..at + size] == *self.mention {
                let port = u32::from(self.port).to_be_bytes();
                answer[at + size - port.len()..at + size].copy_from_slice(&port);
                at += size;
            } else {
                at += 1;
            }
        }
    }
}

async fn listen(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<State>,
    rewrite: Option<Rewrite>,
) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().cuts.is_multiple_of(2) {
            connections.spawn(pass(client, target, state.clone(), rewrite.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(
    client: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    rewrite: Option<Rewrite>,
) {
    let Ok(broker) = TcpStream::connect(target).await else {
        return;
    };
    // Without this the proxy itself would add the 40 ms of Nagle's algorithm.
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let cuts = state.borrow_and_update().cuts;
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let requests = forward(from_client, to_broker, state.clone(), None, |state| {
        state.hold_requests
    });
    let responses = forward(from_broker, to_client, state.clone(), rewrite, |state| {
        state.hold_responses
    });
    tokio::select! {
        () = requests => {}
        () = responses => {}
        _ = state.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    rewrite: Option<Rewrite>,
    held: impl Fn(&State) -> bool + Copy,
) {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = match &rewrite {
            None => from.read(&mut chunk).await.unwrap_or(0),
            Some(rewrite) => {
                let read = read_frame(&mut from, &mut chunk).await.unwrap_or(0);
                rewrite.apply(&mut chunk[..read]);
                read
            }
        };
        if read == 0 {
            return;
        }
        let Ok(now) = state
            .wait_for(|state| !held(state))
            .await
            .map(|state| *state)
        else {
            return;
        };
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Reads one answer of a Kafka broker, with the four bytes that say its size.
async fn read_frame(from: &mut OwnedReadHalf, frame: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut size = [0; 4];
    from.read_exact(&mut size).await?;
    let whole = size.len() + u32::from_be_bytes(size) as usize;
    if frame.len() < whole {
        frame.resize(whole, 0);
    }
    frame[..size.len()].copy_from_slice(&size);
    from.read_exact(&mut frame[size.len()..whole]).await?;
    Ok(whole)
}
