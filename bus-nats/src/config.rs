//! What a connection to NATS is configured with.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use bus_api::{BusUrl, HostPort, Result, Secret, Settings};

use crate::error::{NAME, invalid_config};
use crate::tls::Tls;

/// How to connect: made of a URL, or in code.
///
/// The form is `nats://[user:password@|token@]host[:port][,host[:port]…]`, or `tls://…` for a connection that
/// is always encrypted, with options.
#[derive(Clone)]
pub struct Config {
    /// The servers; one of them is enough.
    pub hosts: Vec<HostPort>,
    /// What TLS is set up with.
    pub tls: Tls,
    /// How to log in.
    pub login: Login,
    /// `domain`: the JetStream domain, when it is not the server's own.
    pub domain: Option<String>,
    /// `replicas`: copies of each stream, when the bus creates it; default 1.
    pub replicas: u8,
    /// `storage`: where streams are kept, when the bus creates them; default file.
    pub storage: Storage,
    /// What means the same on every transport.
    pub settings: Settings,
}

/// How to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Not at all.
    #[default]
    Nobody,
    /// With user and password, from the URL.
    User(String, Secret),
    /// With a token, from the URL or option `token`.
    Token(Secret),
    /// `nkey`: with the seed of an nkey.
    Nkey(Secret),
    /// `credentials`: with a file of a JWT and its key.
    Credentials(PathBuf),
}

/// Where streams are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone when the server ends.
    Memory,
}

impl Config {
    /// The options of a URL that concern this transport alone.
    pub const KEYS: [&'static str; 10] = [
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "token",
        "nkey",
        "credentials",
        "domain",
        "replicas",
        "storage",
    ];
    const DEFAULT_PORT: u16 = 4222;

    /// Reads the URL; the common options were taken into `settings` before.
    ///
    /// # Errors
    /// `InvalidConfig` for another scheme, for parts that do not fit, and for unknown or unreadable options.
    pub fn from_url(mut url: BusUrl, settings: Settings) -> Result<Self> {
        let mut options = std::mem::take(url.options_mut());
        let scheme = match url.scheme() {
            "nats" => false,
            "tls" => true,
            _ => {
                return Err(invalid_config(
                    "the URL of a bus over NATS is nats://host:port or tls://host:port",
                ));
            }
        };
        let tls = Tls::take(&mut options, scheme)?;
        let login = login(
            &url,
            options.take("token"),
            options.take("nkey"),
            options.take_path("credentials"),
        )?;
        let domain = options.take("domain");
        if domain.as_deref().is_some_and(|domain| !is_token(domain)) {
            return Err(invalid_config("option `domain` is one token of a subject"));
        }
        let replicas = options
            .take_parsed("replicas", "1, 3 or 5 copies")?
            .unwrap_or(1);
        if !(1..=5).contains(&replicas) {
            return Err(invalid_config("option `replicas` is 1 to 5"));
        }
        let storages = [("file", Storage::File), ("memory", Storage::Memory)];
        let storage = options.take_choice("storage", &storages)?;
        options.finish(&bus_api::Connector::keys(&Self::KEYS))?;
        if url.hosts().is_empty() || !url.path().is_empty() {
            return Err(invalid_config(
                "the URL of a bus over NATS names hosts and no path: nats://host:port",
            ));
        }
        Ok(Self {
            hosts: url.hosts().to_vec(),
            tls,
            login,
            domain,
            replicas,
            storage: storage.unwrap_or_default(),
            settings,
        })
    }

    /// The addresses as the client library takes them.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>> {
        self.hosts
            .iter()
            .map(|host| {
                let address = HostPort {
                    port: host.port.or(Some(Self::DEFAULT_PORT)),
                    ..host.clone()
                };
                format!("nats://{address}")
                    .parse()
                    .map_err(|_| invalid_config("a host of the URL is no name or address"))
            })
            .collect()
    }

    /// What the client library needs, but for what happens to the connection.
    ///
    /// # Errors
    /// `InvalidConfig` when a file cannot be read.
    pub(crate) async fn connect_options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .name(&*self.settings.source)
            .ping_interval(Duration::from_secs(5))
            // They consist of names that were checked.
            .skip_subject_validation(true)
            .connection_timeout(
                self.settings
                    .connect_timeout
                    .clamp(Duration::from_millis(100), Duration::from_secs(5)),
            )
            .reconnect_delay_callback(|attempts| {
                if attempts <= 1 {
                    return Duration::ZERO;
                }
                let base = 20_u64 << attempts.min(6);
                Duration::from_millis(base.min(1_000) * fastrand::u64(50..=100) / 100)
            });
        options = self.tls.apply(options)?;
        Ok(match &self.login {
            Login::Nobody => options,
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Login::Token(token) => options.token(token.expose().to_owned()),
            Login::Nkey(seed) => options.nkey(seed.expose().to_owned()),
            Login::Credentials(file) => options.credentials_file(file).await.map_err(|failed| {
                invalid_config(
                    "the file of option `credentials` cannot be read, or holds no JWT with its key",
                )
                .with("file", file.display())
                .with("why", failed.kind())
            })?,
        })
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte))
}

fn login(
    url: &BusUrl,
    token: Option<String>,
    nkey: Option<String>,
    credentials: Option<PathBuf>,
) -> Result<Login> {
    let in_url = match (url.user(), url.password()) {
        (None, None) => None,
        (Some(user), Some(password)) => Some(Login::User(user.to_owned(), password.clone())),
        (Some(token), None) => Some(Login::Token(Secret::new(token))),
        (None, Some(_)) => return Err(invalid_config("the URL has a password and no user")),
    };
    let ways = [
        in_url,
        token.map(|token| Login::Token(Secret::new(token))),
        nkey.map(|seed| Login::Nkey(Secret::new(seed))),
        credentials.map(Login::Credentials),
    ];
    let mut given = ways.into_iter().flatten();
    let login = given.next().unwrap_or_default();
    if given.next().is_some() {
        return Err(invalid_config(
            "one way to log in is enough: user and password, `token`, `nkey` or `credentials`",
        ));
    }
    Ok(login)
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(NAME)
            .field("hosts", &self.hosts)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bus_api::ErrorKind;

    use super::*;

    fn read(url: &str) -> Result<Config> {
        let mut url: BusUrl = url.parse()?;
        let settings = Settings::take(url.options_mut())?;
        Config::from_url(url, settings)
    }

    #[test]
    fn a_url_says_where_and_what() {
        let config = read("nats://u:p@a,b:4333?domain=hub&replicas=3&namespace=x").unwrap();
        assert_eq!(config.hosts.len(), 2);
        assert_eq!(config.login, Login::User("u".into(), Secret::new("p")));
        assert_eq!(
            (config.domain.as_deref(), config.replicas),
            (Some("hub"), 3)
        );
        assert_eq!(config.addresses().unwrap()[0].port(), 4222);
        assert!(!format!("{config:?}").contains("\"p\""));
        let config = read("tls://secret@a").unwrap();
        assert_eq!(config.login, Login::Token(Secret::new("secret")));
        assert!(config.tls.required);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for url in [
            "memory://",
            "nats://",
            "nats://a/path",
            "nats://a?replicas=9",
            "nats://a?storage=paper",
            "nats://a?tls_cert=x",
            "nats://u:p@a?token=t",
            "nats://a?domain=a.b",
            "tls://a?tls=false",
            "nats://a?replica=1",
        ] {
            assert_eq!(
                read(url).unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{url}"
            );
        }
        let error = read("nats://a?replica=1").unwrap_err().to_string();
        assert!(error.contains("`replicas`"), "{error}");
    }
}
