//! Waiting for an answer until a deadline.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

/// What `call` gives; `None` when it has not by `deadline`. As tokio's `timeout_at`, only that the timer is
/// not made before there is something to wait for: a transport in the same process answers at once.
///
/// # Cancel safety
/// Dropping it drops `call`.
pub(super) async fn by<F: Future>(deadline: Instant, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut timer = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if timer.is_none() {
            // Heard also when the call has used up the budget of its task.
            timer.set(Some(unconstrained(sleep_until(deadline))));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_wins_over_a_deadline_that_has_passed() {
        let passed = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(by(passed, ready(1)).await, Some(1));
        assert_eq!(by(passed, pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_until_the_deadline_and_no_longer() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let in_time = async {
            sleep_until(after(1)).await;
            1
        };
        assert_eq!(by(after(2), in_time).await, Some(1));
        assert_eq!(by(after(3), pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
