//! V: records that one process writes and another reads.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, DeadLetterId, Delivery, ErrorKind, Inflow, Position, Scope, Settlement, Settler,
    SubscriptionSpec, split_version,
};
use bytes::Bytes;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::planted::Bug;
use crate::probe::{Ledger, Note, PATIENCE, Want, group, ms, secs, within};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(v1_a_stored_record_starts_with_its_version),
        case!(v1_a_version_is_read_first),
        case!(v2_records_of_the_first_release_are_read),
        case!(v2_stored_records_of_the_first_release_count),
        case!(v3_a_newer_record_stops_without_settling).with(&[Control::NewerRecord]),
        case!(v3_a_newer_record_on_the_way_stops_without_settling),
    ]
}

/// The next delivery, seen without the core.
async fn delivery(client: &Client, want: &Want) -> Result<(Arc<dyn Settler>, Delivery), Violation> {
    let id = want.id()?;
    let spec = SubscriptionSpec {
        start: want.start.clone(),
        ..SubscriptionSpec::new(Scope::Group(id.group), id.pattern)
    };
    let mut inbound = client.connection.bus.subscribe(spec).await?;
    loop {
        let inflow = within(PATIENCE, "a delivery", inbound.receiver.receive(1)).await??;
        if let Inflow::Deliveries(deliveries) = inflow
            && let Some(delivery) = deliveries.into_iter().next()
        {
            return Ok((inbound.settler, delivery));
        }
    }
}

async fn v1_a_stored_record_starts_with_its_version(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    let mut inbox = client.join(want.clone()).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    inbox.next().await?.nack().await?;
    inbox.leave().await?;
    let (settler, delivery) = delivery(&client, &want).await?;
    let Some(stored) = delivery.record else {
        return Err(Violation::new("a failed delivery came without its record"));
    };
    ensure_eq!(stored.first(), Some(&AttemptRecord::VERSION), "its version");
    ensure_eq!(AttemptRecord::decode(&stored)?.failures, 1, "its failures");
    for settled in settler
        .settle(vec![(delivery.receipt, Settlement::Ack)])
        .await
    {
        settled?;
    }
    settler.leave(tokio::time::Instant::now() + secs(5)).await?;
    Ok(())
}

async fn v1_a_version_is_read_first(_: Context) -> Result<(), Violation> {
    ensure_eq!(
        split_version(&[1, 7], 1, "a record")?,
        (1, &[7][..]),
        "split"
    );
    for (record, known, kind) in [
        (&[2, 7][..], 1, ErrorKind::Unsupported),
        (&[255], 254, ErrorKind::Unsupported),
        (&[], 1, ErrorKind::Decode),
    ] {
        match split_version(record, known, "a record") {
            Ok(_) => return Err(Violation::new(format_args!("{record:?} was read"))),
            Err(error) => ensure_eq!(error.kind(), kind, "{record:?}: {error}"),
        }
    }
    Ok(())
}

/// A record as the first release wrote it.
struct Written {
    stored: &'static str,
    failures: u32,
    crashes: u32,
    started: bool,
    /// First and last failure, in milliseconds since 1970.
    failed: Option<(u64, u64)>,
}

/// Records as the first release wrote them. Never change them: stores out there hold such bytes.
const FIRST_RELEASE: [Written; 3] = [
    Written {
        stored: "010000000000",
        failures: 0,
        crashes: 0,
        started: false,
        failed: None,
    },
    Written {
        stored: "010100000000",
        failures: 0,
        crashes: 0,
        started: true,
        failed: None,
    },
    Written {
        stored: "0100ac020180d095ffbc31e8d795ffbc31",
        failures: 300,
        crashes: 1,
        started: false,
        failed: Some((1_699_999_999_999, 1_700_000_000_999)),
    },
];

fn unhex(text: &str) -> Result<Vec<u8>, Violation> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| Violation::new(format_args!("{text} is not hexadecimal")))
        })
        .collect()
}

async fn v2_records_of_the_first_release_are_read(_: Context) -> Result<(), Violation> {
    let time = |millis| UNIX_EPOCH + Duration::from_millis(millis);
    for written in FIRST_RELEASE {
        let record = AttemptRecord::decode(&unhex(written.stored)?)?;
        let expected = AttemptRecord {
            failures: written.failures,
            crashes: written.crashes,
            started: written.started,
            first_failure: written.failed.map(|(first, _)| time(first)),
            last_failure: written.failed.map(|(_, last)| time(last)),
        };
        ensure_eq!(record, expected, "record {}", written.stored);
    }
    for text in ["log@1-2@1700000000000", "a@b@0-0@0"] {
        let position: Position = text.parse()?;
        ensure_eq!(position.to_string(), text, "a position as text");
    }
    let id: DeadLetterId = "000102030405060708090a0b0c0d0e0f".parse()?;
    ensure_eq!(
        id.to_string(),
        "000102030405060708090a0b0c0d0e0f",
        "the id of a dead letter as text"
    );
    Ok(())
}

/// Replaces the records of what is handed over.
#[derive(Debug)]
struct Records(Bytes);

#[async_trait]
impl Bug for Records {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        for delivery in &mut honest {
            delivery.redelivered = true;
            delivery.record = Some(self.0.clone());
        }
        honest
    }
}

async fn v2_stored_records_of_the_first_release_count(context: Context) -> Result<(), Violation> {
    // Two failures and a crash, both times present.
    let stored = unhex("0100020180d095ffbc31e8d795ffbc31")?;
    let client = context
        .client_behind(Arc::new(Records(stored.into())), &[])
        .await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 4, "the attempt");
    token.ack().await?;
    inbox.quiet().await
}

/// The subscription ends with `Unsupported`, and what it could not read is as unsettled as before.
async fn stops(client: &Client, operator: &Client, want: &Want) -> Result<(), Violation> {
    let mut inbox = client.join(want.clone()).await?;
    let error = inbox.end().await?;
    ensure_eq!(error.kind(), ErrorKind::Unsupported, "the end: {error}");
    ensure!(
        error.to_string().contains("version"),
        "the error does not say what to do: {error}"
    );
    drop(inbox);
    let info = operator.info(want).await?;
    ensure_eq!(info.lag, 1, "unsettled messages");
    let store = operator.connection.bus.dead_letters();
    ensure_eq!(store.count(&want.id()?.group).await?, 0, "dead letters");
    Ok(())
}

async fn v3_a_newer_record_stops_without_settling(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    client.publish(&Note::new("a.b", 1)).await?;
    let mut inbox = client.join(want.clone()).await?;
    inbox.next().await?.nack_after(ms(50)).await?;
    inbox.leave().await?;
    context
        .factory()
        .store_newer_records(context.namespace(), "g", "a.b")
        .await?;
    // Twice: the first one that stops settles nothing for the second.
    for _ in 0..2 {
        stops(&client, &client, &want).await?;
    }
    Ok(())
}

async fn v3_a_newer_record_on_the_way_stops_without_settling(
    context: Context,
) -> Result<(), Violation> {
    let newer = Records(Bytes::from_static(&[AttemptRecord::VERSION + 1, 0, 0, 0]));
    let old = context.client_behind(Arc::new(newer), &[]).await?;
    let new = context.client().await?;
    let want = group("g", "a.b").lease(new.capabilities().min_lease.max(secs(1)));
    new.publish(&Note::new("a.b", 1)).await?;
    stops(&old, &new, &want).await?;
    // A member of the release that can read it goes on.
    let mut inbox = new.join(want).await?;
    inbox.take_all(&Ledger::expecting([1])).await
}
