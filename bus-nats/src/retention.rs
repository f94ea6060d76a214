//! How long messages are kept (K1 to K3).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{Error, ErrorKind, Notice, Result, RetentionMode, SubscriptionId, WhenFull};
use serde_json::json;

use crate::api::ConsumerInfo;
use crate::core::Core;
use crate::reading::First;
use crate::registry::Known;

/// How often what everybody has settled is removed.
const SETTLED_EVERY: Duration = Duration::from_millis(500);
/// How often a race for a record is tried.
const TRIES: usize = 8;
/// How often, and after which pause, a consumer is looked at that has not noticed what was removed.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How often messages beyond their age are looked for.
fn by_age(age: Duration) -> Duration {
    (age / 10).clamp(Duration::from_millis(250), Duration::from_secs(30))
}

/// How long the server keeps a message: a little longer than the bus, which counts what it drops.
pub(crate) fn age_at_server(age: Duration) -> Duration {
    if age.is_zero() {
        return Duration::ZERO;
    }
    age.saturating_add(by_age(age) * 4)
}

/// Removes what is recorded of the messages of a subscription.
pub(crate) async fn forget_records(core: &Core, sub: &str, era: u64) -> Result<()> {
    let question = json!({"filter": core.keys.records(sub, era)});
    core.purge(&core.keys.books(), &question).await.map(drop)
}

/// The consumers of the durable subscriptions, as they are now.
async fn durables(core: &Core) -> Result<Vec<(SubscriptionId, Known, Option<ConsumerInfo>)>> {
    let records = core.subscriptions().await?;
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let mut consumers = core.consumers(&core.keys.data()).await?;
    Ok(records
        .into_iter()
        .map(|(id, known)| {
            let name = known.record.consumer(&id.broker_name());
            let at = consumers.iter().position(|info| info.name == name);
            let info = at.map(|at| consumers.swap_remove(at));
            (id, known, info)
        })
        .collect())
}

/// The lowest place that a consumer may still need.
fn floor(info: &ConsumerInfo, end: u64) -> u64 {
    if info.num_ack_pending > 0 {
        info.ack_floor.stream_seq + 1
    } else if info.num_pending > 0 {
        info.delivered.stream_seq + 1
    } else {
        end
    }
}

/// Removes what every durable subscription has settled.
async fn trim_settled(core: &Core) -> Result<()> {
    // Before the consumers are looked at: what comes later is not theirs to have settled.
    let Some(stream) = core.stream_info(&core.keys.data()).await? else {
        return Ok(());
    };
    let end = stream.state.last_seq + 1;
    let mut lowest: Option<u64> = None;
    for (_, _, info) in durables(core).await? {
        let Some(info) = info else {
            // It is about to be made, or to be made again.
            return Ok(());
        };
        let floor = floor(&info, end);
        lowest = Some(lowest.map_or(floor, |lowest| lowest.min(floor)));
    }
    let Some(lowest) = lowest.filter(|lowest| *lowest > stream.state.first_seq) else {
        return Ok(());
    };
    core.remove(stream.state.first_seq..lowest).await.map(drop)
}

/// Removes messages and counts, for each subscription, what it had not settled of them.
async fn drop_counted(core: &Core, removing: impl Future<Output = Result<u64>>) -> Result<()> {
    let before = durables(core).await?;
    let data = core.keys.data();
    if removing.await? == 0 {
        return Ok(());
    }
    let first = match core.stream_info(&data).await? {
        Some(stream) => stream.state.first_seq,
        None => return Ok(()),
    };
    for (id, known, info) in before {
        // Whoever had settled everything below lost nothing.
        let Some(info) = info.filter(|info| floor(info, first) < first) else {
            continue;
        };
        let name = known.record.consumer(&id.broker_name());
        let Some(after) = caught_up(core, &name, first).await? else {
            continue;
        };
        let unsettled = |info: &ConsumerInfo| info.num_pending + info.num_ack_pending;
        let messages = unsettled(&info).saturating_sub(unsettled(&after));
        if messages > 0 {
            count(core, &id, messages).await?;
            core.life.notices().report(Notice::Dropped {
                subscription: id,
                messages,
            });
        }
    }
    Ok(())
}

