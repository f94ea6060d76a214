//! The subscription is paused by an operator, and goes on.

use std::time::Duration;

use super::fake::*;
use super::{all_now, next_now, number, numbers};

/// Lets the keeper hear of it.
async fn pause(fake: &Fake, paused: bool) {
    fake.paused.send_replace(paused);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_stays_in_its_order() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1), delivery(2), delivery(3)]);
        let first = next_now(&mut member).await.unwrap();
        // Nobody polls the member now: its handlers are busy.
        pause(&fake, true).await;
        first.ack().await.unwrap();
        assert!(next_now(&mut member).await.is_none());
        assert_eq!(fake.script().asked.last(), Some(&0), "only news are wanted");
        assert_eq!(fake.script().settled.len(), 1, "nothing is handed back");
        pause(&fake, false).await;
        assert_eq!(numbers(&all_now(&mut member).await), [2, 3]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_consumer_goes_on() {
    within(async {
        let fake = Fake::default();
        fake.paused.send_replace(true);
        let mut member = fake.join(options(spec())).await;
        let waiting = tokio::spawn(async move { member.next().await.unwrap().unwrap() });
        fake.deliver([delivery(1)]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!waiting.is_finished(), "a member that joins is paused, too");
        pause(&fake, false).await;
        assert_eq!(number(&waiting.await.unwrap()), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_wait_for_more() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        let hour = Duration::from_secs(3_600);
        let waiting = tokio::spawn(async move { member.next_batch(10, hour).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        pause(&fake, true).await;
        let batch = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!(numbers(&batch), [1]);
    })
    .await;
}
