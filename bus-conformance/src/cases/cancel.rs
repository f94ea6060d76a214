//! L2: dropping a future loses nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use bus_api::{Group, Inflow, Pattern, Scope, Settlement, SubscriptionSpec};
use futures_util::future::join_all;
use rand::Rng;
use tokio::time::{Instant, timeout};

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Books, Diary, Ledger, Note, PATIENCE, Question, Say, ack_all, group, ms, notes, post, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(l2_a_cancelled_next_loses_nothing),
        case!(l2_a_cancelled_receive_loses_nothing),
        case!(l2_a_cancelled_publish_loses_no_other),
        case!(l2_a_cancelled_batch_loses_no_other),
        case!(l2_a_cancelled_ack_is_an_ack_or_none),
        case!(l2_a_cancelled_subscribe_leaves_no_member_behind),
        case!(l2_a_cancelled_request_disturbs_no_other),
        case!(l2_a_cancelled_close_can_be_finished),
    ]
}

/// A moment to cancel after: none, a few turns of the scheduler, or a little time.
async fn moment(choice: u32) {
    match choice % 4 {
        0 => {}
        1 => tokio::task::yield_now().await,
        2 => {
            for _ in 0..choice {
                tokio::task::yield_now().await;
            }
        }
        _ => tokio::time::sleep(Duration::from_micros(u64::from(choice) * 100)).await,
    }
}

async fn l2_a_cancelled_next_loses_nothing(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 300;
    let (publisher, client) = (context.client().await?, context.client().await?);
    let mut inbox = client.join(group("g", "l.>").in_flight(16)).await?;
    let publishing = tokio::spawn(async move {
        for note in notes("l.a", 0..ALL) {
            publisher.publish(&note).await?;
        }
        Ok::<_, Violation>(())
    });
    let (mut random, ledger) = (context.random(), Ledger::expecting(0..ALL));
    let (mut taken, mut cancelled) = (0, 0_u32);
    while taken < ALL {
        let next = if cancelled < 2_000 {
            let choice = random.random_range(0..12);
            tokio::select! {
                biased;
                next = inbox.raw() => next,
                () = moment(choice) => {
                    cancelled += 1;
                    continue;
                }
            }
        } else {
            timeout(PATIENCE, inbox.raw()).await.map_err(|_| {
                Violation::new("nothing comes any more").because(ledger.read(Books::summary))
            })?
        };
        let Some(parcel) = next else {
            return Err(Violation::new("the subscription ended"));
        };
        let token = parcel?.token()?;
        ledger.deliver("one", &token);
        token.ack().await?;
        taken += 1;
    }
    publishing.await.map_err(Violation::new)??;
    inbox.quiet().await?;
    ledger.exact()
}

