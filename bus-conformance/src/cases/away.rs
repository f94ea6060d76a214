//! L3 and L6: a broker that is away.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use bus_api::{ErrorKind, Notice};
use futures_util::future::join_all;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Books, Bounds, Diary, Ledger, Note, PATIENCE, Pump, Say, group, ms, notes, post, secs, within,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(l3_a_publish_waits_for_the_broker).with(&[Control::Cut]),
        case!(l3_a_publish_gives_up_at_its_deadline).with(&[Control::Cut]),
        case!(l3_subscriptions_resume_after_a_cut).with(&[Control::Cut]),
        case!(l3_acks_during_a_cut_are_not_lost).with(&[Control::Cut]),
        case!(l3_a_cut_of_one_client_concerns_no_other).with(&[Control::Cut]),
        case!(l3_responders_resume_after_a_cut).with(&[Control::Cut]),
        case!(l3_what_is_asked_over_cuts_is_right_or_an_error)
            .with(&[Control::Cut])
            .within(secs(90)),
        case!(l3_everything_resumes_after_a_restart)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(l6_connect_fails_within_its_timeout)
            .with(&[Control::Restart])
            .within(secs(60)),
        case!(l6_a_lazy_connection_starts_without_the_broker)
            .with(&[Control::Restart])
            .within(secs(60)),
    ]
}

async fn l3_a_publish_waits_for_the_broker(context: Context) -> Result<(), Violation> {
    let (client, reader) = (context.client().await?, context.client().await?);
    let mut inbox = reader.join(group("g", "l.>")).await?;
    client.publish(&notes("l.a", [0])[0]).await?;
    client.connection.disturb.cut().await;
    let publishing = tokio::spawn({
        let bus = client.bus.clone();
        async move { bus.publish(&Note::new("l.a", 1)).await }
    });
    sleep(ms(700)).await;
    client.connection.disturb.heal().await;
    let outcome = within(PATIENCE, "a publish over a cut", publishing)
        .await?
        .map_err(Violation::new)?;
    let ledger = Ledger::expecting([0, 1]);
    match outcome {
        Ok(_) => inbox.take_all(&ledger).await,
        // What was on its way when the cut came may be stored; then it must say so.
        Err(error) => {
            ensure!(
                error.is_indeterminate(),
                "not tried until its deadline: {error}"
            );
            Ok(())
        }
    }
}

async fn l3_a_publish_gives_up_at_its_deadline(context: Context) -> Result<(), Violation> {
    let client = context.client_with(&[("publish_timeout", "1s")]).await?;
    client.publish(&notes("l.a", [0])[0]).await?;
    client.connection.disturb.cut().await;
    let begun = Instant::now();
    match client.publish(&notes("l.a", [1])[0]).await {
        Err(error) => ensure!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            "a publish without a broker gave {error}"
        ),
        Ok(_) => return Err(Violation::new("a publish without a broker was confirmed")),
    }
    let took = begun.elapsed();
    let limit = secs(1) + Bounds::of(&context).prompt;
    ensure!(
        took <= limit,
        "it gave up after {took:?}; publish_timeout is 1 s"
    );
    client.connection.disturb.heal().await;
    // And the connection works again without being made anew.
    within(PATIENCE, "a publish after the cut", async {
        while client.publish(&notes("l.a", [2])[0]).await.is_err() {
            sleep(ms(50)).await;
        }
    })
    .await
}

async fn l3_subscriptions_resume_after_a_cut(context: Context) -> Result<(), Violation> {
    let (publisher, client) = (context.client().await?, context.client().await?);
    let mut notices = client.notices();
    let ledger = Ledger::new();
    let pump = Pump::acking("one", client.join(group("g", "l.>")).await?, &ledger);
    let broadcast_ledger = Ledger::new();
    let listener = Pump::acking(
        "listener",
        client.join(crate::probe::broadcast("l.>")).await?,
        &broadcast_ledger,
    );
    let mut number = 0;
    for round in 0..3 {
        client.connection.disturb.cut().await;
        for _ in 0..20 {
            ledger.publish([number]);
            broadcast_ledger.publish([number]);
            publisher.publish(&Note::new("l.a", number)).await?;
            number += 1;
        }
        sleep(ms(200)).await;
        ensure!(
            round > 0 || ledger.read(|books| books.deliveries.is_empty()),
            "messages came through a connection that is cut"
        );
        client.connection.disturb.heal().await;
        ledger.until_all_acked().await?;
        broadcast_ledger.until_all_acked().await?;
    }
    ledger.no_loss()?;
    broadcast_ledger.no_loss()?;
    let mut seen = BTreeSet::new();
    while let Ok(notice) = notices.try_recv() {
        match notice {
            Notice::Disconnected => seen.insert("disconnected"),
            Notice::Reconnected => seen.insert("reconnected"),
            _ => false,
        };
    }
    ensure_eq!(
        seen,
        BTreeSet::from(["disconnected", "reconnected"]),
        "what notices say about three cuts"
    );
    pump.leave().await?;
    listener.leave().await
}

