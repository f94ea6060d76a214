//! The responders of a namespace, as a requester knows them.

use std::collections::BTreeMap;
use std::time::Duration;

use bus_api::{Pattern, Result, Topic};
use bytes::Bytes;
use redis::Value;
use tokio::time::Instant;

use crate::error::senseless;
use crate::value::Take;

const WHAT: &str = "looking for responders";
/// How long they are asked without looking again: the freshest one may be another by then, and the server's clock
/// may have been set.
const FRESH: Duration = Duration::from_secs(2);

/// A responder that was there.
#[derive(Debug)]
struct Responder {
    group: String,
    pattern: Pattern,
    /// Its name among the responders.
    member: String,
}

impl Responder {
    /// `None` for a pattern that is not understood here.
    fn read(member: String) -> Result<Option<Self>> {
        let mut words = member.split(' ');
        let (Some(group), Some(pattern)) = (words.next(), words.next()) else {
            return Err(senseless(WHAT));
        };
        let (group, pattern) = (group.to_owned(), Pattern::new(pattern).ok());
        Ok(pattern.map(|pattern| Self {
            group,
            pattern,
            member,
        }))
    }
}

/// Whom a request goes to.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    /// Names the list that it shares with others of its group and pattern.
    pub(crate) queue: String,
    pub(crate) member: &'a str,
}

/// The live responders at one moment, with the version by which the server knows whether others have joined.
#[derive(Debug)]
pub(crate) struct Responders {
    pub(crate) version: Bytes,
    /// The freshest one last.
    all: Vec<Responder>,
    /// The server's clock in milliseconds, rounded down.
    clock: i64,
    /// When the answer had come.
    told_at: Instant,
    /// The connection over which it came.
    connection: u64,
}

impl Responders {
    /// Reads what the server says instead of passing a request on.
    pub(crate) fn read(parts: Vec<Value>, connection: u64) -> Result<Self> {
        let Ok([clock, version, members]) = <[Value; 3]>::try_from(parts) else {
            return Err(senseless(WHAT));
        };
        let mut all = Vec::new();
        for member in members.array(WHAT)? {
            all.extend(Responder::read(member.text(WHAT)?)?);
        }
        Ok(Self {
            version: version.bytes(WHAT)?,
            all,
            clock: clock.int(WHAT)?,
            told_at: Instant::now(),
            connection,
        })
    }

    /// Whether they may still be asked over a connection, perhaps to another server, without looking again.
    pub(crate) fn are_fresh(&self, connection: u64) -> bool {
        self.connection == connection && self.told_at.elapsed() < FRESH
    }

    /// One live responder of each group that takes this topic, the freshest.
    pub(crate) fn candidates(&self, topic: &Topic) -> Vec<Candidate<'_>> {
        let mut groups = BTreeMap::new();
        for responder in &self.all {
            if responder.pattern.matches(topic) {
                groups.insert(&responder.group, responder);
            }
        }
        let chosen = groups.into_values().map(|responder| Candidate {
            queue: format!("{} {}", responder.group, responder.pattern),
            member: &responder.member,
        });
        chosen.collect()
    }

    /// A deadline in milliseconds of the server's clock, never a later one: the answer took its time.
    pub(crate) fn millis(&self, deadline: Instant, longest: Duration) -> i64 {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .min(longest);
        let left = self.told_at.elapsed().saturating_add(left);
        let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        self.clock.saturating_add(left)
    }
}
