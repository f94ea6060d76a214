//! NATS, under test.

pub mod server;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use async_trait::async_trait;
use bus_api::{AttemptRecord, Error, ErrorKind, Group, Namespace, Pattern, Result, SubscriptionId};
use bus_conformance::{Connection, Control, Factory, Foreign, Transport};
use bus_nats::{Config, NatsBus};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::brokers::{Kind, Setup};
use crate::shared_broker::{SharedBroker, connecting, failed};
use crate::wire::Wire;

/// How long the test's own client waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A running NATS server, which all cases of a run share.
#[derive(Debug)]
pub struct NatsFactory {
    broker: SharedBroker,
}

impl NatsFactory {
    /// Whatever the harness finds first.
    ///
    /// # Errors
    /// Nothing was found.
    pub async fn start() -> anyhow::Result<Self> {
        let broker = SharedBroker::start(Kind::Nats, Setup::default()).await?;
        Ok(Self { broker })
    }

    /// A connection of another client.
    async fn raw(&self) -> Result<Client> {
        async_nats::connect(self.broker.url()).await.map_err(failed)
    }

    /// Asks the API of JetStream; an answer that says no is an answer.
    async fn api(&self, raw: &Client, subject: &str, question: &Value) -> Result<Value> {
        let body = if question.is_null() {
            Vec::new()
        } else {
            question.to_string().into_bytes()
        };
        let asking = raw.request(format!("$JS.API.{subject}"), body.into());
        let answer = tokio::time::timeout(ANSWER, asking)
            .await
            .map_err(failed)?
            .map_err(failed)?;
        serde_json::from_slice(&answer.payload).map_err(failed)
    }

    /// The subjects of a stream that match.
    async fn subjects(&self, raw: &Client, stream: &str, filter: &str) -> Result<Vec<String>> {
        let question = json!({"subjects_filter": filter});
        let info = self
            .api(raw, &format!("STREAM.INFO.{stream}"), &question)
            .await?;
        let subjects = info["state"]["subjects"].as_object();
        Ok(subjects
            .into_iter()
            .flat_map(|subjects| subjects.keys().cloned())
            .collect())
    }

    /// The consumers of a stream with their settings.
    async fn consumers(&self, raw: &Client, stream: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let question = json!({"offset": all.len()});
            let page = self
                .api(raw, &format!("CONSUMER.LIST.{stream}"), &question)
                .await?;
            let part = page["consumers"].as_array().cloned().unwrap_or_default();
            let end = part.is_empty();
            all.extend(part);
            if end || all.len() as u64 >= page["total"].as_u64().unwrap_or(0) {
                return Ok(all);
            }
        }
    }

    /// Stores a message whose headers are not UTF-8, which no client library would write.
    async fn publish_damaged(&self, subject: &str, payload: &[u8]) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.broker.address()?).await?;
        let headers = b"NATS/1.0\r\nce-specversion: 1.0\r\nce-id: \xff\xfe\r\n\r\n";
        let mut text = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB stored 1\r\n".to_vec();
        let total = headers.len() + payload.len();
        text.extend(format!("HPUB {subject} stored {} {total}\r\n", headers.len()).into_bytes());
        text.extend(headers);
        text.extend(payload);
        text.extend(b"\r\n");
        stream.write_all(&text).await?;
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("\"seq\":") {
            let read = tokio::time::timeout(ANSWER, stream.read_buf(&mut heard)).await??;
            anyhow::ensure!(read > 0, "the server closed the connection");
        }
        Ok(())
    }
}

#[async_trait]
impl Factory for NatsFactory {
    fn name(&self) -> String {
        format!("nats, {}", self.broker.why())
    }

    fn transport(&self) -> Transport {
        Transport::Nats { replicas: 1 }
    }

    fn controls(&self) -> &[Control] {
        self.broker.controls()
    }

    fn virtual_time(&self) -> bool {
        false
    }

    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection> {
        let proxy = self.broker.way().await?;
        let url = format!("nats://{}", proxy.address());
        let (url, settings) = connecting(&url, namespace, options)?;
        let bus = NatsBus::open(Config::from_url(url, settings)?).await?;
        Ok(Connection {
            bus: Arc::new(bus.clone()),
            disturb: Wire::new(proxy, move || bus.kill()),
        })
    }

