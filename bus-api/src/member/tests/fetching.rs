//! O1: consumer and keeper fetch at the same time.

use super::super::*;
use super::fake::*;
use super::{next_now, number};

/// The keeper fetches, too, while the consumer is busy: what one of them was given is not overtaken by what the other was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_threads_fetch_stays_in_order() {
    const ALL: u64 = 5_000;
    let fake = Fake::default();
    let mut member = fake.join(options(spec())).await;
    for number in 0..ALL {
        fake.deliver([keyed(number, "k")]);
    }
    let both = std::sync::Barrier::new(2);
    let fetch = || {
        both.wait();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !fake.script().inflow.is_empty() {
            let _ = member.shared.poll_fetch(&mut cx, 1);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(fetch);
        scope.spawn(fetch);
    });
    for expected in 0..ALL {
        let held = within(next_now(&mut member)).await.unwrap();
        assert_eq!(number(&held), expected);
        drop(held.ack());
    }
}
