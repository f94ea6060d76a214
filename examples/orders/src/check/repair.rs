//! Dead letters: repaired and sent back, or thrown away.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bus::{BusClient, DeadEntry, Filter, MessageId};
use tokio::time::Instant;

use super::figures;
use super::plan::Plan;
use super::wait::until;
use crate::messages::OrderEnded;
use crate::service::Service;

/// Repairs the addresses of the mails that came back, and sends the mails again.
pub async fn mails(bus: &BusClient, plan: &Plan, deadline: Instant) -> Result<u64> {
    let good = plan.orders.len() as u64 - plan.bounces;
    until(
        deadline,
        "mails with a good address",
        || figures::mails(bus, &plan.run),
        |mails| mails.sent == good,
    )
    .await?;
    let dead = until(
        deadline,
        "mails that came back",
        || bounced(bus, plan),
        |dead| dead.len() as u64 >= plan.bounces,
    )
    .await?;
    let orders: BTreeSet<_> = dead.iter().map(|(order, _, _)| order).collect();
    // A message that was published twice is two dead letters where the broker does not drop the second copy.
    let copies = dead.len() - orders.len();
    ensure!(
        orders.len() as u64 == plan.bounces && (copies == 0 || !bus.capabilities().dedup),
        "{} dead letters about {} orders; {} mails have no address",
        dead.len(),
        orders.len(),
        plan.bounces
    );
    // The inbox knows the ids: however many copies are sent back, there will be one mail.
    for (_, repaired, entry) in &dead {
        bus.dead_letters("mail")
            .redrive_as(entry.id, repaired)
            .await?;
    }
    Ok(plan.bounces)
}

/// The dead letters of this round: the order, the event as it should have been, the entry.
async fn bounced(bus: &BusClient, plan: &Plan) -> Result<Vec<(String, OrderEnded, DeadEntry)>> {
    let filter = Filter::default()
        .topic("orders.event.*")
        .error_contains("550");
    let mut found = Vec::new();
    for entry in all(bus, Service::Mail, &filter).await? {
        let mut event: OrderEnded = entry.decode()?;
        let (OrderEnded::Shipped { order, address } | OrderEnded::Cancelled { order, address, .. }) =
            &mut event;
        let order = order.clone();
        if order.starts_with(&plan.run) {
            *address = "found@example.org".to_owned();
            found.push((order, event, entry));
        }
    }
    Ok(found)
}

/// What nobody could read is in the dead letters, and is thrown away.
pub async fn nonsense(
    bus: &BusClient,
    sent: &BTreeSet<MessageId>,
    deadline: Instant,
) -> Result<()> {
    let filter = Filter::default().error_kind("decode");
    let dead = until(
        deadline,
        "commands that nobody can read",
        || async {
            let mut dead = all(bus, Service::Order, &filter).await?;
            dead.retain(|entry| sent.contains(&entry.message.metadata.id));
            anyhow::Ok(dead)
        },
        |dead| dead.len() >= sent.len(),
    )
    .await?;
    ensure!(dead.len() == sent.len(), "{} of {}", dead.len(), sent.len());
    for entry in dead {
        let one = Filter::default().id(entry.id);
        let _report = bus.dead_letters("order").purge(&one).await?;
    }
    Ok(())
}

/// Nothing else about this round has failed for good.
pub async fn nothing_else(bus: &BusClient, plan: &Plan) -> Result<()> {
    for service in Service::ALL {
        for entry in all(bus, service, &Filter::default()).await? {
            let about = entry.message.metadata.correlation_id.as_deref();
            ensure!(
                !about.unwrap_or_default().starts_with(&plan.run),
                "a dead letter of {}: {} {}",
                service.name(),
                entry.message.topic,
                entry.error
            );
        }
    }
    Ok(())
}

async fn all(bus: &BusClient, service: Service, filter: &Filter) -> bus::Result<Vec<DeadEntry>> {
    let dead = bus.dead_letters(service.name());
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = dead.page(filter, cursor.as_ref(), 100).await?;
        found.extend(page.entries);
        match page.next {
            None => return Ok(found),
            next => cursor = next,
        }
    }
}
