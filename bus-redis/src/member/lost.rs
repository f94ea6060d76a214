//! What the server lost, and what is new: groups that are not there (L4, T3).

use bus_api::{Notice, Offset, Provision, Topic};
use redis::Value;

use super::{Driver, Turn};
use crate::script::{self, RECREATE};
use crate::value::{Take, before, entries, id, offset};

const WHAT: &str = "creating a group";

impl Driver {
    /// A topic has no group: it is new, or the group or the whole log was lost.
    pub(super) async fn missing(&mut self, topic: &Topic, exists: bool) -> Turn<()> {
        let (grouped, last_read) = self
            .root(topic.root())
            .topics
            .get(topic)
            .map_or((false, None), |state| (state.grouped, state.last_read));
        if !grouped {
            if exists {
                let start = self.record.start.resolve(topic, false);
                self.create(topic, &start, false).await?;
            }
            return Ok(());
        }
        let log_lost = !exists || self.is_another_log(topic, last_read).await?;
        let epoch = self.handle.identity().1;
        let lowest = self.handle.shared.lowest(topic);
        self.handle.shared.lose(|lost| lost == topic, epoch);
        let notices = self.handle.core.life.notices().clone();
        if log_lost {
            notices.report(Notice::LogLost {
                log: topic.as_str().into(),
            });
            if let Some(state) = self.root(topic.root()).topics.get_mut(topic) {
                state.grouped = false;
                state.last_read = None;
                state.recover = None;
            }
            if exists {
                self.create(topic, "0", false).await?;
            }
            return Ok(());
        }
        let start = match (lowest, last_read) {
            (Some(lowest), _) => before(lowest),
            (None, Some(read)) => id(read),
            (None, None) => "0".to_owned(),
        };
        if self.create(topic, &start, true).await? {
            notices.report(Notice::SubscriptionRecreated {
                subscription: self.handle.id.clone(),
            });
        }
        Ok(())
    }

    /// Creates the group; true when nobody else was faster.
    async fn create(&mut self, topic: &Topic, start: &str, was_there: bool) -> Turn<bool> {
        let core = std::sync::Arc::clone(&self.handle.core);
        if core.config.settings.provision != Provision::Create {
            tracing::warn!(%topic, subscription = %self.handle.id,
                "a topic has no group and `provision` forbids to create it");
            return Ok(false);
        }
        let keys = self.root(topic.root()).keys.clone();
        let stream = core.keys.stream(topic);
        let mut call = script::call(&RECREATE, [&*keys.park, &*keys.records, &*stream]);
        call.arg(&self.handle.sub)
            .arg(start)
            .arg(u8::from(was_there));
        let reply = core.control.run(&call).await?.array(WHAT)?;
        let made = reply.first().map_or(Ok(0), |made| made.int(WHAT))? == 1;
        if !core.registry.knows(topic) {
            // The stream of a foreign producer: patterns find it from now on.
            core.registry.add(&core, &[topic]).await?;
        }
        if let Some(state) = self.root(topic.root()).topics.get_mut(topic) {
            state.grouped = true;
            state.recover = None;
        }
        self.touch(topic);
        Ok(made)
    }

    /// Whether the stream is not the one that was read: nothing was ever removed from it, and it begins
    /// after what was read.
    async fn is_another_log(&self, topic: &Topic, last_read: Option<Offset>) -> Turn<bool> {
        let Some(read) = last_read else {
            return Ok(false);
        };
        let core = &self.handle.core;
        let stream = core.keys.stream(topic);
        let first = redis::cmd("XRANGE")
            .arg(&stream)
            .arg("-")
            .arg("+")
            .arg("COUNT")
            .arg(1)
            .take();
        let first = entries(core.control.run(&first).await?, WHAT)?;
        if first.first().is_some_and(|(first, _)| *first <= read) {
            return Ok(false);
        }
        let info = redis::cmd("XINFO").arg("STREAM").arg(&stream).take();
        let info = core.control.run(&info).await?.array(WHAT)?;
        let (mut length, mut added, mut last) = (0, 0, Offset(0, 0));
        for pair in info.chunks_exact(2) {
            match &pair[0] {
                Value::BulkString(name) if name == b"length" => length = pair[1].int(WHAT)?,
                Value::BulkString(name) if name == b"entries-added" => added = pair[1].int(WHAT)?,
                Value::BulkString(name) if name == b"last-generated-id" => {
                    last = offset(&pair[1].clone().text(WHAT)?).unwrap_or(last);
                }
                _ => {}
            }
        }
        Ok(added == length || last < read)
    }
}
