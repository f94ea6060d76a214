//! The application's tracing system, seen from the bus.

use crate::contract::TraceContext;

/// Connects the W3C trace context of messages with the application's tracing system.
///
/// The bus itself depends on `tracing` only. An application that exports its spans, for example with
/// OpenTelemetry, gives a hook to [`Connector::trace_hook`](crate::Connector::trace_hook); then what it
/// publishes carries the context of the span in which it was published, and the span of a handler
/// continues the trace of its message.
///
/// ```
/// use bus_api::{TraceContext, TraceHook};
///
/// /// With `tracing-opentelemetry`: inject `Span::current().context()`, and `set_parent`.
/// #[derive(Debug)]
/// struct Hook;
///
/// impl TraceHook for Hook {
///     fn current(&self) -> Option<TraceContext> {
///         let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
///         Some(TraceContext { traceparent, tracestate: None })
///     }
///
///     fn follow(&self, _span: &tracing::Span, _parent: &TraceContext) {}
/// }
/// ```
pub trait TraceHook: std::fmt::Debug + Send + Sync + 'static {
    /// The context of the current span; asked when `publish` or `request` is called.
    fn current(&self) -> Option<TraceContext>;

    /// Makes `span`, not yet entered, a child of `parent`: the context that a message carried.
    fn follow(&self, span: &tracing::Span, parent: &TraceContext);
}
