//! L1: draining and closing.

use std::collections::BTreeSet;

use bus_api::{ErrorKind, Filter, Group, Pattern, Start, SubscriptionId, Topic};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Act, Bounds, Diary, Gate, Ledger, Note, Question, Say, group, job, ms, notes, post, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(l1_drain_waits_for_handlers),
        case!(l1_drain_hands_back_at_once),
        case!(l1_drain_ends_at_its_deadline),
        case!(l1_leaving_flushes_acks),
        case!(l1_close_drains_what_runs),
        case!(l1_close_is_idempotent),
        case!(l1_after_close_calls_are_closed),
        case!(l1_closing_under_load_loses_nothing),
        case!(l1_a_responder_answers_what_it_has_taken),
        case!(l1_closing_one_client_concerns_no_other),
    ]
}

async fn l1_drain_waits_for_handlers(context: Context) -> Result<(), Violation> {
    let (client, diary, gate) = (context.client().await?, Diary::new(), Gate::new());
    client.join(group("g", "l.>")).await?.leave().await?;
    for note in notes("l.a", 0..30) {
        client.publish(&note).await?;
    }
    let waiting = gate.clone();
    let member = context.client().await?;
    let crew = member
        .employ(job(group("g", "l.>")).concurrency(6), &diary, move |_| {
            Act::Wait(waiting.clone())
        })
        .await?;
    diary.until_runs(6).await?;
    let shutdown = tokio::spawn(crew.shutdown());
    // Draining starts nothing new; what runs ends when the gate opens.
    tokio::time::sleep(ms(100)).await;
    ensure!(
        !shutdown.is_finished(),
        "the drain did not wait for its handlers"
    );
    gate.open();
    shutdown.await.map_err(Violation::new)??;
    let started: BTreeSet<u64> = diary.runs().iter().map(|run| run.number).collect();
    diary.exactly(started.iter().copied())?;
    ensure_eq!(started.len(), 6, "handlers that were started");
    // What they handled is settled, the rest comes to the next member, each once.
    let mut inbox = client.join(group("g", "l.>")).await?;
    let rest = Ledger::expecting((0..30).filter(|number| !started.contains(number)));
    inbox.take_all(&rest).await
}

/// The lease is far longer than the case: only what is handed back comes again in time.
async fn l1_drain_hands_back_at_once(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let want = group("g", "l.>").lease(secs(300));
    client.join(want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("l.a", 0..60)).await {
        result?;
    }
    let member = context.client().await?;
    let crew = member
        .employ(job(want.clone()).concurrency(2), &diary, |_| Act::Hang)
        .await?;
    diary.until_runs(2).await?;
    crew.drain(ms(50)).await?;
    let begun = Instant::now();
    let mut inbox = client.join(want).await?;
    let held = inbox.hold(60).await?;
    let took = begun.elapsed();
    let limit = Bounds::of(&context).prompt + Bounds::of(&context).sweep;
    ensure!(took < limit, "what was handed back came after {took:?}");
    ensure!(
        held.iter().all(|token| token.attempt() == 1),
        "a hand-back has raised an attempt"
    );
    crate::probe::ack_all(held).await?;
    inbox.quiet().await
}

async fn l1_drain_ends_at_its_deadline(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "l.>")), &diary, |_| Act::Hang)
        .await?;
    client.publish(&notes("l.a", [1])[0]).await?;
    diary.until_runs(1).await?;
    let (begun, deadline) = (Instant::now(), ms(800));
    let report = crew.drain(deadline).await?;
    let took = begun.elapsed();
    ensure!(
        took + ms(2) >= deadline && took <= deadline + Bounds::of(&context).prompt,
        "the drain took {took:?}; its deadline was {deadline:?}"
    );
    ensure_eq!(
        (report.handled, report.handed_back),
        (0, 1),
        "handled and handed back in the report"
    );
    Ok(())
}

