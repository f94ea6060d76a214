//! Removing messages from the log.
//!
//! The server's way to remove many is a purge. But a purge makes every consumer of the stream forget which of its
//! unsettled messages are to be handed over next: those nacked, given back or left by a dead member, while nobody
//! asks for more. They would come only when another lease has ended. So messages are removed one by one, which
//! touches nothing but them.

use std::ops::Range;

use bus_api::Result;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::json;

use crate::api::{found, parse};
use crate::core::Core;
use crate::error::{NOT_THERE, is_refusal};
use crate::link::Lost;

/// Messages that are removed at the same time.
const AT_ONCE: u64 = 256;

#[derive(Deserialize)]
struct Done {}

impl Core {
    /// Removes the messages of the log in these places; says how many were there.
    ///
    /// # Errors
    /// When the server refused, or did not answer in time; some may be removed then.
    pub(crate) async fn remove(&self, places: Range<u64>) -> Result<u64> {
        let (mut next, mut removed) = (places.start, 0);
        while next < places.end {
            self.usable()?;
            let end = places.end.min(next.saturating_add(AT_ONCE));
            let there = try_join_all((next..end).map(|place| self.remove_one(place))).await?;
            let there: u64 = there.into_iter().map(u64::from).sum();
            next = end;
            if there == 0 {
                // A gap may be a long one.
                let stream = self.stream_info(&self.keys.data()).await?;
                next = next.max(stream.map_or(places.end, |stream| stream.state.first_seq));
            }
            removed += there;
        }
        Ok(removed)
    }

    /// Removes one message; says whether it was there.
    async fn remove_one(&self, place: u64) -> Result<bool> {
        let rest = format!("STREAM.MSG.DELETE.{}", self.keys.data());
        let asked = self.api_later(&rest, &json!({"seq": place, "no_erase": true}));
        let answer = asked.answer(self.patience()).await.map_err(Lost::error)?;
        match found(parse::<Done>("removing a message", &answer.payload)) {
            Ok(done) => Ok(done.is_some()),
            Err(refused) if is_refusal(&refused, NOT_THERE) => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}
