//! Where a subscription starts.

use std::time::SystemTime;

use bus_api::{ErrorKind, Result, Start};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::error::error;

/// A start as it is stored: `Latest` has been resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredStart {
    /// The first message at this sequence or later.
    Sequence(u64),
    /// The first message that was stored at this time or later.
    Time(SystemTime),
}

/// What a start means now.
///
/// # Errors
/// `NotFound` when the log of a start position is gone, or has no such position.
pub(crate) async fn resolve(core: &Core, start: &Start) -> Result<StoredStart> {
    let log = core.log().await?;
    let last = async || {
        let info = core.stream_info(&core.keys.data()).await?;
        let info =
            info.ok_or_else(|| error(ErrorKind::Unavailable, "the stream of messages is missing"))?;
        Ok::<_, bus_api::Error>(info.state.last_seq)
    };
    match start {
        Start::Earliest => Ok(StoredStart::Sequence(1)),
        Start::Latest => Ok(StoredStart::Sequence(last().await?.saturating_add(1))),
        Start::Time(time) => Ok(StoredStart::Time(*time)),
        Start::Position(position) => {
            let sequence = position.offset().0;
            if *position.log() != log || last().await? < sequence {
                return Err(error(
                    ErrorKind::NotFound,
                    "the log of this position does not exist, or was lost and made anew",
                )
                .with("position", position));
            }
            Ok(StoredStart::Sequence(sequence))
        }
        _ => Err(error(
            ErrorKind::Unsupported,
            "this release does not know this start",
        )),
    }
}
