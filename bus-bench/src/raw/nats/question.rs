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
        let (client, headers) = (self.client.clone(), self.headers.clone());
        let responder = tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                if let Some(to) = question.reply {
                    let headers = headers.clone();
                    client
                        .publish_with_headers(to, headers, question.payload)
                        .await?;
                }
            }
            anyhow::Ok(())
        });
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let question = load.payload(number);
            let headers = self.headers.clone();
            let asking =
                self.client
                    .request_with_headers(subject.clone(), headers, question.clone());
            let answer = asking.await?;
            ensure!(answer.payload == question, "the wrong answer");
            calls.tick();
        }
        responder.abort();
        Ok(calls.sample())
    }
}
