//! What becomes of a delivery on receipt: a pure function, in one fixed order.

use std::time::{Duration, SystemTime};

use super::options::OnExpired;
use crate::contract::{AttemptRecord, Delivery, Failure, SubscriptionId};
use crate::error::{Error, ErrorKind};

/// What the judgement depends on besides the delivery.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The identity of the subscription; a broadcast has none and keeps no records.
    pub(super) subscription: Option<SubscriptionId>,
    pub(super) max_attempts: u32,
    pub(super) on_expired: OnExpired,
    pub(super) skew: Duration,
}

/// What becomes of a delivery.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A handler may see it.
    Hand {
        record: AttemptRecord,
        /// A started-mark has to be stored first.
        mark: bool,
        /// It comes again and no recorded failure says why: it may have killed its last holder.
        suspect: bool,
    },
    /// It is settled unseen.
    Skip(Skipped),
    /// It is given up; the record counts the attempts made.
    GiveUp {
        failure: Failure,
        record: AttemptRecord,
    },
    /// It cannot be judged by this release: the subscription ends and settles nothing.
    Stop(Error),
}

/// Why a delivery is settled unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// A copy that is meant for another subscription.
    Foreign,
    /// It expired.
    Expired,
}

/// Judges `delivery`; `now` is asked only when it matters.
///
/// The order: malformed, copies for another subscription, the mark of a dead holder, too many attempts,
/// expiry.
pub(super) fn judge(rules: &Rules, delivery: &Delivery, now: impl Fn() -> SystemTime) -> Verdict {
    if let Some(problem) = &delivery.malformed {
        return give_up(Failure::MALFORMED, problem, AttemptRecord::default());
    }
    let targeted = delivery.message.targeted.as_deref();
    if targeted.is_some_and(|copy| Some(&copy.subscription) != rules.subscription.as_ref()) {
        return Verdict::Skip(Skipped::Foreign);
    }
    let mut record = match &delivery.record {
        None => targeted.and_then(|copy| copy.record).unwrap_or_default(),
        Some(stored) => match AttemptRecord::decode(stored) {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Verdict::Stop(error),
            Err(error) => {
                return give_up(
                    Failure::MALFORMED,
                    error.message(),
                    AttemptRecord::default(),
                );
            }
        },
    };
    let crashed = record.started;
    if crashed {
        record = record.crashed(now());
    }
    if record.attempt() > rules.max_attempts {
        let kind = if crashed {
            Failure::CRASH
        } else {
            Failure::HANDLER
        };
        let made = record.attempt() - 1;
        let text = format!(
            "{made} attempts were made, {} are allowed",
            rules.max_attempts
        );
        return give_up(kind, &text, record);
    }
    if let Some(expires_in) = delivery.message.metadata.expires_in {
        // A redriven copy is a new chance; a copy that only waits is as old as its original.
        let stored_at = match targeted {
            Some(copy) if copy.generation == 0 => copy.origin.stored_at,
            _ => delivery.position.stored_at(),
        };
        let end = stored_at
            .checked_add(expires_in)
            .and_then(|end| end.checked_add(rules.skew));
        if end.is_some_and(|end| end < now()) {
            return match rules.on_expired {
                OnExpired::Drop => Verdict::Skip(Skipped::Expired),
                OnExpired::DeadLetter => {
                    let text = format!("it was valid for {expires_in:?} from its storing");
                    give_up(Failure::EXPIRED, &text, record)
                }
            };
        }
    }
    let explained = record.failures > 0 && record.crashes == 0;
    let again = delivery.redelivered && rules.subscription.is_some();
    Verdict::Hand {
        record,
        mark: again,
        suspect: again && !explained,
    }
}

fn give_up(kind: &'static str, text: &str, record: AttemptRecord) -> Verdict {
    Verdict::GiveUp {
        failure: Failure::new(kind, text),
        record,
    }
}

#[cfg(test)]
mod tests;
