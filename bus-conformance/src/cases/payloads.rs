//! P4: payloads and headers.

use bus_api::{ErrorKind, Raw, Topic};
use bytes::Bytes;
use rand::RngCore;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Note, group};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(p4_payloads_arrive_byte_for_byte),
        case!(p4_the_largest_payload_arrives_and_one_byte_more_is_too_large),
        case!(p4_an_empty_payload_is_a_message_and_no_deletion),
        case!(p4_header_values_arrive_intact),
        case!(p4_a_hundred_headers_arrive),
        case!(p4_wrong_header_names_are_refused),
    ]
}

fn raw(topic: &str, payload: impl Into<Bytes>) -> bus_api::Result<Raw> {
    Ok(Raw::new(
        Topic::new(topic)?,
        "conformance.raw",
        "application/octet-stream",
        payload,
    ))
}

async fn p4_payloads_arrive_byte_for_byte(context: Context) -> Result<(), Violation> {
    let mut random = context.random();
    let mut bytes = |length: usize| {
        let mut bytes = vec![0; length];
        random.fill_bytes(&mut bytes);
        bytes
    };
    let mut payloads: Vec<Vec<u8>> = [0, 1, 2, 3, 63, 64, 255, 256, 4095, 65_535, 65_536, 65_537]
        .into_iter()
        .map(&mut bytes)
        .collect();
    payloads.push(bytes(300_000));
    payloads.extend(
        [
            &b"\0"[..],
            b"\r\n",
            b"null",
            b"{}",
            b" outer spaces ",
            b"\xff\xfe\x80",
            b"\xed\xa0\x80",
            b"%20%",
            b"\"quoted\"",
        ]
        .map(<[u8]>::to_vec),
    );
    payloads.push((0..=255).collect());

    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    for payload in &payloads {
        client.publish(&raw("a.b", payload.clone())?).await?;
    }
    let mut missing = payloads;
    while !missing.is_empty() {
        let parcel = inbox.parcel().await?;
        let found = missing.iter().position(|sent| sent == parcel.payload());
        let Some(index) = found else {
            return Err(Violation::new(format_args!(
                "{} bytes arrived that nobody published",
                parcel.payload().len()
            )));
        };
        missing.swap_remove(index);
        parcel.ack().await?;
    }
    inbox.quiet().await
}

async fn p4_the_largest_payload_arrives_and_one_byte_more_is_too_large(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let max = client.capabilities().max_payload;
    let mut inbox = client.join(group("g", "a.b")).await?;

    let Err(error) = client.publish(&raw("a.b", vec![1; max + 1])?).await else {
        return Err(Violation::new(format_args!(
            "{} bytes were accepted, {max} is the maximum",
            max + 1
        )));
    };
    ensure_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    ensure!(!error.is_indeterminate(), "nothing is sent, so: {error}");
    inbox.quiet().await?;

    let mut payload = vec![0; max];
    context.random().fill_bytes(&mut payload);
    // The maximum leaves 64 KiB for headers: 60 KiB of them here, the attributes take the rest.
    let mut publish = client.publish(&raw("a.b", payload.clone())?);
    for index in 0..60 {
        publish = publish.header(format!("h{index}"), "v".repeat(1000));
    }
    publish.await?;
    let parcel = inbox.parcel().await?;
    ensure!(
        parcel.payload() == &payload,
        "{} bytes arrived differently or not whole: {max} were published",
        parcel.payload().len()
    );
    ensure_eq!(parcel.envelope().headers.len(), 60, "headers");
    parcel.ack().await
}

