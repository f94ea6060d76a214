//! A3 and A4: nacks, and deliveries that are dropped.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Bounds, Ledger, Note, Pump, Token, ack_all, broadcast, eventually, group, ms, notes, numbers,
    scripted_panic, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a3_nack_redelivers),
        case!(a3_nack_after_delay_comes_not_before_it),
        case!(a3_many_delays_each_keep_their_time),
        case!(a3_other_messages_flow_while_a_nack_waits),
        case!(a3_other_messages_flow_while_hundreds_of_nacks_wait),
        case!(a3_no_other_subscription_notices_a_nack),
        case!(a3_a_delay_outlives_its_member),
        case!(a3_a_delay_outlives_the_broker)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(a4_a_dropped_delivery_is_a_nack_under_the_policy),
        case!(a4_a_panic_is_a_nack),
        case!(a4_a_cancelled_handler_is_a_nack),
        case!(a4_dropped_ones_end_as_dead_letters),
    ]
}

async fn a3_nack_redelivers(context: Context) -> Result<(), Violation> {
    let prompt = Bounds::of(&context).prompt;
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let mut id = None;
    for attempt in 1..=3 {
        let token = inbox
            .next_within(if attempt == 1 { secs(20) } else { prompt })
            .await?;
        ensure_eq!(token.attempt(), attempt, "the attempt");
        let seen = token.envelope().metadata.id.clone();
        ensure_eq!(id.get_or_insert(seen.clone()), &seen, "the id");
        token.nack().await?;
    }
    inbox.next_within(prompt).await?.ack().await?;
    inbox.quiet().await
}

/// How long after its nack a message came: not before the delay, and promptly after it.
fn in_time(
    delay: Duration,
    asked: Instant,
    confirmed: Instant,
    slack: Duration,
) -> Result<(), Violation> {
    let now = Instant::now();
    // From the call, because the broker may have counted from then; a clock tick is forgiven.
    ensure!(
        now - asked + ms(5) >= delay,
        "it came after {:?}; {delay:?} was asked for",
        now - asked
    );
    ensure!(
        now - confirmed <= delay + slack,
        "it came only after {:?}; {delay:?} was asked for",
        now - confirmed
    );
    Ok(())
}

async fn a3_nack_after_delay_comes_not_before_it(context: Context) -> Result<(), Violation> {
    let prompt = Bounds::of(&context).prompt;
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    for delay in [ms(300), ms(1500)] {
        let token = inbox.next().await?;
        let asked = Instant::now();
        token.nack_after(delay).await?;
        let confirmed = Instant::now();
        let token = inbox.next().await?;
        in_time(delay, asked, confirmed, prompt)?;
        token.nack().await?;
    }
    let token = inbox.next().await?;
    ensure_eq!(
        token.attempt(),
        5,
        "two delays and two nacks are four failures"
    );
    token.ack().await
}

async fn a3_many_delays_each_keep_their_time(context: Context) -> Result<(), Violation> {
    let prompt = Bounds::of(&context).prompt;
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    for note in notes("a.b", 0..24) {
        client.publish(&note).await?;
    }
    // Later ones come back earlier: a queue of delays in order of arrival is too late.
    let delay = |number: u64| ms(200 + (24 - number) * 60);
    let held = inbox.hold(24).await?;
    let asked = Instant::now();
    for token in held {
        let number = token.number();
        token.nack_after(delay(number)).await?;
    }
    let confirmed = Instant::now();
    for _ in 0..24 {
        let token = inbox.next().await?;
        in_time(delay(token.number()), asked, confirmed, prompt)?;
        token.ack().await?;
    }
    inbox.quiet().await
}

async fn a3_other_messages_flow_while_a_nack_waits(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(4)).await?;
    // As many delayed ones as fit into the hands of the member.
    for note in notes("a.b", 0..4) {
        client.publish(&note).await?;
    }
    for token in inbox.hold(4).await? {
        token.nack_after(secs(3600)).await?;
    }
    for note in notes("a.b", 10..70) {
        client.publish(&note).await?;
    }
    inbox.take_all(&Ledger::expecting(10..70)).await
}

/// More than a broker's record of who has what may hold: half of them rest, most for an hour. Nothing that is
/// settled waits for them, and those that rest for a while come back in time.
async fn a3_other_messages_flow_while_hundreds_of_nacks_wait(
    context: Context,
) -> Result<(), Violation> {
    const COUNT: u64 = 1_000;
    let client = context.client().await?;
    let inbox = client.join(group("g", "a.b")).await?;
    let rests_long = |number: u64| number % 2 == 1 && number % 10 != 1;
    let ledger = Ledger::expecting((0..COUNT).filter(|number| !rests_long(*number)));
    let books = ledger.clone();
    let pump = Pump::handling(inbox, move |token| {
        let (number, attempt) = (token.number(), token.attempt());
        let ledger = books.clone();
        let is_last = number % 2 == 0 || attempt > 1;
        if is_last {
            ledger.deliver("one", &token);
        }
        async move {
            if rests_long(number) {
                return token.nack_after(secs(3600)).await;
            }
            if !is_last {
                let (asked, delay) = (Instant::now(), secs(2));
                token.nack_after(delay).await?;
                let took = asked.elapsed();
                ensure!(took < delay * 5, "confirming a nack took {took:?}");
                return Ok(());
            }
            ensure_eq!(attempt, 1 + u32::from(number % 2 == 1), "the attempt");
            token.ack().await?;
            ledger.ack(number);
            Ok(())
        }
    });
    for result in client.publish_batch(&notes("a.b", 0..COUNT)).await {
        result?;
    }
    ledger.until_all_acked().await?;
    ledger.exact()?;
    pump.leave().await
}

