//! The one error type of the bus.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What every fallible call of the bus returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The meaning of an [`Error`]: what a program acts upon, the same on every transport.
///
/// The text names ([`as_str`](Self::as_str)) are stable: they appear in metrics, in dead letters and in
/// replies, and a later release reads them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL, a file or an option says something that cannot work.
    InvalidConfig,
    /// A topic, pattern, group or namespace breaks the grammar.
    InvalidTopic,
    /// An argument of a call is out of range.
    InvalidArgument,
    /// What the call names does not exist (any more).
    NotFound,
    /// The broker knows the caller and refuses the operation.
    PermissionDenied,
    /// The broker does not accept the credentials.
    Unauthenticated,
    /// The transport, or this release, cannot do it; see `Capabilities`.
    Unsupported,
    /// Larger than the transport's declared maximum; nothing was sent.
    TooLarge,
    /// A value could not be turned into bytes.
    Encode,
    /// Bytes could not be turned into a value.
    Decode,
    /// A bound is reached: the client's window, or a limit of the broker's log.
    Throttled,
    /// The broker cannot be reached or cannot serve at the moment.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// Nobody answers requests of this topic.
    NoResponders,
    /// The responder failed; the text is its own.
    Remote,
    /// Another member has taken over; what this one holds is no longer its own.
    Fenced,
    /// The bus, subscription or publisher was closed.
    Closed,
    /// The work was given up on purpose (shutdown, cancellation).
    Canceled,
    /// A defect of the bus or a broker's answer that makes no sense.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 19] = [
        Self::InvalidConfig,
        Self::InvalidTopic,
        Self::InvalidArgument,
        Self::NotFound,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::Unsupported,
        Self::TooLarge,
        Self::Encode,
        Self::Decode,
        Self::Throttled,
        Self::Unavailable,
        Self::Timeout,
        Self::NoResponders,
        Self::Remote,
        Self::Fenced,
        Self::Closed,
        Self::Canceled,
        Self::Internal,
    ];

    /// The stable name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidConfig => "invalid_config",
            Self::InvalidTopic => "invalid_topic",
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too_large",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::NoResponders => "no_responders",
            Self::Remote => "remote",
            Self::Fenced => "fenced",
            Self::Closed => "closed",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
        }
    }

    /// The kind with this stable name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Unavailable | Self::Timeout | Self::NoResponders
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of the bus: a [kind](ErrorKind), a sentence, the transport, context pairs and the source.
///
/// Cloning is cheap. Neither the text nor the context holds a payload or a secret; whoever builds an
/// error keeps it so.
///
/// ```
/// use bus_api::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Throttled, "the log is full; raise `retention.bytes`")
///     .transport("redis")
///     .with("topic", "orders.placed");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(),
///     "redis: throttled: the log is full; raise `retention.bytes` (topic: orders.placed)");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    transport: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    indeterminate: bool,
    retryable: Option<bool>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` with a sentence that says what was wrong and what would be right.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            transport: None,
            context: Vec::new(),
            indeterminate: false,
            retryable: None,
            retry_after: None,
            source: None,
        }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Names the transport that the error comes from.
    #[must_use]
    pub fn transport(self, name: &'static str) -> Self {
        self.edit(|inner| inner.transport = Some(name))
    }

    /// Adds a context pair, such as the topic or the group.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.edit(|inner| inner.context.push((name, value)))
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Says that the operation may have taken effect although it failed.
    #[must_use]
    pub fn indeterminate(self) -> Self {
        self.edit(|inner| inner.indeterminate = true)
    }

    /// Overrides what the kind says about retrying.
    #[must_use]
    pub fn retryable(self, retryable: bool) -> Self {
        self.edit(|inner| inner.retryable = Some(retryable))
    }

    /// Says how long the broker asks to wait.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(delay))
    }

    /// The meaning.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without kind, transport and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The transport that the error comes from, when it comes from one.
    #[must_use]
    pub fn transport_name(&self) -> Option<&'static str> {
        self.0.transport
    }

    /// The context pairs in the order in which they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .context
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(self.0.kind.is_retryable())
    }

    /// Whether a failed publish may nevertheless be stored. `false` means certainly not stored.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        self.0.indeterminate
    }

    /// How long the broker asked to wait before the next try.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The first error of type `E` in the chain of sources, such as a native client's error.
    #[must_use]
    pub fn downcast_source<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next = self.source();
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<E>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.0.transport {
            write!(f, "{transport}: ")?;
        }
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        if self.0.indeterminate {
            f.write_str(" [may have taken effect]")?;
        }
        for (index, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}: {value}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl From<std::convert::Infallible> for Error {
    /// So that what cannot fail can be given where something that can is expected.
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_that_leads_back_to_it() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(ErrorKind::from_name("no_such_kind"), None);
    }

    #[test]
    fn a_native_source_is_found_through_the_chain() {
        let inner =
            Error::new(ErrorKind::Unavailable, "down").caused_by(std::io::Error::other("refused"));
        let outer = Error::new(ErrorKind::Timeout, "gave up").caused_by(inner);
        assert!(outer.downcast_source::<std::io::Error>().is_some());
    }

    #[test]
    fn retryable_follows_the_kind_unless_overridden() {
        assert!(Error::new(ErrorKind::Unavailable, "x").is_retryable());
        assert!(
            !Error::new(ErrorKind::Unavailable, "x")
                .retryable(false)
                .is_retryable()
        );
        assert!(!Error::new(ErrorKind::Decode, "x").is_retryable());
    }
}
