//! T3 and T4: topics without declaration, namespaces without contact.

use std::collections::BTreeSet;

use bus_api::{Group, SubscriptionId};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Bounds, Ledger, Note, Pump, ack_all, broadcast, group, notes, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(t3_a_new_topic_loses_nothing),
        case!(t3_an_exact_subscription_may_come_before_its_topic),
        case!(t3_a_broadcast_sees_new_topics_too),
        case!(t4_two_namespaces_never_see_each_other),
        case!(t4_a_stalled_namespace_blocks_no_other),
        case!(t4_topics_and_groups_that_look_alike_do_not_collide),
        case!(t4_topics_named_like_what_the_bus_may_use_itself),
    ]
}

async fn t3_a_new_topic_loses_nothing(context: Context) -> Result<(), Violation> {
    let bounds = Bounds::of(&context);
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    // A member that is busy with a known topic must notice new ones all the same.
    publisher.publish(&Note::new("known.a", 0)).await?;
    let ledger = Ledger::expecting([0]);
    let pump = Pump::acking("one", subscriber.join(group("g", ">")).await?, &ledger);
    ledger.until_all_acked().await?;
    let mut number = 1;
    let topics = ["new.a", "new.b.c", "other", "known.b"];
    let begun = Instant::now();
    for topic in topics {
        for _ in 0..5 {
            ledger.publish([number]);
            publisher.publish(&Note::new(topic, number)).await?;
            number += 1;
        }
    }
    let published = begun.elapsed();
    ledger.until_all_acked().await?;
    ledger.exact()?;
    let last = ledger.read(|books| books.deliveries.iter().map(|handed| handed.at).max());
    let took = last.map_or(secs(0), |last| last - begun);
    ensure!(
        took <= published + bounds.new_topic + bounds.prompt,
        "messages of new topics took {took:?}; publishing took {published:?} and {:?} is granted",
        bounds.new_topic
    );
    pump.leave().await
}

async fn t3_an_exact_subscription_may_come_before_its_topic(
    context: Context,
) -> Result<(), Violation> {
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    let mut inbox = subscriber.join(group("g", "not.yet").latest()).await?;
    let ledger = Ledger::expecting(1..=20);
    for note in notes("not.yet", 1..=20) {
        publisher.publish(&note).await?;
    }
    inbox.take_all(&ledger).await
}

async fn t3_a_broadcast_sees_new_topics_too(context: Context) -> Result<(), Violation> {
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    let mut inbox = subscriber.join(broadcast("news.>")).await?;
    let ledger = Ledger::expecting(1..=4);
    for (number, topic) in (1..).zip(["news.a", "news.b", "news.a.b", "news.c"]) {
        publisher.publish(&Note::new(topic, number)).await?;
    }
    inbox.take_all(&ledger).await
}

/// The second namespace's name starts with the first one's: a prefix that is matched without its end
/// mixes them.
async fn t4_two_namespaces_never_see_each_other(context: Context) -> Result<(), Violation> {
    let here = context.client().await?;
    let there = context.client_in(&context.other_namespace()?, &[]).await?;
    let mut inboxes = Vec::new();
    for client in [&here, &there] {
        inboxes.push(client.join(group("g", ">")).await?);
        inboxes.push(client.join(group("g", "a.b")).await?);
        inboxes.push(client.join(broadcast(">")).await?);
    }
    for number in 0..10 {
        here.publish(&Note::new("a.b", number)).await?;
        there.publish(&Note::new("a.b", 100 + number)).await?;
    }
    for (index, mut inbox) in inboxes.into_iter().enumerate() {
        let first = if index < 3 { 0 } else { 100 };
        inbox
            .take_all(&Ledger::expecting(first..first + 10))
            .await?;
        inbox.leave().await?;
    }
    // What operators see and do in one concerns one.
    let id = SubscriptionId::new(Group::new("g")?, "a.b".parse()?);
    there.connection.bus.admin().delete(&id, true).await?;
    let left: Vec<_> = here.list().await?.into_iter().map(|info| info.id).collect();
    ensure!(
        left.contains(&id),
        "deleting {id} in another namespace deleted it here"
    );
    there.publish(&Note::new("only.there", 200)).await?;
    let known = here.topics().await?;
    ensure_eq!(known, vec!["a.b"], "topics known here");
    Ok(())
}

