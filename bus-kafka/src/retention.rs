//! Retention: Kafka removes whole segments, some minutes late, and knows neither counts nor what was settled.
//! So a keeper in every connection with limits of its own removes the oldest messages itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{ErrorKind, Result, Retention, RetentionMode, WhenFull};
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::admin::stretch;
use crate::core::Core;
use crate::error::{error, from_client};
use crate::sys::When;
use crate::topics::Known;

/// How often limits of count, bytes and settling are looked at.
const OFTEN: Duration = Duration::from_millis(500);
/// How often the age is looked at, at most and at least.
const SELDOM: Duration = Duration::from_secs(60);

type Offsets = HashMap<(String, i32), i64>;

/// # Errors
/// `Unsupported` for what Kafka cannot do.
pub(crate) fn check(retention: &Retention) -> Result<()> {
    let limited = retention.bytes.is_some() || retention.count.is_some();
    if limited && retention.when_full == WhenFull::Reject {
        return Err(error(
            ErrorKind::Unsupported,
            "Kafka cannot reject messages at a limit of bytes or count; set `retention.full=drop_oldest`",
        ));
    }
    Ok(())
}

/// Starts the keeper of this connection.
pub(crate) fn start(core: &Arc<Core>) {
    let retention = &core.config.settings.retention;
    let limited = retention.bytes.is_some()
        || retention.count.is_some()
        || retention.mode == RetentionMode::Settled;
    let every = if limited {
        OFTEN
    } else {
        (retention.age / 4).clamp(OFTEN, SELDOM)
    };
    let keeper = Arc::clone(core);
    core.life.spawn(async move {
        loop {
            tokio::time::sleep(every.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            if let Err(error) = keep(&keeper).await {
                tracing::debug!(%error, "retention cannot be looked after now");
            }
        }
    });
}

/// What a look at the logs found.
struct Logs {
    logs: Vec<(String, Known)>,
    first: Offsets,
    end: Offsets,
}

impl Logs {
    fn messages(&self) -> u64 {
        self.end
            .iter()
            .map(|(key, end)| end - self.first.get(key).copied().unwrap_or(0))
            .map(|count| u64::try_from(count).unwrap_or(0))
            .sum()
    }

    /// Messages of each partition before `cut`, over all.
    fn before(&self, cut: &Offsets) -> u64 {
        cut.iter()
            .map(|(key, cut)| cut - self.first.get(key).copied().unwrap_or(0))
            .map(|count| u64::try_from(count).unwrap_or(0))
            .sum()
    }
}

async fn keep(core: &Arc<Core>) -> Result<()> {
    let logs = core.all_logs().await?;
    if logs.is_empty() {
        return Ok(());
    }
    let mut found = Logs {
        first: core.offsets(&logs, When::Earliest).await?,
        end: core.offsets(&logs, When::Latest).await?,
        logs,
    };
    found.first.retain(|key, _| found.end.contains_key(key));
    if found.messages() == 0 {
        return Ok(());
    }
    let retention = &core.config.settings.retention;
    let mut cut: Offsets = HashMap::new();
    let oldest = SystemTime::now()
        .checked_sub(retention.age)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    merge(&mut cut, stored_before(core, &found, oldest).await?);
    if retention.mode == RetentionMode::Settled {
        merge(&mut cut, settled(core, &found).await?);
    }
    let mut most = retention.count;
    if let Some(bytes) = retention.bytes {
        let each = core
            .mean_size(&found.logs, &found.first, &found.end)
            .await?;
        let fits = bytes / each.max(1);
        most = Some(most.map_or(fits, |most| most.min(fits)));
    }
    if let Some(most) = most {
        let excess = found.messages().saturating_sub(most);
        merge(&mut cut, oldest_of(core, &found, excess).await?);
    }
    cut.retain(|key, cut| *cut > found.first.get(key).copied().unwrap_or(0));
    if cut.is_empty() {
        return Ok(());
    }
    count_dropped(core, &found, &cut).await?;
    remove(core, &cut).await
}

fn merge(cut: &mut Offsets, more: Offsets) {
    for (key, offset) in more {
        let known = cut.entry(key).or_insert(offset);
        *known = (*known).max(offset);
    }
}

/// Up to where everything was stored before `time`.
async fn stored_before(core: &Arc<Core>, found: &Logs, time: SystemTime) -> Result<Offsets> {
    let millis = i64::try_from(crate::registry::millis(time)).unwrap_or(i64::MAX);
    let mut offsets = core.offsets(&found.logs, When::At(millis)).await?;
    for (key, offset) in &mut offsets {
        if *offset < 0 {
            *offset = found.end.get(key).copied().unwrap_or(0);
        }
    }
    Ok(offsets)
}

/// The oldest `excess` messages of all partitions together.
async fn oldest_of(core: &Arc<Core>, found: &Logs, excess: u64) -> Result<Offsets> {
    if excess == 0 {
        return Ok(HashMap::new());
    }
    // The latest time before which not more than `excess` were stored.
    let now = crate::registry::millis(SystemTime::now()).saturating_add(60_000);
    let (mut low, mut high) = (0_u64, now);
    let mut cut = HashMap::new();
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(middle);
        let offsets = stored_before(core, found, time).await?;
        let before = found.before(&offsets);
        if before <= excess {
            (low, cut) = (middle, offsets);
            if before == excess {
                break;
            }
        } else {
            high = middle;
        }
    }
    // What was stored in the same millisecond goes one by one.
    let mut left = excess.saturating_sub(found.before(&cut));
    let after = SystemTime::UNIX_EPOCH + Duration::from_millis(low + 1);
    let more: BTreeMap<_, _> = stored_before(core, found, after)
        .await?
        .into_iter()
        .collect();
    for (key, upper) in more {
        let at = cut
            .entry(key.clone())
            .or_insert_with(|| found.first.get(&key).copied().unwrap_or(0));
        let room = u64::try_from(upper - *at).unwrap_or(0).min(left);
        *at += i64::try_from(room).unwrap_or(0);
        left -= room;
    }
    Ok(cut)
}