/// A nack that is stored as a copy in the topic shows up in every other subscription.
async fn a3_no_other_subscription_notices_a_nack(context: Context) -> Result<(), Violation> {
    let (client, other) = (context.client().await?, context.client().await?);
    let mut nacking = client.join(group("g", "a.b")).await?;
    let mut others = vec![
        other.join(group("h", "a.b")).await?,
        other.join(group("g", "a.>")).await?,
        client.join(broadcast("a.b")).await?,
    ];
    for note in notes("a.b", 0..5) {
        client.publish(&note).await?;
    }
    for round in 0..3 {
        for token in nacking.hold(5).await? {
            ensure_eq!(token.attempt(), round + 1, "the attempt where it is nacked");
            token.nack_after(ms(20)).await?;
        }
    }
    for inbox in &mut others {
        let held = inbox.hold(5).await?;
        ensure_eq!(numbers(&held), vec![0, 1, 2, 3, 4], "what another one gets");
        for token in &held {
            ensure_eq!(token.attempt(), 1, "the attempt where nobody nacks");
        }
        ack_all(held).await?;
        inbox.quiet().await?;
    }
    ack_all(nacking.hold(5).await?).await?;
    // Nothing was stored anew: who reads the log later finds five messages.
    let mut late = other.join(group("late", ">")).await?;
    late.take_all(&Ledger::expecting(0..5)).await
}

async fn a3_a_delay_outlives_its_member(context: Context) -> Result<(), Violation> {
    let bounds = Bounds::of(&context);
    let (first, second) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b");
    let mut inbox = first.join(want.clone()).await?;
    first.publish(&Note::new("a.b", 1)).await?;
    let delay = ms(1500);
    let token = inbox.next().await?;
    let asked = Instant::now();
    token.nack_after(delay).await?;
    let confirmed = Instant::now();
    inbox.leave().await?;
    first.bus.close().await?;
    let mut inbox = second.join(want).await?;
    let token = inbox.next().await?;
    in_time(delay, asked, confirmed, bounds.prompt + bounds.sweep)?;
    ensure_eq!(token.attempt(), 2, "the attempt");
    token.ack().await
}

async fn a3_a_delay_outlives_the_broker(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    for note in notes("a.b", 0..2) {
        client.publish(&note).await?;
    }
    let delay = secs(6);
    let asked = Instant::now();
    for token in inbox.hold(2).await? {
        token.nack_after(delay).await?;
    }
    client.until_durable().await;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    for _ in 0..2 {
        let token = inbox.next_within(secs(60)).await?;
        // One second of tolerance across a restart is what the contract grants.
        let after = asked.elapsed();
        ensure!(
            after + secs(1) >= delay,
            "it came after {after:?} of {delay:?}"
        );
        token.ack().await?;
    }
    inbox.quiet().await
}

/// A delivery that ends in `how`, unsettled, comes again: as a failure, after the policy's backoff, with
/// other messages flowing.
async fn comes_again<F, Fut>(context: &Context, how: F) -> Result<(), Violation>
where
    F: Fn(Token) -> Fut,
    Fut: Future<Output = ()>,
{
    let client = context.client().await?;
    let backoff = ms(300);
    let mut inbox = client.join(group("g", "a.b").backoff(backoff)).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let mut token = inbox.next().await?;
    for attempt in 1..=3 {
        ensure_eq!(token.attempt(), attempt, "the attempt");
        let asked = Instant::now();
        how(token).await;
        token = inbox.next().await?;
        in_time(backoff, asked, Instant::now(), Bounds::of(context).prompt)?;
    }
    ensure_eq!(
        token.attempt(),
        4,
        "three unsettled ends are three failures"
    );
    token.ack().await?;
    client.publish(&Note::new("a.b", 2)).await?;
    let token = inbox.next().await?;
    ensure_eq!((token.number(), token.attempt()), (2, 1), "what comes next");
    token.ack().await?;
    inbox.quiet().await
}

async fn a4_a_dropped_delivery_is_a_nack_under_the_policy(
    context: Context,
) -> Result<(), Violation> {
    comes_again(&context, |token| async move { drop(token) }).await
}

async fn a4_a_panic_is_a_nack(context: Context) -> Result<(), Violation> {
    comes_again(&context, |token| async move {
        let handler = tokio::spawn(async move {
            let _held = token;
            scripted_panic::<()>();
        });
        drop(handler.await);
    })
    .await
}

async fn a4_a_cancelled_handler_is_a_nack(context: Context) -> Result<(), Violation> {
    comes_again(&context, |token| async move {
        let handler = tokio::spawn(async move {
            let _held = token;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        handler.abort();
        drop(handler.await);
    })
    .await
}

async fn a4_dropped_ones_end_as_dead_letters(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").attempts(3).backoff(ms(10));
    let mut inbox = client.join(want.clone()).await?;
    for note in notes("a.b", 0..3) {
        client.publish(&note).await?;
    }
    for _ in 0..3 {
        drop(inbox.hold(3).await?);
    }
    let store = client.connection.bus.dead_letters();
    let group = want.id()?.group;
    eventually("three dead letters", || async {
        Ok(store.count(&group).await? == 3)
    })
    .await?;
    for entry in store.page(&group, None, 10).await?.entries {
        ensure_eq!(entry.error.kind, "dropped", "the kind of its error");
        ensure_eq!(entry.attempts, 3, "its attempts");
    }
    inbox.quiet().await?;
    let info = client.info(&want).await?;
    ensure_eq!(info.lag, 0, "unsettled messages");
    Ok(())
}