    async fn stop_broker(&self) -> Result<()> {
        self.broker.stop().await
    }

    async fn start_broker(&self) -> Result<()> {
        self.broker.start_again().await
    }

    async fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &str,
        message: Foreign,
    ) -> Result<()> {
        let subject = format!("{namespace}.t.{topic}");
        let mut headers = HeaderMap::new();
        let payload = match message {
            Foreign::Plain {
                payload,
                headers: plain,
            } => {
                for (name, value) in plain {
                    let legal = (
                        name.parse::<async_nats::HeaderName>(),
                        value.parse::<async_nats::HeaderValue>(),
                    );
                    let (Ok(name), Ok(value)) = legal else {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            "NATS has no such header",
                        ));
                    };
                    headers.insert(name, value);
                }
                payload
            }
            Foreign::Structured { json } => {
                headers.insert("Content-Type", "application/cloudevents+json");
                json
            }
            Foreign::Malformed { payload } => {
                return self
                    .publish_damaged(&subject, &payload)
                    .await
                    .map_err(failed);
            }
            _ => return Err(failed("this kind of foreign message is not known")),
        };
        let raw = self.raw().await?;
        let storing = raw.request_with_headers(subject, headers, payload);
        tokio::time::timeout(ANSWER, storing)
            .await
            .map_err(failed)?
            .map_err(failed)?;
        Ok(())
    }

    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: Duration,
    ) -> Result<bool> {
        const ADDRESS: &str = "forged-address";
        let raw = self.raw().await?;
        let mut replies = raw.subscribe(ADDRESS).await.map_err(failed)?;
        raw.flush().await.map_err(failed)?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "forged"),
            ("ce-source", "forger"),
            ("ce-type", "conformance.question"),
            ("ce-datacontenttype", "application/json"),
            ("bus-format", "1"),
            ("bus-wait", "10000"),
        ] {
            headers.insert(name, value);
        }
        let question = "{\"number\":1}".into();
        raw.publish_with_reply_and_headers(
            format!("{namespace}.q.{topic}"),
            ADDRESS,
            headers,
            question,
        )
        .await
        .map_err(failed)?;
        raw.flush().await.map_err(failed)?;
        Ok(tokio::time::timeout(wait, replies.next()).await.is_ok())
    }

    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
        let prefix = format!("{}-", id.broker_name());
        let (raw, stream) = (self.raw().await?, format!("{namespace}-t"));
        for consumer in self.consumers(&raw, &stream).await? {
            let name = consumer["name"].as_str().unwrap_or_default();
            if name.starts_with(&prefix) {
                let subject = format!("CONSUMER.DELETE.{stream}.{name}");
                self.api(&raw, &subject, &Value::Null).await?;
            }
        }
        Ok(())
    }

    async fn lose_log(&self, namespace: &Namespace, _topic: &str) -> Result<()> {
        // The log is the stream of the whole namespace.
        let raw = self.raw().await?;
        let subject = format!("STREAM.DELETE.{namespace}-t");
        self.api(&raw, &subject, &Value::Null).await.map(drop)
    }

    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
        let raw = self.raw().await?;
        let filter = format!("{namespace}.m.a.{}.>", id.broker_name());
        for subject in self
            .subjects(&raw, &format!("{namespace}-m"), &filter)
            .await?
        {
            let record = vec![AttemptRecord::VERSION + 1, 0, 0];
            let storing = raw.request(subject, record.into());
            tokio::time::timeout(ANSWER, storing)
                .await
                .map_err(failed)?
                .map_err(failed)?;
        }
        Ok(())
    }

    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>> {
        let raw = self.raw().await?;
        let mut found = Vec::new();
        for kind in ["t", "d", "m"] {
            for consumer in self.consumers(&raw, &format!("{namespace}-{kind}")).await? {
                if consumer["config"]["durable_name"].is_null() {
                    found.push(format!("consumer {} of {kind}", consumer["name"]));
                }
            }
        }
        let books = format!("{namespace}-m");
        let present = format!("{namespace}.m.p.>");
        found.extend(self.subjects(&raw, &books, &present).await?);
        Ok(found)
    }
}
