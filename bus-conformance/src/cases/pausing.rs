//! S9: durable subscriptions are paused and go on.

use std::collections::BTreeMap;
use std::time::Duration;

use bus_api::{ErrorKind, Filter, Result as BusResult, Start};
use tokio::time::sleep;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Act, Bounds, Diary, Gate, Ledger, Note, Pump, QUIET, Token, Want, broadcast, eventually, group,
    job, notes, secs, within,
};

/// Within this a pause, or its end, has reached every member.
const BOUND: Duration = secs(2);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s9_a_paused_subscription_hands_out_nothing).within(secs(60)),
        case!(s9_handlers_finish_and_none_starts).within(secs(60)),
        case!(s9_failures_and_redrives_wait_for_the_end_of_the_pause).within(secs(90)),
        case!(s9_a_member_that_joins_later_is_paused).within(secs(60)),
        case!(s9_a_pause_outlives_members_and_the_broker)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(s9_order_is_kept_over_pauses).within(secs(90)),
        case!(s9_a_pause_is_listed_and_kept_until_it_ends).within(secs(60)),
        case!(s9_an_unknown_subscription_cannot_be_paused),
    ]
}

/// Pauses it, and waits until that counts.
async fn pause(client: &Client, want: &Want) -> Result<(), Violation> {
    client.pause(want).await?;
    sleep(BOUND).await;
    Ok(())
}

async fn s9_a_paused_subscription_hands_out_nothing(context: Context) -> Result<(), Violation> {
    let (one, two) = (context.client().await?, context.client().await?);
    let operator = context.client().await?;
    let want = group("g", "p.>");
    let mut members = vec![one.join(want.clone()).await?, two.join(want.clone()).await?];
    let mut others = Vec::new();
    for other in [group("g", "p.*"), group("h", "p.>"), broadcast("p.>")] {
        others.push(two.join(other).await?);
    }
    let ledger = Ledger::expecting(0..10);
    let pumps: Vec<Pump> = members
        .drain(..)
        .map(|inbox| Pump::acking("first", inbox, &ledger))
        .collect();
    for note in notes("p.a", 0..10) {
        operator.publish(&note).await?;
    }
    ledger.until_all_acked().await?;
    pause(&operator, &want).await?;
    for note in notes("p.a", 10..40) {
        operator.publish(&note).await?;
    }
    for mut other in others {
        other.take_all(&Ledger::expecting(0..40)).await?;
    }
    sleep(QUIET).await;
    ensure_eq!(
        ledger.read(|books| books.deliveries.len()),
        10,
        "deliveries under the pause"
    );
    ensure_eq!(operator.info(&want).await?.lag, 30, "lag under the pause");
    operator.resume(&want).await?;
    ledger.publish(10..40);
    let all = BOUND + Bounds::of(&context).prompt;
    within(all, "everything after the pause", ledger.until_all_acked()).await??;
    for pump in pumps {
        pump.stop().await?.quiet().await?;
    }
    ledger.exact()
}

/// Most of what the worker has fetched no handler has seen: that is not handed out either.
async fn s9_handlers_finish_and_none_starts(context: Context) -> Result<(), Violation> {
    let (member, operator) = (context.client().await?, context.client().await?);
    let (diary, gate, want) = (Diary::new(), Gate::new(), group("g", "p.>"));
    member.join(want.clone()).await?.leave().await?;
    for note in notes("p.a", 0..40) {
        operator.publish(&note).await?;
    }
    let waiting = gate.clone();
    let crew = member
        .employ(job(want.clone()).concurrency(4), &diary, move |_| {
            Act::Wait(waiting.clone())
        })
        .await?;
    diary.until_runs(4).await?;
    pause(&operator, &want).await?;
    gate.open();
    eventually("what the handlers had is settled", async || {
        Ok(operator.info(&want).await?.lag == 36)
    })
    .await?;
    sleep(QUIET).await;
    ensure_eq!(diary.runs().len(), 4, "handlers that were started");
    operator.resume(&want).await?;
    diary.until_done(0..40).await?;
    diary.exactly(0..40)?;
    for number in 0..40 {
        ensure_eq!(diary.attempts_of(number), vec![1], "attempts of {number}");
    }
    crew.shutdown().await
}

async fn s9_failures_and_redrives_wait_for_the_end_of_the_pause(
    context: Context,
) -> Result<(), Violation> {
    let (client, operator) = (context.client().await?, context.client().await?);
    let want = group("g", "p.>").attempts(2);
    let mut inbox = client.join(want.clone()).await?;
    for note in notes("p.a", 0..3) {
        client.publish(&note).await?;
    }
    let mut held = inbox.hold(3).await?;
    held.sort_by_key(Token::number);
    pause(&operator, &want).await?;
    let (Some(last), Some(failed), Some(handled)) = (held.pop(), held.pop(), held.pop()) else {
        return Err(Violation::new("three are held"));
    };
    handled.ack().await?;
    failed.nack().await?;
    // Failed without a word.
    drop(last);
    inbox.quiet().await?;
    eventually("the acked one is settled", async || {
        Ok(operator.info(&want).await?.lag == 2)
    })
    .await?;
    operator.resume(&want).await?;
    for token in inbox.hold(2).await? {
        ensure!(token.number() > 0, "what was acked came again");
        ensure_eq!(token.attempt(), 2, "the attempt of {}", token.number());
    }
    client.until_buried("g", 2).await?;
    pause(&operator, &want).await?;
    client.redrive("g", &Filter::default(), 2).await?;
    inbox.quiet().await?;
    operator.resume(&want).await?;
    inbox.take_all(&Ledger::expecting(1..3)).await
}

