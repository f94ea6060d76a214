//! The macros of `bus`. Use them through the facade: `use bus::prelude::*` or `bus::Event`.

mod attributes;
mod case;
mod expand;
mod grammar;
mod handler;
mod payload;
mod template;
mod values;

use proc_macro::TokenStream;

/// Makes a type an event: says its type, its topic and its key.
///
/// ```
/// # use bus_derive::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Debug, Serialize, Deserialize, Event)]
/// # #[event(crate = "bus_api")]
/// #[event(type = "order.placed", topic = "orders.placed", key = "id")]
/// struct OrderPlaced { id: u64, total: u64 }
/// # use bus_api::Event as _;
/// # assert_eq!(OrderPlaced { id: 7, total: 1 }.key().unwrap(), "7");
/// ```
///
/// # Attributes of a struct
///
/// | attribute | meaning |
/// |---|---|
/// | `type = ".."` | The type of event, written out, so that renaming the Rust type changes nothing. `{T}` stands for the `EventName` of a type parameter. |
/// | `alias = ".."` | An old type that is still read; as many as there were. |
/// | `version = 2` | The version of the payload: the published type becomes `order.placed.v2`. The old type is an alias only if you say so. |
/// | `topic = ".."` | Where it is published; see below. |
/// | `pattern = ".."` | What a worker subscribes to for this event; follows from the topic when it is not given. |
/// | `key = ".."` | The field that orders events of a topic, such as `id` or `repository.full_name`. An `Option` that is `None`, on any level, means no key. Byte strings (`Bytes`, `Vec<u8>`, `[u8; N]`) are taken as they are, everything else by its `Display`. |
/// | `subject = ".."` | CloudEvents `subject`, with placeholders like a topic; when an optional one is missing there is no subject. |
/// | `dataschema = ".."` | CloudEvents `dataschema`: the URI of the payload's schema. |
/// | `crate = ".."` | The path of the crate `bus`, when it has another name. |
///
/// # Topics with placeholders
///
/// ```
/// # use bus_api::{Event as _, ErrorKind};
/// # use bus_derive::Event;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Event)]
/// # #[event(crate = "bus_api")]
/// #[event(type = "github.webhook", topic = "github.{event}.{action?}")]
/// struct Webhook { event: String, action: Option<String> }
///
/// let push = Webhook { event: "push".into(), action: None };
/// assert_eq!(push.topic()?.as_str(), "github.push");
///
/// let opened = Webhook { event: "issues".into(), action: Some("opened".into()) };
/// assert_eq!(opened.topic()?.as_str(), "github.issues.opened");
///
/// let wrong = Webhook { event: "no token".into(), action: None };
/// assert_eq!(wrong.topic().unwrap_err().kind(), ErrorKind::InvalidTopic);
///
/// assert_eq!(Webhook::types()?[0].pattern.as_str(), "github.>");
/// # Ok::<(), bus_api::Error>(())
/// ```
///
/// `{field}` and `{field.of.a.field}` put a value in; it must be (part of) a token, or `topic()` is an
/// `InvalidTopic` that names the field. `{field?}` is a whole token that is dropped when the value is
/// missing. `{T}` is the `EventName` of a type parameter.
///
/// The pattern replaces a value by `*`. From the first token that may be missing on it is `>`, and because
/// `>` stands for at least one token, it takes the place of the token before when nothing certain follows. A
/// pattern that would be `>` alone has to be written out with `pattern`.
///
/// # Enums
///
/// An enum has one type per variant. The payload on the wire is the variant's own, in every codec: nobody
/// who reads it can tell that it was an enum.
///
/// ```
/// # use bus_api::Event as _;
/// # use bus_derive::Event;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(crate = "bus_api")]
/// # #[event(type = "order.placed", topic = "orders.placed", key = "id")]
/// # struct OrderPlaced { id: u64, total: u64 }
/// #[derive(Event)]
/// # #[event(crate = "bus_api")]
/// enum OrderEvent {
///     #[event(type = "order.placed")]
///     Placed(OrderPlaced),
///     #[event(type = "order.cancelled", topic = "orders.cancelled", key = "id")]
///     Cancelled { id: u64 },
/// }
///
/// let codecs = bus_api::Codecs::default();
/// let cancelled = OrderEvent::Cancelled { id: 7 };
/// assert_eq!(cancelled.event_type(), "order.cancelled");
/// assert_eq!(cancelled.encode(codecs.default_codec().as_ref())?, r#"{"id":7}"#);
/// # Ok::<(), bus_api::Error>(())
/// ```
///
/// The attributes stand on the variants; `topic`, `pattern`, `key`, `subject` and `dataschema` on the enum are
/// what a variant has that does not say it. A variant around one value that is an event itself takes over
/// what is said nowhere, also the type. In the placeholders of such a variant `{id}` is a field of the value
/// inside; `{0}` is the value itself. `#[serde(..)]` on the fields of a variant, and `rename_all` on it, keep
/// their meaning.
///
/// # Generic events
///
/// ```
/// # use std::borrow::Cow;
/// # use bus_api::{Event as _, EventName};
/// # use bus_derive::Event;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Event)]
/// # #[event(crate = "bus_api")]
/// #[event(type = "changed.{T}", topic = "changed.{T}")]
/// struct Changed<T> { now: T }
///
/// #[derive(Serialize, Deserialize)]
/// struct Customer { name: String }
///
/// impl EventName for Customer {
///     fn event_name() -> Cow<'static, str> { "customer".into() }
/// }
///
/// let changed = Changed { now: Customer { name: "a".into() } };
/// assert_eq!(changed.event_type(), "changed.customer");
/// ```
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::event(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Checks a handler where it is written, and changes nothing.
///
/// Without it a wrong handler is reported where a worker takes it, as a trait that is not implemented. With it
/// the error is about the one argument, the return type or the `.await` that is wrong:
///
/// ```
/// # use bus_api::*;
/// # use bus_derive::{Event, handler};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
/// # struct OrderPlaced { id: u64 }
/// # #[derive(Clone)] struct Mailer;
/// # #[derive(Clone)] struct App { mailer: Mailer }
/// # impl FromRef<App> for Mailer { fn from_ref(app: &App) -> Self { app.mailer.clone() } }
/// # macro_rules! skip { ($($t:tt)*) => {} }
/// # skip! {
/// #[bus::handler(state = App)]
/// # }
/// # #[handler(state = App, crate = "bus_api")]
/// async fn placed(e: OrderPlaced, State(mailer): State<Mailer>, ctx: Context) -> HandlerResult {
///     # let _ = (e, mailer, ctx);
///     Ok(())
/// }
/// ```
///
/// | option | meaning |
/// |---|---|
/// | `state = App` | The state of the worker. Without it the type of the only `State<T>` is taken, or `()`. |
/// | `responder` | The function answers requests: its return type is checked against the `Reply`. |
/// | `crate = ".."` | The path of the crate `bus`, when it has another name. |
///
/// A function that takes a `Vec` first is checked as a handler of batches.
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let checks = syn::parse::<handler::Options>(options).and_then(|options| {
        let function = syn::parse(item.clone())?;
        handler::checks(&options, &function)
    });
    let checks = checks.unwrap_or_else(|error| error.to_compile_error());
    let mut output = item;
    output.extend(TokenStream::from(checks));
    output
}
