//! A5 and A6: leases.

use std::time::Duration;

use bus_api::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Bounds, Ledger, Pump, ack_all, eventually, group, ms, notes, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a5_three_leases_are_one_delivery).within(secs(90)),
        case!(a5_queued_deliveries_keep_their_lease).within(secs(90)),
        case!(a5_delayed_settling_keeps_the_lease_of_the_rest).within(secs(90)),
        case!(a5_a_shorter_lease_is_invalid_config),
        case!(a6_what_a_dead_member_held_comes_again)
            .with(&[Control::Kill])
            .within(secs(90)),
        case!(a6_several_survivors_share_it_without_duplicates)
            .with(&[Control::Kill])
            .within(secs(90)),
        case!(a6_a_cut_member_loses_its_lease_and_is_fenced)
            .with(&[Control::Cut])
            .within(secs(90)),
        case!(a6_a_cut_member_hands_on_nothing_that_others_settled)
            .with(&[Control::Cut])
            .within(secs(90)),
    ]
}

/// A lease that a busy machine can keep: it is renewed after a third, so a member may stand still for two
/// seconds, as a member does whose disk is full of other work.
fn lease(client: &Client) -> Duration {
    client.capabilities().min_lease.max(secs(3))
}

/// A handler that takes three leases: this is the time that it takes, not a wait for something.
async fn work_for(leases: u32, lease: Duration) {
    sleep(lease * leases).await;
}

async fn a5_three_leases_are_one_delivery(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease);
    let ledger = Ledger::expecting(0..6);
    let mut slow = first.join(want.clone()).await?;
    for note in notes("a.b", 0..6) {
        first.publish(&note).await?;
    }
    let held = slow.hold(6).await?;
    for token in &held {
        ledger.deliver("slow", token);
    }
    // Another member would get whatever runs out.
    let fast = Pump::acking("fast", second.join(want.clone()).await?, &ledger);
    work_for(3, lease).await;
    ledger.exact()?;
    ack_all(held).await?;
    fast.stop().await?.quiet().await?;
    slow.quiet().await?;
    let info = first.info(&want).await?;
    ensure_eq!(info.lag, 0, "unsettled messages");
    ledger.exact()
}

/// A member that extends what runs and forgets what it has fetched and not started loses the latter.
async fn a5_queued_deliveries_keep_their_lease(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease).in_flight(20);
    let ledger = Ledger::expecting(0..20);
    for note in notes("a.b", 0..20) {
        first.publish(&note).await?;
    }
    let mut slow = first.join(want.clone()).await?;
    let token = slow.next().await?;
    ledger.deliver("slow", &token);
    let fast = Pump::acking("fast", second.join(want).await?, &ledger);
    work_for(3, lease).await;
    let number = token.number();
    token.ack().await?;
    ledger.ack(number);
    let slow = Pump::acking("slow", slow, &ledger);
    ledger.until_all_acked().await?;
    slow.stop().await?.quiet().await?;
    fast.leave().await?;
    ledger.exact()
}

async fn a5_delayed_settling_keeps_the_lease_of_the_rest(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let lease = lease(&client);
    let want = group("g", "a.b").lease(lease);
    let ledger = Ledger::expecting(0..9);
    for note in notes("a.b", 0..9) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want).await?;
    let mut held = inbox.hold(9).await?;
    for token in &held {
        ledger.deliver("one", token);
    }
    for _ in 0..3 {
        work_for(1, lease).await;
        ack_all(held.split_off(held.len() - 3)).await?;
    }
    inbox.quiet_for(lease * 2).await?;
    ledger.exact()
}

async fn a5_a_shorter_lease_is_invalid_config(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let min = client.capabilities().min_lease;
    client
        .join(group("g", "a.b").lease(min))
        .await?
        .leave()
        .await?;
    for (name, lease) in [("h", min.saturating_sub(ms(1))), ("i", Duration::ZERO)] {
        match client.join(group(name, "a.b").lease(lease)).await {
            Ok(_) => {
                return Err(Violation::new(format_args!(
                    "a lease of {lease:?} was accepted, the shortest is {min:?}"
                )));
            }
            Err(error) => ensure_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}"),
        }
    }
    ensure_eq!(client.list().await?.len(), 1, "subscriptions");
    Ok(())
}

