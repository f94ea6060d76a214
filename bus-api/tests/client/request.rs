use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bus_api::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::fake::{Fake, in_time};

#[derive(Serialize, Deserialize)]
struct Price {
    sku: String,
}

impl Event for Price {
    fn types() -> Result<Vec<EventType>> {
        Ok(vec![EventType::new("price", Pattern::new("prices")?)])
    }

    fn event_type(&self) -> Cow<'static, str> {
        "price".into()
    }

    fn topic(&self) -> Result<Topic> {
        Topic::new("prices")
    }

    fn key(&self) -> Option<Bytes> {
        None
    }

    fn encode(&self, codec: &dyn Codec) -> Result<Bytes> {
        codec.to_bytes(self)
    }

    fn decode(_: Option<&str>, payload: &Bytes, codec: &dyn Codec) -> Result<Self> {
        codec.from_bytes(payload)
    }
}

impl Request for Price {
    type Reply = std::result::Result<u64, String>;
}

fn reply(payload: &'static str) -> Message {
    let metadata = Metadata::new(MessageId::new("r"), "test".into(), SystemTime::UNIX_EPOCH);
    Message::new(Topic::new("prices").unwrap(), metadata, payload.into())
}

fn price() -> Price {
    Price { sku: "a".into() }
}

#[tokio::test(start_paused = true)]
async fn the_reply_is_typed_and_a_domain_error_is_data() {
    let fake = Fake::new();
    for (payload, expected) in [
        (r#"{"Ok":7}"#, Ok(7)),
        (r#"{"Err":"unknown"}"#, Err("unknown".to_owned())),
    ] {
        fake.state().reply = Some(Ok(reply(payload)));
        let ask = fake
            .client()
            .request(&price())
            .header("tenant", "a")
            .correlation_id("c");
        assert_eq!(in_time(ask.into_future()).await.unwrap(), expected);
    }
    let asked = fake.state().requests.remove(0);
    assert_eq!(asked.payload, r#"{"sku":"a"}"#);
    assert_eq!(asked.headers.get("tenant"), Some("a"));
    assert_eq!(asked.metadata.correlation_id.as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_responder_is_remote_with_kind_and_text() {
    let fake = Fake::new();
    let mut failed = reply("");
    failed.headers.set("bus-error-kind", "panic");
    failed.headers.set("bus-error-text", "index out of bounds");
    fake.state().reply = Some(Ok(failed));
    let error = in_time(fake.client().request(&price()).into_future()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    let remote = error.downcast_source::<RemoteFailure>().unwrap();
    assert_eq!(
        (remote.kind(), remote.text()),
        ("panic", "index out of bounds")
    );
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_its_timeout_and_is_never_tried_again() {
    let fake = Fake::new();
    let started = Instant::now();
    let ask = fake
        .client()
        .request(&price())
        .timeout(Duration::from_secs(2));
    let error = in_time(ask.into_future()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(2));

    let nobody = Error::new(ErrorKind::NoResponders, "nobody");
    fake.state().reply = Some(Err(nobody));
    let error = in_time(fake.client().request(&price()).into_future()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NoResponders);
    assert_eq!(fake.state().requests.len(), 2);

    let too_long = fake.client().request(&price()).timeout(Duration::MAX);
    let error = in_time(too_long.into_future()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