async fn t4_a_stalled_namespace_blocks_no_other(context: Context) -> Result<(), Violation> {
    let here = context.client().await?;
    let there = context.client_in(&context.other_namespace()?, &[]).await?;
    let mut stalled = there.join(group("g", ">").in_flight(4)).await?;
    for note in notes("a.b", 0..200) {
        there.publish(&note).await?;
    }
    let held = stalled.hold(4).await?;
    let ledger = Ledger::expecting(0..100);
    let mut flowing = here.join(group("g", ">").in_flight(4)).await?;
    for note in notes("a.b", 0..100) {
        here.publish(&note).await?;
    }
    flowing.take_all(&ledger).await?;
    ensure_eq!(numbers(&held).len(), 4, "held by the stalled namespace");
    Ok(())
}

/// A name on the broker that is glued together without a separator that the parts cannot hold makes two of
/// these one.
async fn t4_topics_and_groups_that_look_alike_do_not_collide(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let topics = [
        "a.b", "a-b", "a_b", "a--b", "a__b", "A.b", "a.B", "a-.b", "a.-b",
    ];
    let subscriptions = [("g", "a-b"), ("g-a", "b"), ("g-a-b", "a.b"), ("G", "a-b")];
    let mut inboxes = Vec::new();
    for topic in topics {
        inboxes.push((topic, client.join(group("t", topic)).await?));
    }
    for (name, pattern) in subscriptions {
        inboxes.push((pattern, client.join(group(name, pattern)).await?));
    }
    for (number, topic) in (0..).zip(topics.into_iter().chain(["b"])) {
        client.publish(&Note::new(topic, number)).await?;
    }
    for (topic, mut inbox) in inboxes {
        let token = inbox.next().await?;
        ensure_eq!(
            token.note().topic,
            topic,
            "what the subscription to it gets"
        );
        token.ack().await?;
        inbox.quiet().await?;
    }
    let known: BTreeSet<_> = client
        .list()
        .await?
        .into_iter()
        .map(|info| info.id.to_string())
        .collect();
    ensure_eq!(known.len(), topics.len() + subscriptions.len(), "{known:?}");
    Ok(())
}

async fn t4_topics_named_like_what_the_bus_may_use_itself(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let own = context.namespace().as_str().to_owned();
    let names = [
        "bus",
        "bus.dead",
        "dead",
        "dlq",
        "dead-letters",
        "registry",
        "topics",
        "groups",
        "inbox",
        "_INBOX.a",
        "reply",
        "requests",
        "meta",
        "state",
        "locks",
        "data",
        "events",
        "records",
        "__consumer_offsets",
        "subscriptions",
        &own,
    ];
    let mut all = client.join(group("all", ">")).await?;
    let exact = try_join_all(names.map(|name| client.join(group("exact", name)))).await?;
    for (number, name) in (0..).zip(names) {
        client.publish(&Note::new(name, number)).await?;
    }
    // Traffic of the bus's own: a nack stores a record, a requeue may use a delayed set.
    let held = all.hold(names.len()).await?;
    for token in held {
        token.nack().await?;
    }
    let again = all.hold(names.len()).await?;
    ensure_eq!(
        numbers(&again),
        (0..names.len() as u64).collect::<Vec<_>>(),
        "what comes again"
    );
    ack_all(again).await?;
    for (number, mut inbox) in (0..).zip(exact) {
        let token = inbox.next().await?;
        ensure_eq!(token.number(), number, "what an exact subscription gets");
        token.ack().await?;
    }
    all.quiet().await
}