async fn a6_what_a_dead_member_held_comes_again(context: Context) -> Result<(), Violation> {
    let bounds = Bounds::of(&context);
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease).in_flight(40);
    for note in notes("a.b", 0..40) {
        first.publish(&note).await?;
    }
    let mut dying = first.join(want.clone()).await?;
    // Some of them in hands, the rest at best fetched.
    let held = dying.hold(10).await?;
    let mut survivor = second.join(want).await?;
    let ledger = Ledger::expecting(0..40);
    first.connection.disturb.kill().await;
    let killed = Instant::now();
    survivor.take_all(&ledger).await?;
    let last = ledger.read(|books| books.deliveries.iter().map(|handed| handed.at).max());
    let took = last.map_or(Duration::ZERO, |last| last - killed);
    ensure!(
        took <= lease + bounds.sweep + bounds.prompt,
        "what a dead member held took {took:?}; the lease is {lease:?}, the sweep {:?}",
        bounds.sweep
    );
    drop((held, dying));
    survivor.quiet().await?;
    ledger.exact()
}

async fn a6_several_survivors_share_it_without_duplicates(
    context: Context,
) -> Result<(), Violation> {
    let first = context.client().await?;
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease).in_flight(30);
    for note in notes("a.b", 0..30) {
        first.publish(&note).await?;
    }
    let mut dying = first.join(want.clone()).await?;
    let held = dying.hold(30).await?;
    let ledger = Ledger::expecting(0..30);
    let mut pumps = Vec::new();
    for member in 0..3 {
        let inbox = context.client().await?.join(want.clone()).await?;
        pumps.push(Pump::acking(format!("m{member}"), inbox, &ledger));
    }
    first.connection.disturb.kill().await;
    ledger.until_all_acked().await?;
    let mut last = pumps
        .pop()
        .ok_or_else(|| Violation::new("no member"))?
        .stop()
        .await?;
    last.quiet().await?;
    for pump in pumps {
        pump.leave().await?;
    }
    drop((held, dying));
    ledger.exact()
}

/// It lives, and does not know yet that others have what it held: its acks must not settle theirs.
async fn a6_a_cut_member_loses_its_lease_and_is_fenced(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease).in_flight(10);
    for note in notes("a.b", 0..5) {
        first.publish(&note).await?;
    }
    let mut cut = first.join(want.clone()).await?;
    let held = cut.hold(5).await?;
    let mut survivor = second.join(want.clone()).await?;
    first.connection.disturb.cut().await;
    let taken = survivor.hold(5).await?;
    ensure_eq!(
        numbers(&taken),
        vec![0, 1, 2, 3, 4],
        "what the other one gets"
    );
    first.connection.disturb.heal().await;
    for token in held {
        // Whether it is told (Fenced) or not: it changes nothing.
        let _ = token.ack().await;
    }
    for token in taken {
        token.nack().await?;
    }
    cut.leave().await?;
    survivor.take_all(&Ledger::expecting(0..5)).await
}

/// What was queued in it when it was cut is settled by another one meanwhile.
async fn a6_a_cut_member_hands_on_nothing_that_others_settled(
    context: Context,
) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = lease(&first);
    let want = group("g", "a.b").lease(lease).in_flight(10);
    for note in notes("a.b", 0..10) {
        first.publish(&note).await?;
    }
    let mut cut = first.join(want.clone()).await?;
    let held = cut.next().await?;
    eventually("what is in flight", async || {
        let info = first.info(&want).await?;
        Ok(info.pending == 10)
    })
    .await?;
    let mut survivor = second.join(want.clone()).await?;
    first.connection.disturb.cut().await;
    survivor.take_all(&Ledger::expecting(0..10)).await?;
    cut.quiet().await?;
    first.connection.disturb.heal().await;
    cut.quiet().await?;
    drop(held);
    cut.leave().await?;
    survivor.leave().await
}
