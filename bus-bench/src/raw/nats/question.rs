//! Request and reply.

use anyhow::{Result, ensure};
use futures_util::StreamExt;

use super::Nats;
use crate::load::Load;
use crate::side::{Calls, Sample};

impl Nats {
    pub(super) async fn ask(&self, load: &Load) -> Result<Sample> {
        let subject = format!("rawq.{}", load.root);
        let mut asked = self
            .client
            .queue_subscribe(subject.clone(), "bench".to_owned())
            .await?;
        self.client.flush().await?;
        let client = self.client.clone();
        let responder = tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                if let Some(to) = question.reply {
                    client.publish(to, question.payload).await?;
                }
            }
            anyhow::Ok(())
        });
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let question = load.payload(number);
            let answer = self
                .client
                .request(subject.clone(), question.clone())
                .await?;
            ensure!(answer.payload == question, "the wrong answer");
            calls.tick();
        }
        responder.abort();
        Ok(calls.sample())
    }
}
