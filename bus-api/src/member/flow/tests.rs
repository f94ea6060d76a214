//! Tests of the way of a delivery.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::*;
use crate::contract::{
    AttemptRecord, Delivery, Message, MessageId, Metadata, Offset, Position, Receipt, Topic,
};

fn entry(slot: Slot, key: Option<&'static str>, suspect: bool) -> Entry {
    resting_until(None, slot, key, suspect)
}

fn resting_until(
    not_before: Option<Instant>,
    slot: Slot,
    key: Option<&'static str>,
    suspect: bool,
) -> Entry {
    let now = SystemTime::UNIX_EPOCH;
    let metadata = Metadata::new(MessageId::new("1"), "test".into(), now);
    let mut message = Message::new(Topic::new("a").unwrap(), metadata, Bytes::new());
    message.key = key.map(|key| Bytes::from_static(key.as_bytes()));
    let delivery = Delivery {
        receipt: Receipt {
            slot: slot as u64,
            epoch: 1,
        },
        message: Arc::new(message),
        position: Position::new("log".into(), Offset(slot as u64, 0), now),
        delivery: 1,
        redelivered: suspect,
        not_before,
        record: None,
        malformed: None,
    };
    let mut entry = Entry::new(slot, delivery, AttemptRecord::default());
    (entry.mark, entry.suspect) = (suspect, suspect);
    entry
}

fn take(flow: &mut Flow, followers: bool) -> Vec<Entry> {
    let mut out = Vec::new();
    flow.take(usize::MAX, followers, |entry| out.push(entry));
    out
}

fn slots(entries: &[Entry]) -> Vec<Slot> {
    entries.iter().map(|entry| entry.slot).collect()
}

#[test]
fn a_suspect_that_waits_keeps_its_lane() {
    let mut flow = Flow::new(true);
    flow.enter(entry(1, None, true));
    flow.enter(entry(2, Some("k"), true));
    flow.enter(entry(3, Some("k"), false));
    assert_eq!(slots(&take(&mut flow, false)), [1]);
    flow.confirmed(1);
    let second = take(&mut flow, false);
    assert_eq!(slots(&second), [2]);
    flow.leave_lane(second[0].lane);
    assert_eq!(slots(&take(&mut flow, false)), [3]);
}

#[test]
fn a_batch_does_not_take_suspects_along() {
    let mut flow = Flow::new(true);
    flow.enter(entry(1, Some("k"), false));
    flow.enter(entry(2, Some("k"), false));
    flow.enter(entry(3, Some("k"), true));
    flow.enter(entry(4, Some("k"), false));
    let batch = take(&mut flow, true);
    assert_eq!(slots(&batch), [1, 2]);
    for entry in &batch {
        flow.leave_lane(entry.lane);
    }
    assert_eq!(slots(&take(&mut flow, true)), [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_rests_keeps_its_lane_until_its_time_and_until_it_is_stored() {
    let mut flow = Flow::new(false);
    flow.enter(entry(1, Some("k"), false));
    flow.enter(entry(2, Some("k"), false));
    let first = take(&mut flow, false).remove(0);
    let at = Instant::now() + Duration::from_secs(1);
    flow.park(first, at);
    assert_eq!(flow.next_due(), None);
    flow.stored(1);
    assert_eq!(flow.next_due(), Some(at));
    flow.wake_due(Instant::now());
    assert!(take(&mut flow, false).is_empty());
    flow.wake_due(at);
    assert_eq!(slots(&take(&mut flow, false)), [1]);
}

#[test]
fn whatever_waits_can_be_taken_out() {
    let mut flow = Flow::new(true);
    flow.enter(entry(1, None, true));
    flow.enter(entry(2, None, true));
    flow.enter(entry(3, Some("k"), false));
    flow.enter(entry(4, Some("k"), false));
    flow.enter(resting_until(Some(Instant::now()), 5, None, false));
    let mut removed: Vec<_> = flow.remove(|entry| entry.slot != 3);
    removed.sort_by_key(|(_, entry)| entry.slot);
    let found: Vec<_> = removed
        .iter()
        .map(|(at, e)| (e.slot, at.is_some()))
        .collect();
    assert_eq!(found, [(1, false), (2, false), (4, false), (5, true)]);
    assert_eq!(slots(&take(&mut flow, false)), [3]);
}