/// The lease outlives the cut, so that whatever comes again was acked and lost.
async fn l3_acks_during_a_cut_are_not_lost(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "l.>").lease(secs(120))).await?;
    for note in notes("l.a", 0..20) {
        client.publish(&note).await?;
    }
    let held = inbox.hold(20).await?;
    client.connection.disturb.cut().await;
    let acking = tokio::spawn(crate::probe::ack_all(held));
    sleep(ms(300)).await;
    ensure!(
        !acking.is_finished(),
        "acks were confirmed without a broker"
    );
    client.connection.disturb.heal().await;
    within(PATIENCE, "acks over a cut", acking)
        .await?
        .map_err(Violation::new)??;
    inbox.leave().await?;
    let other = context.client().await?;
    other.until_settled("g", "l.>").await?;
    other.join(group("g", "l.>")).await?.quiet().await
}

async fn l3_a_cut_of_one_client_concerns_no_other(context: Context) -> Result<(), Violation> {
    let (doomed, client) = (context.client().await?, context.client().await?);
    let _cut = doomed.join(group("g", "l.>")).await?;
    doomed.connection.disturb.cut().await;
    let mut inbox = client.join(group("h", "l.>")).await?;
    for note in notes("l.a", 0..20) {
        client.publish(&note).await?;
    }
    inbox.take_all(&Ledger::expecting(0..20)).await?;
    doomed.connection.disturb.heal().await;
    Ok(())
}

async fn l3_responders_resume_after_a_cut(context: Context) -> Result<(), Violation> {
    let (client, responder) = (context.client().await?, context.client().await?);
    let crew = responder
        .answer(post("p"), &Diary::new(), |_| Say::Answer)
        .await?;
    client.ask(1).await?;
    responder.connection.disturb.cut().await;
    sleep(ms(200)).await;
    responder.connection.disturb.heal().await;
    let begun = Instant::now();
    while client.ask(2).await.is_err() {
        ensure!(begun.elapsed() < PATIENCE, "no answer after the cut");
    }
    crew.shutdown().await
}

/// Where a log ends, or how much of it is unsettled, decides over what is removed and where a subscription begins:
/// "nothing is there" must never stand for "nobody answered".
async fn l3_what_is_asked_over_cuts_is_right_or_an_error(
    context: Context,
) -> Result<(), Violation> {
    const ROUNDS: usize = 10;
    /// So that a cut hits one of them on its way.
    const AT_ONCE: usize = 8;
    /// Some questions long, on a machine that is idle.
    const LONGEST: Duration = ms(20);
    let (client, other) = (context.client().await?, context.client().await?);
    let mut inbox = other.join(group("g", "l.>").attempts(1)).await?;
    for note in notes("l.a", 0..5) {
        other.publish(&note).await?;
    }
    for token in inbox.hold(5).await? {
        token.nack().await?;
    }
    other.until_buried("g", 5).await?;
    inbox.leave().await?;
    for note in notes("l.a", 5..20) {
        other.publish(&note).await?;
    }
    let mut random = context.random();
    let want = group("g", "l.>");
    for round in 0..ROUNDS {
        let over = Cell::new(false);
        let cut = async {
            sleep(random.random_range(ms(1)..LONGEST)).await;
            client.connection.disturb.cut().await;
            sleep(ms(20)).await;
            client.connection.disturb.heal().await;
            over.set(true);
        };
        // Until the next answer, so that the next cut comes into a question, too.
        let asking = async {
            let mut answered = false;
            while !(over.get() && answered) {
                let infos = join_all((0..AT_ONCE).map(|_| client.info(&want)));
                let counts = join_all((0..AT_ONCE).map(|_| client.buried_count("g")));
                let (infos, counts) = tokio::join!(infos, counts);
                answered = infos.iter().all(Result::is_ok) && counts.iter().all(Result::is_ok);
                for info in infos.into_iter().flatten() {
                    ensure_eq!(info.lag, 15, "unsettled messages in round {round}");
                }
                for count in counts.into_iter().flatten() {
                    ensure_eq!(count, 5, "dead letters in round {round}");
                }
                sleep(ms(1)).await;
            }
            Ok(())
        };
        tokio::join!(asking, cut).0?;
    }
    Ok(())
}