/// The adapter's own half of it: the core cancels a receive only when it leaves, other users may at any time.
async fn l2_a_cancelled_receive_loses_nothing(context: Context) -> Result<(), Violation> {
    const ALL: usize = 300;
    let client = context.client().await?;
    let scope = Scope::Group(Group::new("g")?);
    let spec = SubscriptionSpec::new(scope, Pattern::new("l.a")?);
    let mut inbound = client.adapter().subscribe(spec).await?;
    for confirmed in client.publish_batch(&notes("l.a", 0..ALL as u64)).await {
        confirmed?;
    }
    let (mut random, mut seen, mut cancelled) = (context.random(), BTreeSet::new(), 0_u32);
    while seen.len() < ALL {
        let choice = if cancelled < 1_000 {
            random.random_range(0..12)
        } else {
            11
        };
        let patience = if cancelled < 1_000 {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let received = tokio::select! {
            biased;
            received = inbound.receiver.receive(7) => received?,
            () = async { moment(choice).await; tokio::time::sleep(patience).await } => {
                cancelled += 1;
                ensure!(cancelled <= 1_000, "{} of {ALL} came, then nothing any more", seen.len());
                continue;
            }
        };
        let Inflow::Deliveries(deliveries) = received else {
            return Err(Violation::new("a lone member lost what it held"));
        };
        let acks = deliveries
            .iter()
            .map(|delivery| (delivery.receipt, Settlement::Ack))
            .collect();
        for delivery in &deliveries {
            ensure!(
                // Of one log, offsets are unique; a topic may have several.
                seen.insert((delivery.position.log().clone(), delivery.position.offset())),
                "{:?} came twice",
                delivery.position
            );
        }
        for settled in inbound.settler.settle(acks).await {
            settled?;
        }
    }
    inbound.settler.leave(Instant::now() + secs(10)).await?;
    Ok(())
}

async fn l2_a_cancelled_publish_loses_no_other(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 200;
    let (client, reader) = (context.client().await?, context.client().await?);
    let mut inbox = reader.join(group("g", "l.>")).await?;
    let mut random = context.random();
    let publishes = (0..ALL).map(|number| {
        let (bus, note) = (client.bus.clone(), Note::new("l.a", number));
        let choice: u32 = random.random_range(0..12);
        async move {
            let publish = async { bus.publish(&note).await };
            if number % 3 != 0 {
                return Ok(publish.await.map(|_| Some(number))?);
            }
            tokio::select! {
                biased;
                () = moment(choice) => Ok(None),
                done = publish => Ok(Some(done.map(|_| number)?)),
            }
        }
    });
    let mut confirmed = BTreeSet::new();
    for outcome in join_all(publishes).await {
        let outcome: Result<Option<u64>, Violation> = outcome;
        confirmed.extend(outcome?);
    }
    check_stored(&mut inbox, &confirmed, ALL).await?;
    // The window that the cancelled ones held is free again.
    ensure_eq!(
        client
            .health()
            .await
            .details
            .get("client.outstanding_messages")
            .map(String::as_str),
        Some("0"),
        "outstanding publishes"
    );
    Ok(())
}

/// Everything confirmed arrives once; what was cancelled arrives once or not at all.
async fn check_stored(
    inbox: &mut crate::probe::Inbox,
    confirmed: &BTreeSet<u64>,
    all: u64,
) -> Result<(), Violation> {
    let mut seen = Vec::new();
    while !confirmed.iter().all(|number| seen.contains(number)) {
        let token = inbox.next().await.map_err(|violation| {
            violation.because(format_args!(
                "{} of {} confirmed",
                seen.len(),
                confirmed.len()
            ))
        })?;
        seen.push(token.number());
        token.ack().await?;
    }
    while let Ok(Some(parcel)) = timeout(ms(400), inbox.raw()).await {
        let token = parcel?.token()?;
        seen.push(token.number());
        token.ack().await?;
    }
    let unique: BTreeSet<u64> = seen.iter().copied().collect();
    ensure_eq!(unique.len(), seen.len(), "deliveries, each once");
    ensure!(
        unique.iter().all(|number| *number < all),
        "a stranger was delivered"
    );
    Ok(())
}

async fn l2_a_cancelled_batch_loses_no_other(context: Context) -> Result<(), Violation> {
    let (client, reader) = (context.client().await?, context.client().await?);
    let mut inbox = reader.join(group("g", "l.>")).await?;
    let mut confirmed = BTreeSet::new();
    let mut random = context.random();
    for round in 0..10_u64 {
        let first = round * 20;
        let doomed = notes("l.a", first..first + 10);
        let safe = notes("l.a", first + 10..first + 20);
        let choice = random.random_range(0..12);
        let cancelled = async {
            tokio::select! {
                biased;
                () = moment(choice) => Vec::new(),
                done = async { client.publish_batch(&doomed).await } => done,
            }
        };
        let (maybe, sure) = tokio::join!(cancelled, async { client.publish_batch(&safe).await });
        for (note, result) in doomed.iter().zip(maybe) {
            result?;
            confirmed.insert(note.number);
        }
        for (note, result) in safe.iter().zip(sure) {
            result?;
            confirmed.insert(note.number);
        }
    }
    check_stored(&mut inbox, &confirmed, 200).await
}

/// The settling goes on when nobody waits for it; and no other one is touched.
async fn l2_a_cancelled_ack_is_an_ack_or_none(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "l.>")).await?;
    for result in client.publish_batch(&notes("l.a", 0..60)).await {
        result?;
    }
    let mut random = context.random();
    let mut sure = BTreeSet::new();
    for token in inbox.hold(60).await? {
        let (number, choice) = (token.number(), random.random_range(0..12));
        tokio::select! {
            biased;
            () = moment(choice) => {}
            done = token.ack() => {
                done?;
                sure.insert(number);
            }
        }
    }
    inbox.leave().await?;
    let mut again = client.join(group("g", "l.>")).await?;
    while let Ok(Some(parcel)) = timeout(ms(400), again.raw()).await {
        let token = parcel?.token()?;
        ensure!(
            !sure.contains(&token.number()),
            "number {} came again after its ack was confirmed",
            token.number()
        );
        token.ack().await?;
    }
    ensure_eq!(
        client.info(&group("g", "l.>")).await?.lag,
        0,
        "unsettled messages"
    );
    Ok(())
}

/// With a lease far longer than the case, a member that no one holds keeps what it was given.
async fn l2_a_cancelled_subscribe_leaves_no_member_behind(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "l.>").lease(secs(300));
    client.join(want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("l.a", 0..100)).await {
        result?;
    }
    let mut random = context.random();
    for _ in 0..12 {
        let choice = random.random_range(0..12);
        tokio::select! {
            biased;
            () = moment(choice) => {}
            joined = client.join(want.clone()) => joined?.leave().await?,
        }
    }
    let mut inbox = client.join(want).await?;
    inbox.take_all(&Ledger::expecting(0..100)).await
}

async fn l2_a_cancelled_request_disturbs_no_other(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let responder = context.client().await?;
    let crew = responder.answer(post("p"), &diary, |_| Say::Answer).await?;
    let mut random = context.random();
    let asks = (0..120_u64).map(|number| {
        let choice: u32 = random.random_range(0..12);
        let client = &client;
        async move {
            if number % 2 == 0 {
                return client.ask(number).await.map(|_| ());
            }
            let request = async { client.request(&Question { number }).await };
            tokio::select! {
                biased;
                () = moment(choice) => {}
                _ = request => {}
            }
            Ok(())
        }
    });
    for asked in join_all(asks).await {
        asked?;
    }
    crew.shutdown().await
}

async fn l2_a_cancelled_close_can_be_finished(context: Context) -> Result<(), Violation> {
    let (client, other) = (context.client().await?, context.client().await?);
    let mut inbox = client.join(group("g", "l.>").lease(secs(300))).await?;
    for result in client.publish_batch(&notes("l.a", 0..30)).await {
        result?;
    }
    let held = inbox.hold(3).await?;
    for choice in 0..4 {
        tokio::select! {
            biased;
            () = moment(choice) => {}
            _ = client.close() => {}
        }
    }
    ack_all(held).await?;
    drop(inbox);
    client.close().await?;
    let mut next = other.join(group("g", "l.>")).await?;
    let rest = next.hold(27).await?;
    ack_all(rest).await?;
    next.quiet().await
}
