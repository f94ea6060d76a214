//! P7 and P8: order and bounds of what is being published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bus_api::{Bus, Error, ErrorKind, Message, Published, Raw, Topic};
use bytes::Bytes;
use rand::Rng;
use tokio::sync::Semaphore;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::planted::Bug;
use crate::probe::{Ledger, Note, PATIENCE, QUIET, eventually, group, within};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(p7_one_key_is_stored_in_order),
        case!(p7_a_failure_never_lets_a_later_message_pass),
        case!(p7_a_key_is_bytes),
        case!(p8_publish_waits_while_the_window_is_full),
        case!(p8_the_window_counts_bytes_too),
    ]
}

/// The numbers of each key, in the order in which they are stored.
async fn stored(context: &Context, count: usize) -> Result<BTreeMap<String, Vec<u64>>, Violation> {
    let mut inbox = context.client().await?.join(group("g", ">")).await?;
    let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for _ in 0..count {
        let token = inbox.next().await?;
        let key = token.note().key.clone().unwrap_or_default();
        keys.entry(key).or_default().push(token.number());
        token.ack().await?;
    }
    inbox.quiet().await?;
    Ok(keys)
}

async fn p7_one_key_is_stored_in_order(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let publisher = client.publisher();
    let mut confirmations = Vec::new();
    for number in 0..400 {
        let key = format!("k{}", number % 4);
        confirmations.push(publisher.send(&Note::keyed("a.b", &key, number)).await?);
    }
    publisher.flush().await?;
    for confirmation in confirmations {
        confirmation.await?;
    }
    // A batch is a window, too; and single publishes, each awaited.
    let batch: Vec<Note> = (400..480)
        .map(|number| Note::keyed("a.b", &format!("k{}", number % 4), number))
        .collect();
    for confirmed in client.publish_batch(&batch).await {
        confirmed?;
    }
    for number in 480..500 {
        let key = format!("k{}", number % 4);
        client.publish(&Note::keyed("a.b", &key, number)).await?;
    }
    for (key, numbers) in stored(&context, 500).await? {
        ensure!(
            numbers.is_sorted() && numbers.len() == 125,
            "{key} is stored as {numbers:?}"
        );
    }
    Ok(())
}

/// Refuses every nth message once, as a broker does that is electing a leader.
#[derive(Debug)]
struct Refuses {
    every: u64,
    seen: AtomicU64,
}

#[async_trait]
impl Bug for Refuses {
    async fn publish(
        &self,
        bus: &dyn Bus,
        batch: Vec<Arc<Message>>,
    ) -> Vec<bus_api::Result<Published>> {
        let mut refused = Vec::new();
        let mut passed = Vec::new();
        for message in batch {
            let refuse = self.seen.fetch_add(1, Ordering::Relaxed) % self.every == self.every - 1;
            refused.push(refuse);
            if !refuse {
                passed.push(message);
            }
        }
        // All at once: one after the other, the next batch would overtake the rest of this one.
        let mut stored = bus.publish(passed).await.into_iter();
        refused
            .into_iter()
            .filter_map(|refuse| match refuse {
                true => Some(Err(Error::new(ErrorKind::Unavailable, "not stored"))),
                false => stored.next(),
            })
            .collect()
    }
}

/// A retry that is sent after later messages of its key stores them in the wrong order; a message that is
/// given up although it is stored, or the other way round, breaks the sums.
async fn p7_a_failure_never_lets_a_later_message_pass(context: Context) -> Result<(), Violation> {
    let every = context.random().random_range(3..9);
    let refuses = Refuses {
        every,
        seen: AtomicU64::new(0),
    };
    let client = context.client_behind(Arc::new(refuses), &[]).await?;
    let publisher = client.publisher();
    let mut confirmations = Vec::new();
    for number in 0..150 {
        let key = format!("k{}", number % 3);
        let sent = publisher.send(&Note::keyed("a.b", &key, number)).await?;
        confirmations.push((number, sent));
    }
    let mut confirmed = Vec::new();
    for (number, confirmation) in confirmations {
        match within(PATIENCE, "a confirmation", confirmation).await? {
            Ok(_) => confirmed.push(number),
            Err(error) => ensure!(
                !error.is_indeterminate(),
                "{number} was certainly not stored, but: {error}"
            ),
        }
    }
    let mut all = Vec::new();
    for (key, numbers) in stored(&context, confirmed.len()).await? {
        ensure!(numbers.is_sorted(), "{key} is stored as {numbers:?}");
        all.extend(numbers);
    }
    all.sort_unstable();
    ensure_eq!(all, confirmed, "what is stored against what was confirmed");
    Ok(())
}

