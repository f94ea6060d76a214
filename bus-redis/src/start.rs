//! Where a subscription starts, and the record of a durable one.

use std::time::{Duration, SystemTime};

use bus_api::{Error, ErrorKind, Position, Result, Start, Topic, split_version};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::error::error;
use crate::value::{Take, before, entries, id};

const VERSION: u8 = 1;
const WHAT: &str = "the record of a durable subscription";

/// What all members of a durable subscription agree upon. Stored as a version byte and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubRecord {
    pub(crate) group: String,
    pub(crate) pattern: String,
    pub(crate) start: StoredStart,
    /// The groups of the topics that were there at first have been created.
    pub(crate) ready: bool,
    /// Raised by every reset and deletion.
    pub(crate) epoch: u64,
    /// It was deleted on purpose: members end.
    pub(crate) deleted: bool,
}

/// A start as it is stored: `Latest` is resolved stream by stream while the subscription is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredStart {
    Earliest,
    Latest,
    Position(String),
    /// Milliseconds since 1970.
    Time(u64),
}

impl SubRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(serde_json::to_vec(self).unwrap_or_default());
        out
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self> {
        let (_, json) = split_version(stored, VERSION, WHAT)?;
        serde_json::from_slice(json)
            .map_err(|_| Error::new(ErrorKind::Decode, format!("{WHAT} is damaged")))
    }
}

impl StoredStart {
    pub(crate) fn new(start: &Start) -> Result<Self> {
        match start {
            Start::Earliest => Ok(Self::Earliest),
            Start::Latest => Ok(Self::Latest),
            Start::Position(position) => Ok(Self::Position(position.to_string())),
            Start::Time(time) => Ok(Self::Time(millis_up(*time))),
            _ => Err(error(
                ErrorKind::Unsupported,
                "this release does not know this start",
            )),
        }
    }

    /// The id after which a group or reader of `topic` begins. `existing`: the topic was there when the
    /// subscription was created; a later one is read from its first message on.
    pub(crate) fn resolve(&self, topic: &Topic, existing: bool) -> String {
        match self {
            Self::Earliest => "0".to_owned(),
            Self::Latest if existing => "$".to_owned(),
            Self::Latest => "0".to_owned(),
            Self::Time(millis) => before(bus_api::Offset(*millis, 0)),
            Self::Position(text) => match text.parse::<Position>() {
                Ok(position) if &**position.log() == topic.as_str() => before(position.offset()),
                Ok(position) => before(bus_api::Offset(millis_up(position.stored_at()), 0)),
                Err(_) => "0".to_owned(),
            },
        }
    }
}

/// Milliseconds since 1970, rounded up: what was stored before `time` does not count.
fn millis_up(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let up = since.saturating_add(Duration::from_nanos(999_999));
    u64::try_from(up.as_millis()).unwrap_or(u64::MAX)
}

/// Checks that the log of a start position is there and is the same.
///
/// Ids hold the server's time, so every id of a log that was made anew is above those of the lost one: a
/// position is of this log when its entry is there, or when entries were removed from the log and it lies
/// below its end.
///
/// # Errors
/// `NotFound` when it is not.
pub(crate) async fn check(core: &Core, start: &Start) -> Result<()> {
    const ASKED: &str = "looking for a position";
    let Start::Position(position) = start else {
        return Ok(());
    };
    let missing = || {
        error(
            ErrorKind::NotFound,
            "the log of this position does not exist, or was lost and made anew",
        )
        .with("position", position)
    };
    let topic = Topic::new(&**position.log()).map_err(|_| missing())?;
    let key = core.keys.stream(&topic);
    let at = id(position.offset());
    let command = redis::cmd("XRANGE").arg(&key).arg(&at).arg(&at).take();
    let found = entries(core.control.run(&command).await?, ASKED)?;
    if !found.is_empty() {
        return Ok(());
    }
    let command = redis::cmd("EXISTS").arg(&key).take();
    if core.control.run(&command).await?.int(ASKED)? == 0 {
        return Err(missing());
    }
    let command = redis::cmd("XINFO").arg("STREAM").arg(&key).take();
    let info = core.control.run(&command).await?.array(ASKED)?;
    let (mut length, mut added, mut last) = (0, 0, bus_api::Offset(0, 0));
    for pair in info.chunks_exact(2) {
        match &pair[0] {
            Value::BulkString(name) if name == b"length" => length = pair[1].int(ASKED)?,
            Value::BulkString(name) if name == b"entries-added" => added = pair[1].int(ASKED)?,
            Value::BulkString(name) if name == b"last-generated-id" => {
                last = crate::value::offset(&pair[1].clone().text(ASKED)?).unwrap_or(last);
            }
            _ => {}
        }
    }
    if added > length && position.offset() <= last {
        return Ok(());
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_leads_back_and_a_newer_one_is_unsupported() {
        let record = SubRecord {
            group: "g".into(),
            pattern: "a.>".into(),
            start: StoredStart::Time(7),
            ready: true,
            epoch: 3,
            deleted: false,
        };
        let mut stored = record.encode();
        assert_eq!(SubRecord::decode(&stored).unwrap(), record);
        stored[0] = 2;
        assert_eq!(
            SubRecord::decode(&stored).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn a_start_is_the_id_before_it() {
        let topic = Topic::new("a").unwrap();
        assert_eq!(StoredStart::Earliest.resolve(&topic, true), "0");
        assert_eq!(StoredStart::Latest.resolve(&topic, true), "$");
        assert_eq!(StoredStart::Latest.resolve(&topic, false), "0");
        assert_eq!(
            StoredStart::Time(5).resolve(&topic, true),
            "4-18446744073709551615"
        );
        let position = StoredStart::Position("a@5-3@5".into());
        assert_eq!(position.resolve(&topic, true), "5-2");
        let other = StoredStart::Position("b@5-3@5".into());
        assert_eq!(other.resolve(&topic, true), "4-18446744073709551615");
    }
}