async fn p4_an_empty_payload_is_a_message_and_no_deletion(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    for payload in ["before", "", "after", ""] {
        client
            .publish(&raw("a.b", payload)?.with_key("the-key"))
            .await?;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    for expected in ["before", "", "after", ""] {
        let parcel = inbox.parcel().await?;
        ensure_eq!(parcel.payload(), expected, "payloads of one key, in order");
        ensure_eq!(
            parcel.envelope().key.as_deref(),
            Some(&b"the-key"[..]),
            "the key"
        );
        parcel.ack().await?;
    }
    inbox.quiet().await
}

/// Values that clients alter when nobody encodes them: they trim, fold lines, refuse, or take bytes for
/// Latin-1.
const VALUES: [&str; 24] = [
    "",
    " ",
    "  outer  ",
    "\t",
    "line\nbreak",
    "line\r\nbreak",
    "\r\n\r\n",
    "trailing\n",
    "NATS/1.0\r\nx: y",
    "nul\0byte",
    "\u{1}\u{7f}",
    "ünïcödé",
    "漢字",
    "🦀",
    "e\u{301}",
    "\u{feff}bom",
    "\u{202e}rtl",
    "100%",
    "%41",
    "a%0Ab",
    "\"quoted\"",
    "a,b;c=d",
    "=?utf-8?b?w6k=?=",
    "\\u0041",
];

async fn p4_header_values_arrive_intact(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    let names: Vec<String> = (0..VALUES.len())
        .map(|index| match index % 3 {
            0 => format!("{index}"),
            1 => format!("h-{index}_x"),
            _ => format!("{index}{}", "n".repeat(60)),
        })
        .collect();
    let mut publish = client.publish(&Note::new("a.b", 1));
    for (name, value) in names.iter().zip(VALUES) {
        publish = publish.header(name, value);
    }
    publish.await?;
    let token = inbox.next().await?;
    let headers = &token.envelope().headers;
    for (name, value) in names.iter().zip(VALUES) {
        ensure_eq!(headers.get(name), Some(value), "header {name}");
    }
    ensure_eq!(headers.len(), VALUES.len(), "headers: {headers:?}");
    token.nack().await?;
    // A redelivery carries the same.
    let again = inbox.next().await?;
    ensure_eq!(
        again.envelope().headers.get(&names[2]),
        Some(VALUES[2]),
        "a header of a redelivery"
    );
    ensure_eq!(again.envelope().headers.len(), VALUES.len(), "headers");
    again.ack().await
}

async fn p4_a_hundred_headers_arrive(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    let mut publish = client.publish(&Note::new("a.b", 1));
    for index in 0..100 {
        publish = publish
            .header(format!("h{index}"), "first")
            .header(format!("h{index}"), format!("value {index}"));
    }
    publish.await?;
    client.publish(&Note::new("a.b", 2)).await?;
    for _ in 0..2 {
        let token = inbox.next().await?;
        let headers = &token.envelope().headers;
        let expected = if token.number() == 1 { 100 } else { 0 };
        ensure_eq!(headers.len(), expected, "headers of {:?}", token.note());
        for index in 0..expected {
            let expected = format!("value {index}");
            ensure_eq!(
                headers.get(&format!("h{index}")),
                Some(expected.as_str()),
                "a name has one value, the last"
            );
        }
        token.ack().await?;
    }
    Ok(())
}

async fn p4_wrong_header_names_are_refused(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    let long = "a".repeat(65);
    for name in [
        "", "A", "a b", "é", "-a", "_a", "a.b", "a:b", "ce-id", "ce_id", "bus-x", "nats-x", &long,
    ] {
        let published = client.publish(&Note::new("a.b", 1)).header(name, "v").await;
        match published {
            Ok(_) => return Err(Violation::new(format_args!("header {name:?} was accepted"))),
            Err(error) => {
                ensure_eq!(error.kind(), ErrorKind::InvalidArgument, "header {name:?}");
                ensure!(!error.is_indeterminate(), "nothing is sent, so: {error}");
            }
        }
    }
    client
        .publish(&Note::new("a.b", 2))
        .header("a".repeat(64), "v")
        .header("0-_", "v")
        .await?;
    let token = inbox.next().await?;
    ensure_eq!(token.number(), 2, "only the last one was sent");
    ensure_eq!(token.envelope().headers.len(), 2, "its headers");
    token.ack().await?;
    inbox.quiet().await
}
