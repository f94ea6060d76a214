use std::sync::Arc;
use std::time::Duration;

use bus_api::*;
use tokio::time::Instant;

use crate::fake::{Fake, event, in_time, text};

async fn open(mut url: BusUrl, _settings: Settings) -> Result<Arc<dyn Bus>> {
    let mut options = std::mem::take(url.options_mut());
    options.take("lanes");
    options.finish(&Connector::keys(&["lanes"]))?;
    Ok(Arc::new(Fake::new()))
}

fn connector() -> Connector {
    Connector::new()
        .with("fake", open)
        .with("slow", |_, _| std::future::pending())
        .with_feature("nats", "nats")
}

async fn refusal(url: &str) -> Error {
    in_time(connector().connect(url)).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_scheme_opens_its_transport_with_the_common_settings() {
    let url = "FAKE://?namespace=shop&source=svc&window=7&lanes=2";
    let bus = in_time(connector().connect(url)).await.unwrap();
    assert_eq!(bus.settings().namespace.as_str(), "shop");
    assert_eq!(&*bus.settings().source, "svc");
    assert_eq!(bus.settings().window, 7);
    let url: BusUrl = url.parse().unwrap();
    in_time(connector().connect(url)).await.unwrap();
    in_time(connector().connect("fake://".to_owned()))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_named_with_what_would() {
    for (url, hint) in [
        ("fkae://", "did you mean `fake`?"),
        ("rabbit://", "known are fake, slow, nats"),
        ("nats://", "enable the cargo feature `nats`"),
        ("fake://?lanse=1", "did you mean `lanes`?"),
        ("fake://?namespcae=a", "did you mean `namespace`?"),
        ("fake://?window=many", "`window`"),
        ("fake", "starts with a scheme"),
    ] {
        let error = refusal(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(hint), "{url}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_ends_after_the_connect_timeout() {
    let started = Instant::now();
    let error = refusal("slow://u:hunter2@host?connect_timeout=2s").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_millis(2500));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// A hook with a fixed context.
#[derive(Debug)]
struct Hook;

impl TraceHook for Hook {
    fn current(&self) -> Option<TraceContext> {
        let traceparent = "00-1-2-01".into();
        Some(TraceContext {
            traceparent,
            tracestate: None,
        })
    }

    fn follow(&self, _span: &tracing::Span, _parent: &TraceContext) {}
}

#[tokio::test(start_paused = true)]
async fn codecs_and_trace_hook_are_used() {
    let fake = Fake::new();
    let connector = connector()
        .codecs(Codecs::default().with_default(Octets))
        .trace_hook(Hook);
    let bus = connector.client(Arc::new(fake.clone()), Settings::default());
    assert_eq!(
        bus.codecs().default_codec().content_type(),
        Octets.content_type()
    );
    in_time(bus.publish(&event("a")).into_future())
        .await
        .unwrap();
    let message = fake.state().stored.remove(0);
    assert_eq!(text(&message), "a");
    assert_eq!(
        &*message.metadata.trace.as_ref().unwrap().traceparent,
        "00-1-2-01"
    );
}
