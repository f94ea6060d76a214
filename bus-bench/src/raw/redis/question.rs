//! Request and reply.

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use redis::Value;

use super::{Redis, Use};
use crate::load::Load;
use crate::side::{Calls, Sample};

impl Redis {
    pub(super) async fn ask(&self, load: &Load) -> Result<Sample> {
        match self.usage {
            Use::Best => self.ask_channel(load).await,
            Use::Plain => self.ask_list(load).await,
        }
    }

    async fn ask_channel(&self, load: &Load) -> Result<Sample> {
        let (questions, answers) = (
            format!("raw:q:{}", load.root),
            format!("raw:a:{}", load.root),
        );
        let mut asked = self.client.get_async_pubsub().await?;
        asked.subscribe(&questions).await?;
        let mut answering = self.client.get_multiplexed_async_connection().await?;
        let to = answers.clone();
        let responder = tokio::spawn(async move {
            let mut asked = asked.into_on_message();
            while let Some(question) = asked.next().await {
                let _: Value = redis::cmd("PUBLISH")
                    .arg(&to)
                    .arg(question.get_payload_bytes())
                    .query_async(&mut answering)
                    .await?;
            }
            anyhow::Ok(())
        });
        let mut inbox = self.client.get_async_pubsub().await?;
        inbox.subscribe(&answers).await?;
        let mut inbox = inbox.into_on_message();
        let mut connection = self.connection.clone();
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let question = load.payload(number);
            let heard: u64 = redis::cmd("PUBLISH")
                .arg(&questions)
                .arg(&question[..])
                .query_async(&mut connection)
                .await?;
            ensure!(heard == 1, "nobody listens");
            let answer = inbox.next().await.context("the inbox ended")?;
            ensure!(answer.get_payload_bytes() == question, "the wrong answer");
            calls.tick();
        }
        responder.abort();
        Ok(calls.sample())
    }

    async fn ask_list(&self, load: &Load) -> Result<Sample> {
        let root = format!("raw:{{{}}}:", load.root);
        let (questions, answers) = (format!("{root}q"), format!("{root}a"));
        let mut taking = self.reader().await?;
        let (from, to) = (questions.clone(), answers.clone());
        let responder = tokio::spawn(async move {
            loop {
                let (_, question): (String, Vec<u8>) = redis::cmd("BLPOP")
                    .arg(&from)
                    .arg(0)
                    .query_async(&mut taking)
                    .await?;
                let _: Value = redis::cmd("RPUSH")
                    .arg(&to)
                    .arg(question)
                    .query_async(&mut taking)
                    .await?;
            }
            #[expect(unreachable_code, reason = "says what the task returns")]
            anyhow::Ok(())
        });
        let mut connection = self.reader().await?;
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let question = load.payload(number);
            let _: Value = redis::cmd("RPUSH")
                .arg(&questions)
                .arg(&question[..])
                .query_async(&mut connection)
                .await?;
            let (_, answer): (String, Vec<u8>) = redis::cmd("BLPOP")
                .arg(&answers)
                .arg(0)
                .query_async(&mut connection)
                .await?;
            ensure!(answer == question, "the wrong answer");
            calls.tick();
        }
        responder.abort();
        Ok(calls.sample())
    }
}
