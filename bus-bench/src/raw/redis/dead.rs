//! Dead letters: a stream beside the others, as applications keep one.

use std::time::Instant;

use anyhow::Result;
use redis::streams::StreamRangeReply;
use redis::{Pipeline, Value};

use super::{Redis, Use, streams};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

impl Redis {
    async fn page(&self, stream: &str, after: &str) -> Result<StreamRangeReply> {
        let mut connection = self.connection.clone();
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg(format!("({after}")).arg("+");
        range.arg("COUNT").arg(BATCH);
        Ok(range.query_async(&mut connection).await?)
    }

    pub(super) async fn dead_letter_pages(&self, load: &Load) -> Result<Sample> {
        let streams = streams(load, 1);
        self.fill(load, &streams).await?;
        let mut tally = Tally::new(load.messages);
        let mut last = "0".to_owned();
        let begun = Instant::now();
        loop {
            let page = self.page(&streams[0], &last).await?;
            for entry in &page.ids {
                tally.take(&entry.get::<Vec<u8>>("data").unwrap_or_default());
            }
            match page.ids.last() {
                Some(entry) => last.clone_from(&entry.id),
                None => break,
            }
        }
        Ok(Sample::received(begun.elapsed(), [&tally]))
    }

    pub(super) async fn redrive(&self, load: &Load) -> Result<Sample> {
        let streams = streams(load, 2);
        self.fill(load, &streams[..1]).await?;
        let mut connection = self.connection.clone();
        let mut done = 0;
        let begun = Instant::now();
        loop {
            let page = self.page(&streams[0], "0").await?;
            if page.ids.is_empty() {
                break;
            }
            let mut copies = Pipeline::new();
            let mut removal = redis::cmd("XDEL");
            removal.arg(&streams[0]);
            for entry in &page.ids {
                let mut add = redis::cmd("XADD");
                add.arg(&streams[1]).arg("*");
                for (name, value) in &entry.map {
                    if let Value::BulkString(value) = value {
                        add.arg(name).arg(&value[..]);
                    }
                }
                done += 1;
                match self.usage {
                    Use::Best => {
                        copies.add_command(add);
                        removal.arg(&entry.id);
                    }
                    Use::Plain => {
                        let _: Value = add.query_async(&mut connection).await?;
                        let _: Value = redis::cmd("XDEL")
                            .arg(&streams[0])
                            .arg(&entry.id)
                            .query_async(&mut connection)
                            .await?;
                    }
                }
            }
            if self.usage == Use::Best {
                // First the copies, then the removal: a crash in between leaves both.
                let _: Vec<Value> = copies.query_async(&mut connection).await?;
                let _: Value = removal.query_async(&mut connection).await?;
            }
        }
        Ok(Sample::done(begun.elapsed(), done, load.messages as u64))
    }
}
