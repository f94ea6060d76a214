//! Who connects: SASL.

use std::fmt;
use std::time::SystemTime;

use bus_api::{BusUrl, Options, Result, Secret};
use rdkafka::ClientConfig;

use crate::error::invalid_config;

/// Who connects, by user and password.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// `sasl`: `plain`, `scram-sha-256` (default) or `scram-sha-512`.
    pub mechanism: Mechanism,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

/// How user and password are shown to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// SASL PLAIN: the broker sees the password, and without TLS everybody on the way.
    Plain,
    /// SASL SCRAM-SHA-256.
    #[default]
    Scram256,
    /// SASL SCRAM-SHA-512.
    Scram512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

/// A token for SASL OAUTHBEARER.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token as the broker gets it.
    pub text: Secret,
    /// Whom the broker is to take the client for.
    pub principal: String,
    /// The token is good until then; a new one is asked for when four fifths of the time are over.
    pub expires: SystemTime,
}

/// Where tokens for SASL OAUTHBEARER come from: the application's identity provider.
pub trait TokenSource: Send + Sync + 'static {
    /// A token that is good for a while. Called from threads of the client, once for each client of the
    /// connection and again before a token expires; it may block for a while.
    ///
    /// # Errors
    /// Whatever kept the token from being had; the client asks again after ten seconds.
    fn token(&self) -> std::result::Result<Token, Box<dyn std::error::Error + Send + Sync>>;
}

impl Login {
    /// Takes the login of the URL and option `sasl`.
    ///
    /// # Errors
    /// `InvalidConfig` for half a login.
    pub(crate) fn take(url: &BusUrl, options: &mut Options) -> Result<Option<Self>> {
        let mechanisms = [
            ("plain", Mechanism::Plain),
            ("scram-sha-256", Mechanism::Scram256),
            ("scram-sha-512", Mechanism::Scram512),
        ];
        let mechanism = options.take_choice("sasl", &mechanisms)?;
        match (url.user(), url.password()) {
            (Some(user), Some(password)) => Ok(Some(Self {
                user: user.to_owned(),
                password: password.clone(),
                mechanism: mechanism.unwrap_or_default(),
            })),
            (None, None) if mechanism.is_none() => Ok(None),
            _ => Err(invalid_config(
                "a login needs a user and a password: kafka://user:password@host:port",
            )),
        }
    }

    /// Whether the client library needs OpenSSL for it.
    pub(crate) fn wants_openssl(&self) -> bool {
        self.mechanism != Mechanism::Plain
    }

    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        client
            .set("sasl.mechanism", self.mechanism.name())
            .set("sasl.username", &self.user)
            .set("sasl.password", self.password.expose());
    }
}
