//! The way to the server: asked anew for every connection, because sentinels may name another one.

use std::time::Duration;

use bus_api::{Error, ErrorKind, Result};
use redis::aio::{MultiplexedConnection, PubSub, PubSubSink};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind as Native, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};

use crate::address::{Address, Sentinels};
use crate::config::Config;
use crate::error::{error, from_client, invalid_config, is_final, unavailable};
use crate::value::Take;

/// The way to the server.
pub(crate) struct Endpoint {
    address: Address,
    tls: Option<TlsCertificates>,
    login: RedisConnectionInfo,
    /// How long one try to connect may take.
    patience: Duration,
}

/// How long a sign of life may take.
const PING: Duration = Duration::from_secs(5);

/// Checks that a connection that only listens still leads somewhere: silence alone says nothing.
///
/// # Errors
/// `Unavailable` when the server does not answer.
pub(crate) async fn check(sink: &mut PubSubSink) -> Result<()> {
    match tokio::time::timeout(PING, sink.ping::<Value>()).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(unavailable()),
    }
}

/// What is listened to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channel<'a> {
    Exact(&'a str),
    Pattern(&'a str),
}

impl Endpoint {
    /// Reads the files that TLS needs; asks nobody.
    ///
    /// # Errors
    /// `InvalidConfig` for what cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let mut login = RedisConnectionInfo::default().set_db(i64::from(config.database));
        if let Some(user) = &config.user {
            login = login.set_username(user);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.expose());
        }
        let endpoint = Self {
            address: config.address.clone(),
            tls: config.tls.as_ref().map(crate::tls::load).transpose()?,
            login,
            patience: config
                .settings
                .connect_timeout
                .max(Duration::from_millis(100)),
        };
        if let Some(client) = endpoint.fixed() {
            client?;
        }
        Ok(endpoint)
    }

    /// How long one try to connect may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// A connection for commands that may take `answer_timeout` each.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(crate) async fn connect(&self, answer_timeout: Duration) -> Result<MultiplexedConnection> {
        let client = self.client().await?;
        self.open(&client, answer_timeout).await
    }

    /// A connection that listens to a channel, or to all channels that match a pattern.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(crate) async fn listen(&self, channel: Channel<'_>) -> Result<PubSub> {
        let listening = async {
            let client = self.client().await?;
            let subscribed = async {
                let mut connection = client.get_async_pubsub().await?;
                match channel {
                    Channel::Exact(name) => connection.subscribe(name).await?,
                    Channel::Pattern(pattern) => connection.psubscribe(pattern).await?,
                }
                Ok(connection)
            };
            subscribed
                .await
                .map_err(|native: RedisError| from_client(&native))
        };
        tokio::time::timeout(self.patience, listening)
            .await
            .map_err(|_| unavailable())?
    }

    async fn open(
        &self,
        client: &Client,
        answer_timeout: Duration,
    ) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(answer_timeout));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|native| refused(&native))
    }

    /// The client of an address that does not change; `None` when sentinels are to be asked.
    fn fixed(&self) -> Option<Result<Client>> {
        let address = match &self.address {
            Address::Tcp(host, port) => self.tcp(host, *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Address::Sentinel(_) => return None,
        };
        Some(self.build(address, self.login.clone()))
    }

    async fn client(&self) -> Result<Client> {
        match (&self.address, self.fixed()) {
            (_, Some(client)) => client,
            (Address::Sentinel(sentinels), None) => self.primary(sentinels).await,
            (_, None) => Err(unavailable()),
        }
    }

    fn tcp(&self, host: &str, port: u16) -> ConnectionAddr {
        match &self.tls {
            None => ConnectionAddr::Tcp(host.to_owned(), port),
            Some(_) => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: false,
                tls_params: None,
            },
        }
    }

    fn build(&self, address: ConnectionAddr, login: RedisConnectionInfo) -> Result<Client> {
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let client = address.into_connection_info().and_then(|info| {
            let info = info.set_tcp_settings(tcp).set_redis_settings(login);
            match &self.tls {
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
                None => Client::open(info),
            }
        });
        client.map_err(|native| from_client(&native))
    }

    /// Asks one sentinel after the other for the primary.
    async fn primary(&self, sentinels: &Sentinels) -> Result<Client> {
        let mut failed = unavailable();
        let each = self.patience / u32::try_from(sentinels.hosts.len()).unwrap_or(1).max(1);
        for (host, port) in &sentinels.hosts {
            let asking = self.ask(sentinels, host, *port);
            match tokio::time::timeout(each, asking).await {
                Ok(Ok(client)) => return Ok(client),
                // The credentials of all sentinels are the same.
                Ok(Err(error)) if is_final(&error) => return Err(error),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = unavailable(),
            }
        }
        Err(failed)
    }

    async fn ask(&self, sentinels: &Sentinels, host: &str, port: u16) -> Result<Client> {
        const WHAT: &str = "asking a sentinel for the primary";
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = &sentinels.user {
            login = login.set_username(user);
        }
        if let Some(password) = &sentinels.password {
            login = login.set_password(password.expose());
        }
        let client = self.build(self.tcp(host, port), login)?;
        let mut sentinel = self.open(&client, self.patience).await?;
        let answer: Value = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(&sentinels.master)
            .query_async(&mut sentinel)
            .await
            .map_err(|native| from_client(&native))?;
        let mut parts = answer.array(WHAT)?.into_iter();
        let (Some(host), Some(port)) = (parts.next(), parts.next()) else {
            return Err(error(
                ErrorKind::Unavailable,
                "the sentinels do not know a primary of this name",
            )
            .with("master", &sentinels.master));
        };
        let port = u16::try_from(port.int(WHAT)?).unwrap_or_default();
        self.build(self.tcp(&host.text(WHAT)?, port), self.login.clone())
    }
}

/// Why the greeting of a connection failed.
fn refused(native: &RedisError) -> Error {
    match native.kind() {
        // All that it may refuse there without a code of its own.
        Native::Server(ServerErrorKind::ResponseError) => {
            invalid_config("the server has no database of this number")
        }
        Native::InvalidClientConfig => {
            invalid_config("`tls_cert` and `tls_key` do not belong together")
        }
        _ => from_client(native),
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
