//! Who is there: the live members of a subscription.

use std::time::Duration;

use bus_api::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::core::Core;

/// A member that was not heard of for so long is gone.
pub(crate) fn valid_for(lease: Duration) -> Duration {
    lease.clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// What a member says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Presence {
    pub(crate) version: u8,
    pub(crate) member: String,
    /// How long this counts.
    pub(crate) millis: u64,
    /// The lowest message that it holds.
    pub(crate) lowest: Option<u64>,
    /// The highest message that it ever fetched.
    pub(crate) highest: Option<u64>,
    /// Of which consumer it speaks.
    pub(crate) generation: u64,
}

impl Presence {
    pub(crate) const VERSION: u8 = 1;
}

/// A member that was heard of.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) presence: Presence,
    /// How long ago it was heard of.
    age: Duration,
}

impl Member {
    /// Whether it counts as live.
    pub(crate) fn is_live(&self) -> bool {
        self.age < Duration::from_millis(self.presence.millis)
    }

    /// Whether it may hold something: it lives, or a lease has not passed since.
    pub(crate) fn may_hold(&self, lease: Duration) -> bool {
        self.is_live() || self.age < lease
    }
}

impl Core {
    /// Says that a member is there.
    pub(crate) async fn be_present(&self, sub: &str, presence: &Presence) -> Result<()> {
        let subject = self.keys.member(sub, &presence.member);
        let payload = serde_json::to_vec(presence).unwrap_or_default();
        self.put(subject, payload.into(), None).await.map(drop)
    }

    /// Says that a member has gone.
    pub(crate) async fn be_gone(&self, sub: &str, member: &str) -> Result<()> {
        let question = json!({"filter": self.keys.member(sub, member)});
        self.purge(&self.keys.books(), &question).await.map(drop)
    }

    /// All members that were heard of.
    pub(crate) async fn members(&self, sub: &str) -> Result<Vec<Member>> {
        let books = self.keys.books();
        let Some(info) = self.stream_info(&books).await? else {
            return Ok(Vec::new());
        };
        let now = info.ts.unwrap_or_else(jiff::Timestamp::now);
        let subjects = self.subjects(&books, &self.keys.members(sub)).await?;
        let asked: Vec<_> = subjects
            .keys()
            .map(|subject| self.get_later(&books, &json!({"last_by_subj": subject})))
            .collect();
        let mut members = Vec::new();
        for slot in asked {
            let Some(stored) = Self::got(slot.answer(self.patience()).await)? else {
                continue;
            };
            let Ok(presence) = serde_json::from_slice::<Presence>(&stored.payload()) else {
                continue;
            };
            let age = now.duration_since(stored.time).unsigned_abs();
            members.push(Member { presence, age });
        }
        Ok(members)
    }
}