async fn p7_a_key_is_bytes(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let keys: [Option<&[u8]>; 9] = [
        None,
        Some(b""),
        Some(b"\0"),
        Some(b"\0\0"),
        Some(b"\xff"),
        Some(b"\xc3\x28"),
        Some(b" k "),
        Some(b"k\r\n"),
        Some(&all_bytes),
    ];
    for (index, key) in keys.iter().enumerate() {
        let mut raw = Raw::new(
            Topic::new("a.b")?,
            "conformance.raw",
            "text/plain",
            index.to_string(),
        );
        raw.key = key.map(Bytes::copy_from_slice);
        client.publish(&raw).await?;
    }
    // Held all at once: other keys are other keys, so that none waits for another.
    let mut held = Vec::new();
    for _ in keys {
        held.push(inbox.parcel().await?);
    }
    for parcel in held {
        let index: usize = String::from_utf8_lossy(parcel.payload())
            .parse()
            .map_err(Violation::new)?;
        ensure_eq!(
            parcel.envelope().key.as_deref(),
            keys.get(index).copied().flatten(),
            "the key of message {index}"
        );
        parcel.ack().await?;
    }
    inbox.quiet().await
}

/// Lets nothing through before it is opened.
#[derive(Debug)]
struct Gate {
    open: Semaphore,
    waiting: AtomicUsize,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Bug for Gate {
    async fn publish(
        &self,
        bus: &dyn Bus,
        batch: Vec<Arc<Message>>,
    ) -> Vec<bus_api::Result<Published>> {
        self.waiting.fetch_add(batch.len(), Ordering::SeqCst);
        let opened = self.open.acquire().await;
        self.waiting.fetch_sub(batch.len(), Ordering::SeqCst);
        drop(opened);
        bus.publish(batch).await
    }
}

async fn p8_publish_waits_while_the_window_is_full(context: Context) -> Result<(), Violation> {
    let gate = Gate::new();
    let client = context
        .client_behind(gate.clone(), &[("window", "4")])
        .await?;
    let publisher = client.publisher();
    let mut confirmations = Vec::new();
    for number in 0..4 {
        let sent = within(PATIENCE, "room", publisher.send(&Note::new("a.b", number)));
        confirmations.push(sent.await??);
    }
    eventually("something is on its way", || async {
        Ok(gate.waiting.load(Ordering::SeqCst) > 0)
    })
    .await?;
    match publisher.try_send(&Note::new("a.b", 90)) {
        Ok(_) => return Err(Violation::new("try_send found room in a full window")),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::Throttled, "{error}");
            ensure!(!error.is_indeterminate(), "nothing is sent, so: {error}");
        }
    }
    let fifth = Note::new("a.b", 4);
    let mut fifth = tokio::spawn({
        let client = client.clone();
        async move { client.publish(&fifth).await }
    });
    ensure!(
        tokio::time::timeout(QUIET, &mut fifth).await.is_err(),
        "a fifth publish did not wait in a window of four"
    );
    let most = gate.waiting.load(Ordering::SeqCst);
    ensure!(most <= 4, "{most} are on their way in a window of four");
    gate.open.add_permits(1);
    within(PATIENCE, "the fifth", fifth)
        .await?
        .map_err(Violation::new)??;
    for confirmation in confirmations {
        within(PATIENCE, "a confirmation", confirmation).await??;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    inbox.take_all(&Ledger::expecting(0..5)).await
}

async fn p8_the_window_counts_bytes_too(context: Context) -> Result<(), Violation> {
    let gate = Gate::new();
    let client = context
        .client_behind(gate.clone(), &[("window_bytes", "10000")])
        .await?;
    let publisher = client.publisher();
    let raw = |bytes: usize| {
        Ok::<_, Error>(Raw::new(
            Topic::new("a.b")?,
            "conformance.raw",
            "application/octet-stream",
            vec![b'x'; bytes],
        ))
    };
    let first = within(PATIENCE, "room", publisher.send(&raw(6000)?)).await??;
    match publisher.try_send(&raw(6000)?) {
        Ok(_) => return Err(Violation::new("12,000 bytes found room in 10,000")),
        Err(error) => ensure_eq!(error.kind(), ErrorKind::Throttled, "{error}"),
    }
    let second = publisher.try_send(&raw(3000)?)?;
    gate.open.add_permits(1);
    for confirmation in [first, second] {
        within(PATIENCE, "a confirmation", confirmation).await??;
    }
    // Larger than the whole window: it is not refused and does not wait for ever.
    within(PATIENCE, "a large publish", client.publish(&raw(20_000)?)).await??;
    let mut inbox = client.join(group("g", "a.b")).await?;
    for _ in 0..3 {
        inbox.parcel().await?.ack().await?;
    }
    inbox.quiet().await
}
