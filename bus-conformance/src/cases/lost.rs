//! L4: what the broker lost. L5: what `health()` says.

use bus_api::{AckDurability, HealthStatus, Notice};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, PATIENCE, Pump, ack_all, eventually, group, notes, numbers};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(l4_a_lost_subscription_goes_on_where_it_was).with(&[Control::LoseSubscription]),
        case!(l4_a_lost_subscription_delivers_what_comes_later).with(&[Control::LoseSubscription]),
        case!(l4_a_lost_log_goes_on_from_its_first_message).with(&[Control::LoseLog]),
        case!(l5_health_of_a_broker_that_is_well),
        case!(l5_health_tells_a_broker_that_is_away).with(&[Control::Cut]),
        case!(l5_the_lag_is_true),
        case!(l5_members_and_pending_are_true),
        case!(l5_health_names_what_is_not_protected),
    ]
}

/// Waits for the notice that `wanted` takes, and for `health()` to show it.
async fn announced(
    client: &Client,
    notices: &mut Receiver<Notice>,
    what: &str,
    wanted: impl Fn(&Notice) -> bool,
) -> Result<(), Violation> {
    let found = timeout(PATIENCE, async {
        loop {
            match notices.recv().await {
                Ok(notice) if wanted(&notice) => return Ok(notice.to_string()),
                Ok(_) => {}
                Err(error) => return Err(Violation::new(error)),
            }
        }
    })
    .await
    .map_err(|_| Violation::new(format_args!("no notice of {what}")))??;
    let shown = client.health().await.notices;
    ensure!(
        shown.contains(&found),
        "health() does not show {found:?}: {shown:?}"
    );
    Ok(())
}

/// It held two unsettled messages; from the lowest of them on everything may come again, nothing before.
async fn l4_a_lost_subscription_goes_on_where_it_was(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut notices = client.notices();
    let mut inbox = client.join(group("g", "l.a")).await?;
    for note in notes("l.a", 0..20) {
        client.publish(&note).await?;
    }
    let mut held = inbox.hold(20).await?;
    held.sort_by_key(crate::probe::Token::number);
    let kept = held.split_off(15);
    ack_all(held).await?;
    context
        .factory()
        .lose_subscription(context.namespace(), "g", "l.a")
        .await?;
    announced(&client, &mut notices, "a recreated subscription", |notice| {
        matches!(notice, Notice::SubscriptionRecreated { subscription } if subscription.group.as_str() == "g")
    })
    .await?;
    drop(kept);
    let mut again = Vec::new();
    while again.len() < 5 {
        let token = inbox.next().await?;
        ensure!(
            token.number() >= 15,
            "number {} came again; 15 was the lowest unsettled one",
            token.number()
        );
        if !again.contains(&token.number()) {
            again.push(token.number());
        }
        token.ack().await?;
    }
    client.publish(&notes("l.a", [20])[0]).await?;
    while inbox.next().await?.number() != 20 {}
    Ok(())
}

/// Everything was settled, and no one asks at that moment: it ends in no silent stop.
async fn l4_a_lost_subscription_delivers_what_comes_later(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let ledger = Ledger::expecting(0..10);
    let pump = Pump::acking("one", client.join(group("g", "l.>")).await?, &ledger);
    for note in notes("l.a", 0..10) {
        client.publish(&note).await?;
    }
    ledger.until_all_acked().await?;
    context
        .factory()
        .lose_subscription(context.namespace(), "g", "l.>")
        .await?;
    for number in 10..30 {
        ledger.publish([number]);
        client.publish(&Note::new("l.a", number)).await?;
    }
    ledger.until_all_acked().await?;
    ensure!(
        ledger.read(|books| books.losses().is_empty()),
        "lost after a lost subscription: {}",
        ledger.read(crate::probe::Books::summary)
    );
    let listed = client.info(&group("g", "l.>")).await?;
    ensure_eq!(
        listed.id.group.as_str(),
        "g",
        "the recreated subscription in the list"
    );
    pump.leave().await
}

async fn l4_a_lost_log_goes_on_from_its_first_message(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut notices = client.notices();
    let ledger = Ledger::expecting(0..10);
    let pump = Pump::acking("one", client.join(group("g", "l.>")).await?, &ledger);
    for note in notes("l.a", 0..10) {
        client.publish(&note).await?;
    }
    ledger.until_all_acked().await?;
    context
        .factory()
        .lose_log(context.namespace(), "l.a")
        .await?;
    // Fewer than before, and more than before: positions of the new log are below and above those of the old.
    for number in 10..40 {
        ledger.publish([number]);
        client.publish(&Note::new("l.a", number)).await?;
    }
    ledger.until_all_acked().await?;
    ledger.exact()?;
    announced(&client, &mut notices, "a lost log", |notice| {
        matches!(notice, Notice::LogLost { .. })
    })
    .await?;
    pump.leave().await
}