/// The acks are requested and not awaited; leaving sends them.
async fn l1_leaving_flushes_acks(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "l.>")).await?;
    for result in client.publish_batch(&notes("l.a", 0..200)).await {
        result?;
    }
    for token in inbox.hold(200).await? {
        token.ack_later();
    }
    inbox.leave().await?;
    let mut next = client.join(group("g", "l.>")).await?;
    next.quiet().await?;
    ensure_eq!(
        client.info(&group("g", "l.>")).await?.lag,
        0,
        "unsettled messages"
    );
    Ok(())
}

async fn l1_close_drains_what_runs(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let member = context.client().await?;
    let crew = member
        .employ(job(group("g", "l.>")).concurrency(4), &diary, |_| {
            Act::Take(ms(200))
        })
        .await?;
    let inbox = member.join(group("h", "l.>")).await?;
    for note in notes("l.a", 0..40) {
        client.publish(&note).await?;
    }
    diary.until_runs(4).await?;
    member.close().await?;
    crew.leave_running();
    drop(inbox);
    let started: Vec<u64> = diary.runs().iter().map(|run| run.number).collect();
    diary.exactly(started.iter().copied())?;
    for (name, left) in [("g", 40 - started.len() as u64), ("h", 40)] {
        ensure_eq!(
            client.info(&group(name, "l.>")).await?.lag,
            left,
            "left for others of {name}"
        );
        ensure_eq!(
            client.info(&group(name, "l.>")).await?.members,
            0,
            "members of {name}"
        );
    }
    let mut next = client.join(group("h", "l.>")).await?;
    next.take_all(&Ledger::expecting(0..40)).await
}

async fn l1_close_is_idempotent(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.publish(&notes("l.a", [1])[0]).await?;
    for closed in join_all(
        (0..3)
            .map(|_| client.bus.clone())
            .map(|bus| async move { bus.close().await }),
    )
    .await
    {
        closed?;
    }
    client.close().await?;
    // The adapter itself, too.
    let deadline = Instant::now() + secs(5);
    client.connection.bus.close(deadline).await?;
    Ok(client.connection.bus.close(deadline).await?)
}

async fn l1_after_close_calls_are_closed(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let publisher = client.publisher();
    publisher.send(&notes("l.a", [0])[0]).await?.await?;
    client.close().await?;
    let note = Note::new("l.a", 1);
    let id = SubscriptionId::new(Group::new("g")?, Pattern::new("l.>")?);
    let (dead, all) = (client.dead_letters("g"), Filter::default());
    let diary = Diary::new();
    let calls: Vec<(&str, Option<bus_api::Error>)> = vec![
        ("publish", client.publish(&note).await.err()),
        (
            "publish_batch",
            client.publish_batch([&note]).await.remove(0).err(),
        ),
        ("send", publisher.send(&note).await.err()),
        ("try_send", publisher.try_send(&note).err()),
        ("subscribe", client.join(group("g", "l.>")).await.err()),
        (
            "request",
            client.request(&Question { number: 1 }).await.err(),
        ),
        (
            "worker",
            client
                .employ(job(group("g", "l.>")), &diary, |_| Act::Done)
                .await
                .err(),
        ),
        (
            "respond",
            client
                .answer(post("p"), &diary, |_| Say::Answer)
                .await
                .err(),
        ),
        ("dead letters", dead.count(&all).await.err()),
        ("page", dead.page(&all, None, 1).await.err()),
        ("purge", dead.purge(&all).await.err()),
        ("redrive", dead.redrive(&all).await.err()),
        ("groups", client.dead_letter_groups().await.err()),
        ("list", client.subscriptions().list().await.err()),
        (
            "reset",
            client
                .subscriptions()
                .reset(&id, &Start::Earliest)
                .await
                .err(),
        ),
        ("delete", client.subscriptions().delete(&id).await.err()),
        ("topics", client.bus.topics().await.err()),
        (
            "add_topic",
            client.add_topic(&Topic::new("l.b")?).await.err(),
        ),
    ];
    for (call, error) in calls {
        ensure_eq!(
            error.as_ref().map(bus_api::Error::kind),
            Some(ErrorKind::Closed),
            "{call} after close"
        );
    }
    // The adapter itself, which other programs may hold.
    let bus = &client.connection.bus;
    let message = bus_api::Message::new(
        Topic::new("l.a")?,
        bus_api::Metadata::new(
            bus_api::MessageId::new("1"),
            "conformance".into(),
            bus_api::clock::now(),
        ),
        bytes::Bytes::new(),
    );
    let kinds = [
        bus.publish(vec![message.into()]).await.remove(0).err(),
        bus.admin().subscriptions().await.err(),
        bus.dead_letters().groups().await.err(),
    ];
    for error in kinds {
        ensure_eq!(
            error.as_ref().map(bus_api::Error::kind),
            Some(ErrorKind::Closed),
            "a call of the adapter after close"
        );
    }
    ensure!(
        !client.health().await.writable,
        "health() of a closed client is writable"
    );
    Ok(())
}