/// The consumer once it has noticed that what it had handed over below `first` is gone: that takes the server a moment.
async fn caught_up(core: &Core, name: &str, first: u64) -> Result<Option<ConsumerInfo>> {
    let mut looks = 0;
    loop {
        let info = core.consumer_info(&core.keys.data(), name).await?;
        let behind = info
            .as_ref()
            .is_some_and(|info| info.num_ack_pending > 0 && info.ack_floor.stream_seq + 1 < first);
        if !behind || looks == LOOKS {
            return Ok(info);
        }
        looks += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Removes the oldest messages until so many are left; says how many went.
async fn keep_newest(core: &Core, keep: u64) -> Result<u64> {
    let mut removed = 0;
    loop {
        let Some(stream) = core.stream_info(&core.keys.data()).await? else {
            return Ok(removed);
        };
        let state = stream.state;
        let excess = state.messages.saturating_sub(keep);
        if excess == 0 {
            return Ok(removed);
        }
        // Where places are empty it takes another turn.
        let gone = core
            .remove(state.first_seq..state.first_seq + excess)
            .await?;
        removed += gone;
        if gone == 0 {
            return Ok(removed);
        }
    }
}

/// Adds to what a subscription has lost.
async fn count(core: &Core, id: &SubscriptionId, messages: u64) -> Result<()> {
    let sub = id.broker_name();
    for _ in 0..TRIES {
        let Some(known) = core.load(&sub).await? else {
            return Ok(());
        };
        let mut record = known.record;
        record.dropped = record.dropped.saturating_add(messages);
        match core.store(&sub, record, known.revision).await {
            Err(failed) if failed.kind() == ErrorKind::Fenced => {}
            stored => return stored.map(drop),
        }
    }
    Ok(())
}

/// Removes what is older than its age.
async fn trim_aged(core: &Core, age: Duration) -> Result<()> {
    let data = core.keys.data();
    let Some(stream) = core.stream_info(&data).await? else {
        return Ok(());
    };
    let now = stream.ts.map_or_else(SystemTime::now, Into::into);
    let Some(cut) = now.checked_sub(age) else {
        return Ok(());
    };
    let question = json!({"seq": stream.state.first_seq, "next_by_subj": core.keys.all('t')});
    let oldest = core.get(&data, &question).await?;
    if oldest.is_none_or(|oldest| oldest.stored_at() > cut) {
        return Ok(());
    }
    // A consumer that starts at a time knows the first message of that time.
    let info = core
        .reading_consumer(&data, None, First::At(cut), true)
        .await?;
    core.let_consumer_go(&data, &info.name);
    let end = info.delivered.stream_seq + 1;
    drop_counted(core, core.remove(stream.state.first_seq..end)).await
}

/// Starts the task that looks after age and settled messages; of all processes one does it at a time.
pub(crate) fn start(core: &Arc<Core>) {
    let keeper = Arc::clone(core);
    core.life.spawn(async move { keep(&keeper).await });
}

async fn keep(core: &Core) {
    let retention = &core.config.settings.retention;
    let settled = retention.mode == RetentionMode::Settled;
    let aged = by_age(retention.age);
    let every = if settled {
        SETTLED_EVERY.min(aged)
    } else {
        aged
    };
    let name = format!("{}-{}", u8::from(settled), retention.age.as_millis());
    let mut aged_at = tokio::time::Instant::now() + aged;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = core.life.ended() => return,
        }
        let work = async {
            core.ready().await?;
            if !mine(core, &name, every).await? {
                return Ok(());
            }
            if settled {
                trim_settled(core).await?;
            }
            if aged_at <= tokio::time::Instant::now() && !retention.age.is_zero() {
                aged_at = tokio::time::Instant::now() + aged;
                trim_aged(core, retention.age).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = work.await {
            tracing::debug!(%error, "retention could not be looked after");
        }
    }
}

/// Whether it is this process's turn.
async fn mine(core: &Core, name: &str, every: Duration) -> Result<bool> {
    let (subject, books) = (core.keys.keeper(name), core.keys.books());
    let last = core.get(&books, &json!({"last_by_subj": subject})).await?;
    let revision = match last {
        None => 0,
        Some(last) => {
            let info = core.stream_info(&books).await?;
            let now: SystemTime = info
                .and_then(|info| info.ts)
                .map_or_else(SystemTime::now, Into::into);
            let age = now.duration_since(last.stored_at()).unwrap_or_default();
            if age < every / 2 {
                return Ok(false);
            }
            last.seq
        }
    };
    // Unlike anybody else's: so that a try without an answer is known again.
    let own = uuid::Uuid::new_v4().simple().to_string();
    match core.put(subject, own.into(), Some(revision)).await {
        Ok(_) => Ok(true),
        Err(failed) if failed.kind() == ErrorKind::Fenced => Ok(false),
        Err(failed) => Err(failed),
    }
}

/// Makes room for a batch where the oldest messages are to go; the server itself would not count them.
pub(crate) async fn make_room(core: &Core, messages: u64, bytes: u64) -> Result<()> {
    let retention = &core.config.settings.retention;
    let Some(stream) = core.stream_info(&core.keys.data()).await? else {
        return Ok(());
    };
    let held = stream.state.messages;
    let mut keep = held;
    if let Some(count) = retention.count {
        keep = keep.min(count.saturating_sub(messages));
    }
    if let Some(limit) = retention.bytes {
        let excess = (stream.state.bytes + bytes).saturating_sub(limit);
        if excess > 0 {
            let each = (stream.state.bytes / held.max(1)).max(1);
            keep = keep.min(held.saturating_sub(excess.div_ceil(each)));
        }
    }
    if keep >= held {
        return Ok(());
    }
    drop_counted(core, keep_newest(core, keep)).await
}

/// Whether publishing has to make room itself.
pub(crate) fn makes_room(core: &Core) -> bool {
    let retention = &core.config.settings.retention;
    retention.when_full == WhenFull::DropOldest
        && (retention.count.is_some() || retention.bytes.is_some())
}