async fn l5_health_of_a_broker_that_is_well(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "l.>")).await?;
    inbox.take_all(&Ledger::new()).await?;
    let health = client.health().await;
    ensure_eq!(
        (health.status, health.connected, health.writable),
        (HealthStatus::Up, true, true),
        "health of a broker that is well, with problems {:?}",
        health.problems
    );
    ensure!(
        health.problems.is_empty(),
        "up with problems {:?}",
        health.problems
    );
    let listed: Vec<String> = health
        .subscriptions
        .iter()
        .map(|info| info.id.to_string())
        .collect();
    ensure_eq!(listed, vec!["g on l.>"], "subscriptions in health()");
    inbox.leave().await
}

async fn l5_health_tells_a_broker_that_is_away(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.publish(&notes("l.a", [0])[0]).await?;
    client.connection.disturb.cut().await;
    eventually("health() says that the broker is away", async || {
        let health = client.health().await;
        Ok(!health.connected && !health.writable && health.status == HealthStatus::Down)
    })
    .await?;
    let problems = client.health().await.problems;
    ensure!(!problems.is_empty(), "down without a problem named");
    client.connection.disturb.heal().await;
    eventually("health() says that the broker is back", async || {
        let health = client.health().await;
        Ok(health.connected && health.writable && health.status == HealthStatus::Up)
    })
    .await
}

async fn l5_the_lag_is_true(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "l.*")).await?;
    client.join(group("idle", ">")).await?.leave().await?;
    ensure_eq!(
        client.info(&group("g", "l.*")).await?.lag,
        0,
        "the lag of nothing"
    );
    for number in 0..30 {
        // Every third one is of a topic that the pattern does not take.
        let topic = if number % 3 == 2 { "l.a.b" } else { "l.a" };
        client.publish(&Note::new(topic, number)).await?;
    }
    let lag_is = async |name: &str, pattern: &str, lag: u64| {
        let mut seen = 0;
        eventually(format!("{name} has a lag of {lag}"), async || {
            seen = client.info(&group(name, pattern)).await?.lag;
            Ok(seen == lag)
        })
        .await
        .map_err(|violation| violation.because(format_args!("it is {seen}")))
    };
    lag_is("g", "l.*", 20).await?;
    lag_is("idle", ">", 30).await?;
    ensure!(
        client.info(&group("idle", ">")).await?.oldest.is_some(),
        "a lag without the time of its oldest message"
    );
    let mut held = inbox.hold(20).await?;
    // Handed over is not settled.
    lag_is("g", "l.*", 20).await?;
    let rest = held.split_off(12);
    ack_all(held).await?;
    lag_is("g", "l.*", 8).await?;
    let health = client.health().await;
    let shown = health
        .subscriptions
        .iter()
        .find(|info| info.id.group.as_str() == "g")
        .map(|info| info.lag);
    ensure_eq!(shown, Some(8), "the lag in health()");
    ack_all(rest).await?;
    lag_is("g", "l.*", 0).await?;
    ensure_eq!(
        client.info(&group("g", "l.*")).await?.oldest,
        None,
        "the oldest of nothing"
    );
    inbox.leave().await
}

async fn l5_members_and_pending_are_true(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut first = client.join(group("g", "l.>")).await?;
    let members_are = async |members: u64| {
        eventually(format!("{members} members are listed"), async || {
            Ok(client.info(&group("g", "l.>")).await?.members == members)
        })
        .await
    };
    members_are(1).await?;
    let second = context.client().await?.join(group("g", "l.>")).await?;
    members_are(2).await?;
    second.leave().await?;
    members_are(1).await?;
    for note in notes("l.a", 0..10) {
        client.publish(&note).await?;
    }
    let held = first.hold(10).await?;
    ensure_eq!(numbers(&held).len(), 10, "deliveries held");
    eventually("what is handed over is pending", async || {
        Ok(client.info(&group("g", "l.>")).await?.pending == 10)
    })
    .await?;
    ack_all(held).await?;
    eventually("nothing is pending", async || {
        Ok(client.info(&group("g", "l.>")).await?.pending == 0)
    })
    .await?;
    first.leave().await?;
    members_are(0).await
}

/// A1: where an ack that was confirmed may come again, the limit is named.
async fn l5_health_names_what_is_not_protected(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let limited = matches!(
        client.capabilities().ack_durability,
        AckDurability::Flushed(_) | AckDurability::Process
    );
    let unprotected = client.health().await.unprotected;
    ensure!(
        !limited || !unprotected.is_empty(),
        "acks are {:?} and health() names nothing that is not protected",
        client.capabilities().ack_durability
    );
    Ok(())
}
