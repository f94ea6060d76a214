//! The judgement as a table: what came, what becomes of it.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::contract::{
    Group, Message, MessageId, Metadata, Offset, Origin, Pattern, Position, Receipt, Targeted,
    Topic,
};

const STORED: Duration = Duration::from_secs(1_700_000_000);

fn at(offset: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + STORED + offset
}

fn own() -> SubscriptionId {
    SubscriptionId::new(
        Group::new("mail").unwrap(),
        Pattern::new("orders.>").unwrap(),
    )
}

fn rules() -> Rules {
    Rules {
        subscription: Some(own()),
        max_attempts: 3,
        on_expired: OnExpired::Drop,
        skew: Duration::from_secs(1),
    }
}

fn delivery() -> Delivery {
    let metadata = Metadata::new(MessageId::new("1"), "test".into(), at(Duration::ZERO));
    let message = Message::new(Topic::new("orders.placed").unwrap(), metadata, Bytes::new());
    Delivery {
        receipt: Receipt { slot: 1, epoch: 1 },
        message: Arc::new(message),
        position: Position::new("log".into(), Offset(1, 0), at(Duration::ZERO)),
        delivery: 1,
        redelivered: false,
        not_before: None,
        record: None,
        malformed: None,
    }
}

fn with(change: impl FnOnce(&mut Delivery)) -> Delivery {
    let mut delivery = delivery();
    change(&mut delivery);
    delivery
}

fn copy_for(subscription: SubscriptionId, generation: u32) -> Targeted {
    Targeted {
        subscription,
        origin: Origin {
            position: Position::new("log".into(), Offset(0, 0), at(Duration::ZERO)),
            stored_at: SystemTime::UNIX_EPOCH,
        },
        generation,
        not_before: None,
        record: None,
    }
}

fn record(failures: u32, crashes: u32, started: bool) -> AttemptRecord {
    AttemptRecord {
        failures,
        crashes,
        started,
        ..AttemptRecord::default()
    }
}

fn stored(failures: u32, crashes: u32, started: bool) -> Option<Bytes> {
    Some(record(failures, crashes, started).encode())
}

/// A verdict as a word or two.
fn verdict(rules: &Rules, delivery: &Delivery) -> String {
    match judge(rules, delivery, || at(Duration::from_secs(10))) {
        Verdict::Hand {
            record,
            mark,
            suspect,
        } => format!(
            "hand {}{}{}",
            record.attempt(),
            if mark { " marked" } else { "" },
            if suspect { " suspect" } else { "" }
        ),
        Verdict::Skip(why) => format!("skip {why:?}"),
        Verdict::GiveUp { failure, record } => {
            format!("give up {} {}", failure.kind, record.attempt() - 1)
        }
        Verdict::Stop(error) => format!("stop {}", error.kind()),
    }
}

fn edit(delivery: &mut Delivery, change: impl FnOnce(&mut Message)) {
    change(Arc::make_mut(&mut delivery.message));
}

fn expiring(secs: u64) -> impl FnOnce(&mut Delivery) {
    move |d| {
        edit(d, |m| {
            m.metadata.expires_in = Some(Duration::from_secs(secs));
        });
    }
}

#[test]
fn every_case_of_the_fixed_order() {
    let other = SubscriptionId::new(Group::new("audit").unwrap(), own().pattern);
    let cases: Vec<(Delivery, &str)> = vec![
        (delivery(), "hand 1"),
        (with(|d| d.redelivered = true), "hand 1 marked suspect"),
        // A recorded failure explains the redelivery; a crash does not.
        (
            with(|d| (d.redelivered, d.record) = (true, stored(1, 0, false))),
            "hand 2 marked",
        ),
        (
            with(|d| (d.redelivered, d.record) = (true, stored(1, 1, false))),
            "hand 3 marked suspect",
        ),
        // A mark that is found set: the last holder died in the handler.
        (
            with(|d| (d.redelivered, d.record) = (true, stored(0, 0, true))),
            "hand 2 marked suspect",
        ),
        (
            with(|d| (d.redelivered, d.record) = (true, stored(2, 0, true))),
            "give up crash 3",
        ),
        (
            with(|d| d.record = stored(3, 0, false)),
            "give up handler 3",
        ),
        // Malformed comes before everything else.
        (
            with(|d| (d.malformed, d.record) = (Some("no id".into()), stored(9, 9, true))),
            "give up malformed 0",
        ),
        (
            with(|d| d.record = Some(Bytes::from_static(&[1, 0]))),
            "give up malformed 0",
        ),
        (
            with(|d| d.record = Some(Bytes::from_static(&[2, 0, 0]))),
            "stop unsupported",
        ),
        // Copies for one subscription: unseen by all others, whatever else they are.
        (
            with(|d| {
                edit(d, |m| m.targeted = Some(Box::new(copy_for(other, 1))));
                d.record = Some(Bytes::from_static(&[2, 0, 0]));
            }),
            "skip Foreign",
        ),
        (
            with(|d| edit(d, |m| m.targeted = Some(Box::new(copy_for(own(), 1))))),
            "hand 1",
        ),
        // A copy that only waits brings its record; one stored here since then wins.
        (
            with(|d| {
                let mut copy = copy_for(own(), 0);
                copy.record = Some(record(1, 0, false));
                edit(d, |m| m.targeted = Some(Box::new(copy)));
            }),
            "hand 2",
        ),
        (
            with(|d| {
                let mut copy = copy_for(own(), 0);
                copy.record = Some(record(1, 0, false));
                edit(d, |m| m.targeted = Some(Box::new(copy)));
                d.record = stored(2, 0, false);
            }),
            "hand 3",
        ),
        // Expiry: 10 s after the storing, with one second of tolerance.
        (with(expiring(8)), "skip Expired"),
        (with(expiring(9)), "hand 1"),
        (
            with(|d| {
                expiring(8)(d);
                d.record = stored(2, 0, true);
            }),
            "give up crash 3",
        ),
        // A redriven copy is as old as itself, a waiting one as old as its original.
        (
            with(|d| {
                expiring(9)(d);
                edit(d, |m| m.targeted = Some(Box::new(copy_for(own(), 1))));
            }),
            "hand 1",
        ),
        (
            with(|d| {
                expiring(9)(d);
                edit(d, |m| m.targeted = Some(Box::new(copy_for(own(), 0))));
            }),
            "skip Expired",
        ),
        (
            with(|d| edit(d, |m| m.metadata.expires_in = Some(Duration::MAX))),
            "hand 1",
        ),
    ];
    for (index, (delivery, expected)) in cases.iter().enumerate() {
        assert_eq!(verdict(&rules(), delivery), *expected, "case {index}");
    }
}

#[test]
fn expired_messages_become_dead_letters_when_configured() {
    let rules = Rules {
        on_expired: OnExpired::DeadLetter,
        ..rules()
    };
    assert_eq!(verdict(&rules, &with(expiring(8))), "give up expired 0");
}

#[test]
fn a_broadcast_marks_nothing_and_sees_no_copies() {
    let rules = Rules {
        subscription: None,
        ..rules()
    };
    assert_eq!(verdict(&rules, &with(|d| d.redelivered = true)), "hand 1");
    let copy = with(|d| edit(d, |m| m.targeted = Some(Box::new(copy_for(own(), 1)))));
    assert_eq!(verdict(&rules, &copy), "skip Foreign");
}
