//! Q: a request is handed over once, and never late.

use std::collections::BTreeSet;

use bus_api::ErrorKind;
use futures_util::future::try_join_all;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Diary, Gate, Note, PATIENCE, QUIET, Question, Say, broadcast, group, ms, post, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(q4_a_request_is_never_seen_by_subscriptions),
        case!(q4_a_group_sees_a_request_once),
        case!(q4_a_request_is_never_handed_over_late),
        case!(q4_the_first_reply_wins),
        case!(q4_a_failed_request_is_not_tried_again),
    ]
}

async fn q4_a_request_is_never_seen_by_subscriptions(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inboxes = Vec::new();
    for pattern in [">", "ask.>", Question::TOPIC] {
        inboxes.push(client.join(group("g", pattern)).await?);
        inboxes.push(client.join(broadcast(pattern)).await?);
    }
    let crew = client
        .answer(post("p"), &Diary::new(), |_| Say::Answer)
        .await?;
    for number in 0..20 {
        client.ask(number).await?;
    }
    // A message of the same topic shows that the subscriptions work, and comes first.
    client.publish(&Note::new(Question::TOPIC, 7)).await?;
    for inbox in &mut inboxes {
        let token = inbox.next().await?;
        ensure_eq!(token.number(), 7, "the first that a subscription sees");
        token.ack().await?;
        inbox.quiet().await?;
    }
    // Nor are they stored for who comes later.
    let mut late = client.join(group("late", ">")).await?;
    late.next().await?.ack().await?;
    late.quiet().await?;
    crew.shutdown().await
}

/// Nobody answers before every group has had the time to see each request, and to see it twice.
async fn q4_a_group_sees_a_request_once(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 60;
    let (client, gate) = (context.client().await?, Gate::new());
    let (diaries, mut crews) = ([Diary::new(), Diary::new()], Vec::new());
    for (name, diary) in ["p", "q"].into_iter().zip(&diaries) {
        for member in ["a", "b", "c"] {
            let (responder, waiting) = (context.client().await?, gate.clone());
            let crew = responder
                .answer(post(name).named(member), diary, move |_| {
                    Say::When(waiting.clone())
                })
                .await?;
            crews.push((responder, crew));
        }
    }
    let asked = try_join_all((0..ALL).map(|number| client.ask(number)));
    let watch = async {
        for diary in &diaries {
            diary.until_runs(ALL as usize).await?;
        }
        tokio::time::sleep(QUIET).await;
        for (name, diary) in ["p", "q"].into_iter().zip(&diaries) {
            let numbers: BTreeSet<u64> = diary.runs().iter().map(|run| run.number).collect();
            ensure_eq!(
                (diary.runs().len(), numbers.len()),
                (ALL as usize, ALL as usize),
                "hand-overs to group {name}, and different requests among them"
            );
        }
        gate.open();
        Ok::<_, Violation>(())
    };
    let (answers, watched) = tokio::join!(asked, watch);
    watched?;
    answers?;
    for (_, crew) in crews {
        crew.shutdown().await?;
    }
    Ok(())
}

/// One request waits on the broker while the responder is busy, another one in the responder's own hands;
/// when it is their turn, nobody waits for them any more.
async fn q4_a_request_is_never_handed_over_late(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let gates = [Gate::new(), Gate::new()];
    let busy = gates.clone();
    let crew = client
        .answer(post("p").concurrency(1), &diary, move |run| {
            match run.number {
                1 => Say::When(busy[0].clone()),
                3 => Say::When(busy[1].clone()),
                _ => Say::Answer,
            }
        })
        .await?;
    let ask = |number, patience| {
        let bus = client.bus.clone();
        tokio::spawn(async move { bus.request(&Question { number }).timeout(patience).await })
    };
    let is_late = |outcome: Result<_, bus_api::Error>, number| match outcome {
        Err(error) if error.kind() == ErrorKind::Timeout => Ok(()),
        other => Err(Violation::new(format_args!(
            "request {number} in waiting gave {other:?}"
        ))),
    };
    let first = ask(1, PATIENCE);
    diary.until_runs(1).await?;
    let on_the_broker = client.request(&Question { number: 2 }).timeout(ms(400));
    is_late(on_the_broker.await, 2)?;
    // These two are fetched together when the responder is free again.
    let third = ask(3, PATIENCE);
    tokio::time::sleep(ms(100)).await;
    let in_hand = ask(4, secs(3));
    tokio::time::sleep(ms(100)).await;
    gates[0].open();
    diary.until_runs(2).await?;
    is_late(in_hand.await.map_err(Violation::new)?, 4)?;
    // On a virtual clock it would be its turn in the very moment of its deadline.
    tokio::time::sleep(ms(5)).await;
    gates[1].open();
    for asked in [first, third] {
        asked
            .await
            .map_err(Violation::new)??
            .map_err(Violation::new)?;
    }
    client.ask(5).await?;
    for number in [2, 4] {
        ensure!(
            diary.runs_of(number).is_empty(),
            "request {number} was handed to its responder after its deadline"
        );
    }
    crew.shutdown().await
}

async fn q4_the_first_reply_wins(context: Context) -> Result<(), Violation> {
    let (client, gates) = (context.client().await?, [Gate::new(), Gate::new()]);
    let (slow, fast) = (Diary::new(), Diary::new());
    let [late, early] = gates.clone();
    let first = client
        .answer(post("slow"), &slow, move |_| Say::When(late.clone()))
        .await?;
    let second = client
        .answer(post("fast"), &fast, move |_| Say::When(early.clone()))
        .await?;
    let asked = client.ask(1);
    let release = async {
        slow.until_runs(1).await?;
        fast.until_runs(1).await?;
        gates[1].open();
        Ok::<_, Violation>(())
    };
    let (answer, released) = tokio::join!(asked, release);
    released?;
    ensure_eq!(answer?.by, "fast", "who answered first");
    gates[0].open();
    slow.until_done([1]).await?;
    // The second reply is on its way; the next request gets its own.
    for number in 2..10 {
        client.ask(number).await?;
    }
    first.shutdown().await?;
    second.shutdown().await
}

async fn q4_a_failed_request_is_not_tried_again(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .answer(post("p"), &diary, |run| match run.number {
            1 => Say::Fail("no".into()),
            2 => Say::Panic,
            _ => Say::Answer,
        })
        .await?;
    for number in 1..=2 {
        let asked = client.request(&Question { number }).await;
        ensure!(asked.is_err(), "a failing responder gave {asked:?}");
    }
    client.ask(3).await?;
    crew.shutdown().await?;
    ensure_eq!(diary.runs().len(), 3, "hand-overs of three requests");
    ensure_eq!(
        client.buried_count("p").await?,
        0,
        "dead letters of requests"
    );
    Ok(())
}