async fn s9_a_member_that_joins_later_is_paused(context: Context) -> Result<(), Violation> {
    let (client, operator) = (context.client().await?, context.client().await?);
    let want = group("g", "p.>");
    client.join(want.clone()).await?.leave().await?;
    operator.pause(&want).await?;
    for note in notes("p.a", 0..5) {
        operator.publish(&note).await?;
    }
    // It knows from the beginning, not only after a while.
    let mut inbox = client.join(want.clone()).await?;
    inbox.quiet_for(BOUND * 2).await?;
    ensure_eq!(operator.info(&want).await?.members, 1, "members");
    operator.resume(&want).await?;
    inbox.take_all(&Ledger::expecting(0..5)).await
}

async fn s9_a_pause_outlives_members_and_the_broker(context: Context) -> Result<(), Violation> {
    let (stays, leaves) = (context.client().await?, context.client().await?);
    let want = group("g", "p.>");
    let mut inbox = stays.join(want.clone()).await?;
    leaves.join(want.clone()).await?.leave().await?;
    pause(&leaves, &want).await?;
    leaves.bus.close().await?;
    stays.until_durable().await;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    let late = context.client().await?;
    for note in notes("p.a", 0..5) {
        late.publish(&note).await?;
    }
    let mut other = late.join(want.clone()).await?;
    other.quiet_for(BOUND).await?;
    inbox.quiet().await?;
    ensure!(
        late.info(&want).await?.paused,
        "the restart ended the pause"
    );
    late.resume(&want).await?;
    let ledger = Ledger::expecting(0..5);
    let pumps = [
        Pump::acking("stays", inbox, &ledger),
        Pump::acking("late", other, &ledger),
    ];
    ledger.until_all_acked().await?;
    for pump in pumps {
        pump.leave().await?;
    }
    ledger.exact()
}

async fn s9_order_is_kept_over_pauses(context: Context) -> Result<(), Violation> {
    let (one, two) = (context.client().await?, context.client().await?);
    let want = group("g", "p.>").per_key().in_flight(16);
    let ledger = Ledger::expecting(0..120);
    let pumps = [
        Pump::acking("one", one.join(want.clone()).await?, &ledger),
        Pump::acking("two", two.join(want.clone()).await?, &ledger),
    ];
    for round in 0..3_u64 {
        for number in round * 40..(round + 1) * 40 {
            let key = format!("k{}", number % 4);
            one.publish(&Note::keyed("p.a", &key, number)).await?;
            if number % 40 == 20 {
                two.pause(&want).await?;
            }
        }
        sleep(BOUND).await;
        two.resume(&want).await?;
    }
    ledger.until_all_acked().await?;
    for pump in pumps {
        pump.leave().await?;
    }
    ledger.exact()?;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for handed in ledger.books().deliveries {
        let key = handed.key.unwrap_or_default();
        let before = last.insert(key.clone(), handed.number);
        ensure!(
            before.is_none_or(|before| before < handed.number),
            "{} of {key} came after {before:?}",
            handed.number
        );
    }
    Ok(())
}

async fn s9_a_pause_is_listed_and_kept_until_it_ends(context: Context) -> Result<(), Violation> {
    let (client, operator) = (context.client().await?, context.client().await?);
    let (want, other) = (group("g", "p.>"), group("g", "p.*"));
    for want in [&want, &other] {
        client.join(want.clone()).await?.leave().await?;
        ensure!(!operator.info(want).await?.paused, "paused at first");
    }
    for _ in 0..2 {
        operator.pause(&want).await?;
        ensure!(client.info(&want).await?.paused, "a pause is not listed");
        ensure!(
            !client.info(&other).await?.paused,
            "its neighbour is paused"
        );
    }
    operator.reset(&want, &Start::Earliest, false).await?;
    ensure!(client.info(&want).await?.paused, "a reset ended the pause");
    for _ in 0..2 {
        operator.resume(&want).await?;
        ensure!(!client.info(&want).await?.paused, "the end is not listed");
    }
    // A paused member learns of a deletion, and what is made anew is not paused.
    let mut inbox = client.join(want.clone()).await?;
    pause(&operator, &want).await?;
    operator.delete(&want, true).await?;
    let error = inbox.end().await?;
    ensure_eq!(error.kind(), ErrorKind::NotFound, "the end: {error}");
    let mut anew = client.join(want.clone()).await?;
    ensure!(!client.info(&want).await?.paused, "made anew it is paused");
    client.publish(&Note::new("p.a", 1)).await?;
    anew.take_all(&Ledger::expecting([1])).await
}

fn unknown(result: BusResult<()>, what: &str) -> Result<(), Violation> {
    match result {
        Ok(()) => Err(Violation::new(format_args!("{what} was not refused"))),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
            Ok(())
        }
    }
}

async fn s9_an_unknown_subscription_cannot_be_paused(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.join(group("g", "p.a")).await?.leave().await?;
    for want in [group("g", "p.b"), group("h", "p.a"), group("g", "p.*")] {
        unknown(client.pause(&want).await, "a pause of nothing")?;
        unknown(client.resume(&want).await, "going on with nothing")?;
    }
    ensure_eq!(client.list().await?.len(), 1, "subscriptions");
    Ok(())
}
