//! `bus request`.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, Codec, Error, ErrorKind, Event, EventType, Raw, Topic};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use crate::arguments::pair;
use crate::output::Output;
use crate::payload;
use crate::when;

const EXAMPLES: &str = "\
Examples:
  bus request prices.ask '{\"sku\": \"book\"}' --type price.ask
  echo ping | bus request ping --timeout 1s";

/// Asks a question and writes the reply
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Request {
    /// Topic of the question
    topic: String,
    /// The question; `-` or nothing reads standard input
    payload: Option<String>,
    /// Type of the event
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Content type; otherwise found out
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Key
    #[arg(long)]
    key: Option<String>,
    /// Header; can be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = when::duration, default_value = "5s")]
    timeout: Duration,
}

/// A question without a Rust type.
struct Question(Raw);

impl Event for Question {
    fn types() -> bus::Result<Vec<EventType>> {
        Ok(Vec::new())
    }

    fn event_type(&self) -> Cow<'static, str> {
        self.0.event_type()
    }

    fn topic(&self) -> bus::Result<Topic> {
        self.0.topic()
    }

    fn key(&self) -> Option<Bytes> {
        self.0.key()
    }

    fn content_type(&self, codec: &dyn Codec) -> Cow<'static, str> {
        self.0.content_type(codec)
    }

    fn encode(&self, codec: &dyn Codec) -> bus::Result<Bytes> {
        self.0.encode(codec)
    }

    fn decode(_: Option<&str>, _: &Bytes, _: &dyn Codec) -> bus::Result<Self> {
        Err(Error::new(ErrorKind::Decode, "a question is only asked"))
    }
}

impl bus::Request for Question {
    type Reply = Value;
}

impl Request {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let payload = payload::read(self.payload.as_deref()).await?;
        let content_type = self
            .content_type
            .unwrap_or_else(|| payload::content_type(&payload).to_owned());
        let question = Question(Raw {
            topic: Topic::new(&self.topic)?,
            event_type: self.event_type.map(Into::into),
            content_type: Some(content_type.into()),
            key: self.key.map(Into::into),
            payload,
        });
        let mut ask = bus.request(&question).timeout(self.timeout);
        for (name, value) in &self.headers {
            ask = ask.header(name, value.as_str());
        }
        let reply = ask.await?;
        match &reply {
            Value::String(text) if !output.is_json() => output.line(text.trim_end_matches('\n'))?,
            reply => output.json(reply)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