async fn l3_everything_resumes_after_a_restart(context: Context) -> Result<(), Violation> {
    let (publisher, client) = (context.client().await?, context.client().await?);
    let ledger = Ledger::new();
    // What is not confirmed comes again when its lease is over: within the time that the case waits.
    let lease = client.capabilities().min_lease.max(secs(5));
    let want = group("g", "l.>").lease(lease);
    let pump = Pump::persisting("one", client.join(want).await?, &ledger);
    let crew = client
        .answer(post("p"), &Diary::new(), |_| Say::Answer)
        .await?;
    for number in 0..50 {
        ledger.publish([number]);
        publisher.publish(&Note::new("l.a", number)).await?;
    }
    context.factory().stop_broker().await?;
    let publishing = tokio::spawn({
        let bus = publisher.bus.clone();
        async move { bus.publish(&Note::new("l.a", 50)).await }
    });
    sleep(secs(1)).await;
    context.factory().start_broker().await?;
    match within(PATIENCE * 2, "a publish over a restart", publishing)
        .await?
        .map_err(Violation::new)?
    {
        Ok(_) => ledger.publish([50]),
        Err(error) => ensure!(
            error.is_indeterminate(),
            "given up before its deadline: {error}"
        ),
    }
    for number in 51..100 {
        ledger.publish([number]);
        publisher.publish(&Note::new("l.a", number)).await?;
    }
    ledger.until_all_acked().await?;
    let losses = ledger.read(Books::losses);
    ensure!(losses.is_empty(), "lost over a restart: {losses:?}");
    let begun = Instant::now();
    while publisher.ask(1).await.is_err() {
        ensure!(begun.elapsed() < PATIENCE, "no answer after the restart");
    }
    crew.shutdown().await?;
    pump.leave().await
}

async fn l6_connect_fails_within_its_timeout(context: Context) -> Result<(), Violation> {
    context.factory().stop_broker().await?;
    let begun = Instant::now();
    let connected = timeout(
        PATIENCE,
        context
            .factory()
            .connect(context.namespace(), &[("connect_timeout", "1s")]),
    )
    .await;
    let took = begun.elapsed();
    context.factory().start_broker().await?;
    match connected {
        Ok(Err(error)) if error.kind() == ErrorKind::Unavailable => {}
        Ok(other) => {
            return Err(Violation::new(format_args!(
                "connecting without a broker gave {other:?}"
            )));
        }
        Err(_) => return Err(Violation::new("connecting without a broker never ends")),
    }
    let limit = secs(1) + Bounds::of(&context).prompt;
    ensure!(
        took <= limit,
        "Unavailable after {took:?}; connect_timeout is 1 s"
    );
    Ok(())
}

async fn l6_a_lazy_connection_starts_without_the_broker(context: Context) -> Result<(), Violation> {
    context.factory().stop_broker().await?;
    let lazy = context.client_with(&[("connect_lazily", "true")]).await;
    let client = match lazy {
        Ok(client) => client,
        Err(violation) => {
            context.factory().start_broker().await?;
            return Err(violation);
        }
    };
    let health = client.health().await;
    let publishing = tokio::spawn({
        let bus = client.bus.clone();
        async move { bus.publish(&Note::new("l.a", 1)).await }
    });
    sleep(ms(300)).await;
    context.factory().start_broker().await?;
    ensure!(!health.connected, "health() without a broker is connected");
    let published = within(PATIENCE * 2, "a publish on a lazy connection", publishing)
        .await?
        .map_err(Violation::new)?;
    published?;
    let mut inbox = client.join(group("g", "l.>")).await?;
    inbox.take_all(&Ledger::expecting([1])).await
}