/// Up to where every durable subscription has settled everything.
async fn settled(core: &Arc<Core>, found: &Logs) -> Result<Offsets> {
    core.sync_registry().await?;
    let subscriptions = core.subscriptions();
    let mut cut: Offsets = HashMap::new();
    for (group, stored) in subscriptions {
        let Some(id) = stored.subscription() else {
            return Ok(HashMap::new());
        };
        let committed = core.committed(&group).await?;
        for (topic, known) in &found.logs {
            if !core.names.reaches(&id.pattern, topic) {
                continue;
            }
            for partition in 0..known.partitions {
                let key = (topic.clone(), partition);
                let first = found.first.get(&key).copied().unwrap_or(0);
                let end = found.end.get(&key).copied().unwrap_or(first);
                let of = committed
                    .iter()
                    .find(|element| element.topic == *topic && element.partition == partition);
                let base = stretch(of, known, first, end).first();
                let least = cut.entry(key).or_insert(base);
                *least = (*least).min(base);
            }
        }
    }
    Ok(cut)
}

/// Counts what goes although a subscription has not settled it.
async fn count_dropped(core: &Arc<Core>, found: &Logs, cut: &Offsets) -> Result<()> {
    core.sync_registry().await?;
    for (group, mut stored) in core.subscriptions() {
        let Some(id) = stored.subscription() else {
            continue;
        };
        let committed = core.committed(&group).await?;
        let mut stretches = Vec::new();
        for (topic, known) in &found.logs {
            if !core.names.reaches(&id.pattern, topic) {
                continue;
            }
            for partition in 0..known.partitions {
                let key = (topic.clone(), partition);
                let Some(end) = cut.get(&key).copied() else {
                    continue;
                };
                let first = found.first.get(&key).copied().unwrap_or(0);
                let of = committed
                    .iter()
                    .find(|element| element.topic == *topic && element.partition == partition);
                let mut stretch = stretch(of, known, first, end);
                stretch.topic.clone_from(topic);
                stretch.partition = partition;
                stretches.push(stretch);
            }
        }
        let dropped = core.scan(&id.pattern, stretches).await?.lag;
        if dropped > 0 {
            stored.dropped += dropped;
            core.register_subscription(&group, &stored).await?;
            core.note_dropped(&id, dropped);
        }
    }
    Ok(())
}

async fn remove(core: &Arc<Core>, cut: &Offsets) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in cut {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(|native| from_client(&native))?;
    }
    // The leader removes at once. Otherwise it would answer when all replicas had followed, and a broker answers the
    // requests of a connection one after the other: whatever else is asked would wait behind it.
    let options = AdminOptions::new()
        .request_timeout(Some(core.config.patience()))
        .operation_timeout(Some(Duration::ZERO));
    core.admin()
        .delete_records(&list, &options)
        .await
        .map(drop)
        .map_err(|native| from_client(&native))
}
