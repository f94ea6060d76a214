//! What another program than the bus writes to Redis.

use bus_api::{Namespace, Result};
use bus_conformance::Foreign;
use redis::Cmd;

use super::{failed, root};

/// Adds a message of another producer to the stream of a topic.
pub(super) fn entry(namespace: &Namespace, topic: &str, message: Foreign) -> Result<Cmd> {
    let mut command = redis::cmd("XADD");
    command
        .arg(format!("{namespace}:{{{}}}:s:{topic}", root(topic)))
        .arg("*");
    match message {
        Foreign::Plain { payload, headers } => {
            command.arg("data").arg(&payload[..]);
            for (name, value) in headers {
                command.arg(name).arg(value);
            }
        }
        Foreign::Structured { json } => {
            command
                .arg("content-type")
                .arg("application/cloudevents+json")
                .arg("data")
                .arg(&json[..]);
        }
        Foreign::Malformed { payload } => {
            command
                .arg("ce_specversion")
                .arg("1.0")
                .arg("ce_id")
                .arg(&b"\xff\xfe"[..])
                .arg("data")
                .arg(&payload[..]);
        }
        _ => return Err(failed("this kind of foreign message is not known")),
    }
    Ok(command)
}

/// The record of a request that asks for its reply at any address.
pub(super) fn forged_request(address: &str, topic: &str) -> Vec<u8> {
    let mut record = vec![1];
    for item in [
        "bus-reply-to",
        address,
        "ce_specversion",
        "1.0",
        "ce_id",
        "forged",
        "ce_source",
        "forger",
        "ce_type",
        "conformance.question",
        "bus-format",
        "1",
        "bus-topic",
        topic,
        "content-type",
        "application/json",
        "data",
        "{\"number\":1}",
    ] {
        record.extend((item.len() as u32).to_be_bytes());
        record.extend(item.as_bytes());
    }
    record
}