/// Every confirmed message is stored, every refused one is not.
async fn l1_closing_under_load_loses_nothing(context: Context) -> Result<(), Violation> {
    let (client, reader) = (context.client().await?, context.client().await?);
    let mut inbox = reader.join(group("g", "l.>")).await?;
    let publishing = tokio::spawn({
        let bus = client.bus.clone();
        async move {
            let mut outcomes = Vec::new();
            for number in 0.. {
                let note = Note::new("l.a", number);
                // On one thread a publish that needs no wait must not keep the others from running.
                tokio::task::yield_now().await;
                match bus.publish(&note).await {
                    Ok(_) => outcomes.push((number, Some(true))),
                    Err(error) if error.is_indeterminate() => outcomes.push((number, None)),
                    Err(error) => return (outcomes, error),
                }
                // Where a publish never waits, this would be the only task that ever runs.
                tokio::task::yield_now().await;
            }
            (outcomes, bus_api::Error::new(ErrorKind::Internal, "no end"))
        }
    });
    let mut seen = Vec::new();
    for token in inbox.hold(100).await? {
        seen.push(token.number());
        token.ack().await?;
    }
    client.close().await?;
    let (outcomes, last) = publishing.await.map_err(Violation::new)?;
    ensure_eq!(last.kind(), ErrorKind::Closed, "the first refused publish");
    let confirmed: Vec<u64> = outcomes
        .iter()
        .filter(|(_, stored)| *stored == Some(true))
        .map(|(number, _)| *number)
        .collect();
    while !confirmed.iter().all(|number| seen.contains(number)) {
        let token = inbox.next().await?;
        seen.push(token.number());
        token.ack().await?;
    }
    inbox.quiet().await?;
    let known: BTreeSet<u64> = outcomes.iter().map(|(number, _)| *number).collect();
    let unique: BTreeSet<u64> = seen.iter().copied().collect();
    ensure_eq!(unique.len(), seen.len(), "deliveries, each once");
    ensure!(unique.is_subset(&known), "a refused publish was delivered");
    Ok(())
}

async fn l1_a_responder_answers_what_it_has_taken(context: Context) -> Result<(), Violation> {
    let (client, diary, gate) = (context.client().await?, Diary::new(), Gate::new());
    let waiting = gate.clone();
    let responder = context.client().await?;
    let crew = responder
        .answer(post("p"), &diary, move |_| Say::When(waiting.clone()))
        .await?;
    let asking = join_all((0..10).map(|number| client.ask(number)));
    let leaving = async {
        diary.until_runs(10).await?;
        let shutdown = tokio::spawn(crew.shutdown());
        tokio::time::sleep(ms(50)).await;
        gate.open();
        shutdown.await.map_err(Violation::new)?
    };
    let (answers, left) = tokio::join!(asking, leaving);
    left?;
    for answer in answers {
        answer?;
    }
    Ok(())
}

async fn l1_closing_one_client_concerns_no_other(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let mut inbox = second.join(group("g", "l.>")).await?;
    let doomed = first.join(group("g", "l.>")).await?;
    first.close().await?;
    drop(doomed);
    for note in notes("l.a", 0..20) {
        second.publish(&note).await?;
    }
    inbox.take_all(&Ledger::expecting(0..20)).await
}
