//! A consumer that waits is woken, whoever received what it waits for.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::*;
use super::fake::*;
use super::next_now;

/// Long enough that the keeper has looked several times and receives in the consumer's place.
const LONG: Duration = Duration::from_secs(10);

/// Waits for the next delivery in a task that nobody else polls.
fn wait(mut member: Member) -> JoinHandle<(Member, Held)> {
    tokio::spawn(async move {
        let held = member.next().await.unwrap().unwrap();
        (member, held)
    })
}

#[tokio::test(start_paused = true)]
async fn a_waiting_consumer_gets_what_comes_while_something_is_held() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        let held = next_now(&mut member).await.unwrap();
        let waiting = wait(member);
        tokio::time::sleep(LONG).await;
        fake.deliver([delivery(2)]);
        let (_, second) = waiting.await.unwrap();
        drop((held, second));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_consumer_gets_what_comes_after_everything_was_settled() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        let held = next_now(&mut member).await.unwrap();
        let waiting = wait(member);
        tokio::time::sleep(LONG).await;
        held.ack().await.unwrap();
        tokio::time::sleep(LONG).await;
        fake.deliver([delivery(2)]);
        let (_, second) = waiting.await.unwrap();
        drop(second);
    })
    .await;
}
