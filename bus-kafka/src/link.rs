//! What every client of the client library tells, and is asked, beside its work.

use std::sync::{Arc, Mutex, PoisonError};

use bus_api::Error;
use bus_api::adapter::Life;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::from_client;
use crate::login::TokenSource;

/// What the clients of a connection have in common.
#[derive(Clone, Default)]
pub(crate) struct Link {
    pub(crate) life: Arc<Life>,
    tokens: Option<Arc<dyn TokenSource>>,
    /// Why the brokers refuse this connection.
    refused: Arc<Mutex<Option<Error>>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(tokens: Option<Arc<dyn TokenSource>>) -> Self {
        Self {
            tokens,
            ..Self::default()
        }
    }

    /// Why the brokers refuse this connection, when they do.
    pub(crate) fn refused(&self) -> Option<Error> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Whether a handshake failed for a certificate: a broker that ends in the middle of one fails it, too.
fn is_about_certificates(code: RDKafkaErrorCode, reason: &str) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::SSL | RDKafkaErrorCode::BrokerTransportFailure
    ) && reason.contains("certificate")
}

impl ClientContext for Link {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{text}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, native: KafkaError, reason: &str) {
        tracing::debug!(error = %native, reason, "the Kafka client reports an error");
        let Some(code) = native.rdkafka_error_code() else {
            return;
        };
        let refused = match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                from_client(&native)
            }
            _ if is_about_certificates(code, reason) => {
                from_client(&KafkaError::Global(RDKafkaErrorCode::SSL))
            }
            RDKafkaErrorCode::AllBrokersDown => {
                self.life.lost();
                return;
            }
            _ => return,
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    fn generate_oauth_token(
        &self,
        _configuration: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self
            .tokens
            .as_ref()
            .ok_or("a login by token needs `Config::tokens`")?;
        let token = tokens.token().map_err(|failed| failed.to_string())?;
        Ok(OAuthToken {
            lifetime_ms: i64::try_from(crate::registry::millis(token.expires))?,
            principal_name: token.principal,
            token: token.text.expose().to_owned(),
        })
    }
}

/// For consumers outside of groups.
impl ConsumerContext for Link {}

/// A context that does as its field `link` does, beside what is its own.
macro_rules! as_link {
    ($context:ty) => {
        impl rdkafka::client::ClientContext for $context {
            const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
                self.link.log(level, facility, text);
            }

            fn stats_raw(&self, _statistics: &[u8]) {}

            fn error(&self, native: rdkafka::error::KafkaError, reason: &str) {
                self.link.error(native, reason);
            }

            fn generate_oauth_token(
                &self,
                configuration: Option<&str>,
            ) -> Result<rdkafka::client::OAuthToken, Box<dyn std::error::Error>> {
                self.link.generate_oauth_token(configuration)
            }
        }
    };
}

pub(crate) use as_link;

#[cfg(test)]
mod tests {
    use bus_api::ErrorKind;

    use super::*;

    #[test]
    fn only_what_is_refused_for_good_counts_as_refused() {
        let link = Link::default();
        let fails = |code, reason: &str| link.error(KafkaError::Global(code), reason);
        fails(RDKafkaErrorCode::SSL, "SSL handshake failed: disconnected");
        fails(RDKafkaErrorCode::BrokerTransportFailure, "Connection reset");
        assert!(link.refused().is_none());
        for (code, reason) in [
            (RDKafkaErrorCode::SSL, "certificate verify failed"),
            (
                RDKafkaErrorCode::BrokerTransportFailure,
                "sslv3 alert bad certificate",
            ),
            (RDKafkaErrorCode::Authentication, ""),
        ] {
            let link = Link::default();
            link.error(KafkaError::Global(code), reason);
            let refused = link.refused().map(|error| error.kind());
            assert_eq!(refused, Some(ErrorKind::Unauthenticated), "{code:?}");
        }
    }
}
