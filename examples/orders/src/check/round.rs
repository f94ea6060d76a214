//! One round: goods and money come in, orders are placed, a service dies, everything is counted.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bus::{BusClient, Event, MessageId, Raw, Topic, ids};
use tokio::time::Instant;

use super::audit::Audit;
use super::crew::Crew;
use super::plan::Plan;
use super::wait::until;
use super::{figures, repair};
use crate::arguments::Check;
use crate::messages::PlaceOrder;
use crate::service::Service;

/// Runs the round, and says in a line what it was like.
pub async fn run(
    bus: &BusClient,
    crew: &mut Crew,
    audit: &mut Audit,
    check: &Check,
    random: &mut fastrand::Rng,
) -> Result<String> {
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(check.within);
    // A namespace may have seen the same seed before.
    let run = format!("r{}", ids::next().to_string().replace('-', ""));
    let plan = Plan::new(&run, check.orders, random);
    fill(bus, &plan, deadline).await?;
    let nonsense = place(bus, &plan.orders, random).await?;
    let killed = match check.kill {
        true => Some(kill(bus, crew, &plan, deadline, random).await?),
        false => None,
    };
    let figures = until(
        deadline,
        "the orders end",
        || figures::orders(bus, &run),
        |figures| figures.open == 0 && figures.unpublished == 0 && total(figures) >= check.orders,
    )
    .await?;
    // Second copies of what was sent are through, too.
    until(
        deadline,
        "nothing waits",
        || waiting(bus),
        |waiting| *waiting == 0,
    )
    .await?;
    ensure!(
        figures == plan.expected,
        "the orders ended otherwise:\n{figures:?}\nexpected:\n{:?}",
        plan.expected
    );
    until(
        deadline,
        "goods",
        || figures::goods(bus, &run),
        |goods| *goods == plan.goods(),
    )
    .await?;
    until(
        deadline,
        "money",
        || figures::money(bus, &run),
        |money| *money == plan.money(),
    )
    .await?;
    let repaired = repair::mails(bus, &plan, deadline).await?;
    until(
        deadline,
        "mails",
        || figures::mails(bus, &run),
        |mails| *mails == plan.mails(),
    )
    .await?;
    repair::nonsense(bus, &nonsense, deadline).await?;
    repair::nothing_else(bus, &plan).await?;
    audit.judge(&plan, deadline).await?;
    Ok(format!(
        "{} shipped, {} cancelled, {repaired} mails repaired, {} commands nobody can read{}, {:.1} s",
        figures.shipped,
        total(&figures) - figures.shipped,
        nonsense.len(),
        killed.map_or_else(String::new, |service| format!(
            ", {} killed",
            service.name()
        )),
        begun.elapsed().as_secs_f64(),
    ))
}

/// How many messages no service has settled yet.
async fn waiting(bus: &BusClient) -> bus::Result<u64> {
    let subscriptions = bus.subscriptions().list().await?;
    let ours = subscriptions.iter().filter(|info| {
        Service::ALL
            .iter()
            .any(|service| info.id.group.as_str() == service.name())
    });
    Ok(ours.map(|info| info.lag).sum())
}

/// All orders that the figures count.
fn total(figures: &crate::messages::OrderFigures) -> u64 {
    figures.open
        + figures.shipped
        + figures.unknown_sku
        + figures.out_of_stock
        + figures.not_paid
        + figures.too_late
}

/// Goods and money for the round, each sent twice, as a client does that is unsure.
async fn fill(bus: &BusClient, plan: &Plan, deadline: Instant) -> Result<()> {
    for restock in &plan.restocks {
        twice(bus, restock, plan).await?;
    }
    for deposit in &plan.deposits {
        twice(bus, deposit, plan).await?;
    }
    let (goods, money) = (plan.goods().received, plan.money().deposited);
    until(
        deadline,
        "the shelves are filled",
        || figures::goods(bus, &plan.run),
        |figures| figures.received == goods,
    )
    .await?;
    until(
        deadline,
        "the accounts are filled",
        || figures::money(bus, &plan.run),
        |figures| figures.deposited == money,
    )
    .await?;
    Ok(())
}

async fn twice<E: Event>(bus: &BusClient, event: &E, plan: &Plan) -> Result<()> {
    let id = ids::next();
    for _ in 0..2 {
        let publish = bus.publish(event).id(id.clone());
        publish.correlation_id(&*plan.run).await?;
    }
    Ok(())
}

/// Places the orders, every tenth twice as an unsure client does, and sends what nobody can read.
async fn place(
    bus: &BusClient,
    orders: &[PlaceOrder],
    random: &mut fastrand::Rng,
) -> Result<BTreeSet<MessageId>> {
    let publisher = bus.publisher();
    let mut sent = Vec::new();
    for order in orders {
        let id = ids::next();
        for _ in 0..=usize::from(random.u8(..10) == 0) {
            let send = publisher.send(order).id(id.clone());
            sent.push(send.correlation_id(&*order.order).await?);
        }
    }
    for confirmation in sent {
        confirmation.await?;
    }
    let mut nonsense = BTreeSet::new();
    for _ in 0..2 {
        let topic = Topic::new("orders.command.place")?;
        let raw = Raw::new(topic, "order.place", "application/json", r#"{"order": 7"#);
        nonsense.insert(bus.publish(&raw).await?.id);
    }
    Ok(nonsense)
}

/// Kills a service while some orders have ended and others have not.
async fn kill(
    bus: &BusClient,
    crew: &mut Crew,
    plan: &Plan,
    deadline: Instant,
    random: &mut fastrand::Rng,
) -> Result<Service> {
    let Some(service) = random.choice(Service::ALL) else {
        bail!("there is no service");
    };
    let enough = random.u64(..plan.orders.len() as u64 * 3 / 4);
    until(
        deadline,
        "some orders end",
        || figures::orders(bus, &plan.run),
        |figures| total(figures) - figures.open >= enough,
    )
    .await?;
    crew.kill(service).await?;
    Ok(service)
}
