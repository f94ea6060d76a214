//! The order service: takes orders, and sees each of them through, to the parcel or back to where it was.

mod saga;
mod sweep;

use std::time::Duration;

use anyhow::Result;
use bus::ErrorKind;
use bus::prelude::*;

use self::saga::{Happened, Order, Step};
use crate::messages::{
    OrderFigures, OrderReport, PaymentEvent, PlaceOrder, PriceQuery, Reason, StockEvent,
};
use crate::store::{Store, Table, Work};

pub use self::sweep::run as sweep;

/// All orders, by their names.
const ORDERS: Table<Order> = Table::new("orders");
/// How long it waits for a price before it looks again.
const PRICE_WITHIN: Duration = Duration::from_secs(2);

/// What the service handles.
pub fn worker(bus: &BusClient, store: Store) -> Worker<Store> {
    bus.worker("order")
        .state(store)
        .pattern("orders.command.*")
        .pattern("stock.event.*")
        .pattern("payments.event.*")
        .on(place)
        .on(stock)
        .on(payment)
        .respond(report)
}

/// A command: a new order. What it costs is asked for before anything is written.
async fn place(order: PlaceOrder, State(store): State<Store>, ctx: Context) -> HandlerResult {
    let query = PriceQuery {
        sku: order.sku.clone(),
    };
    let price = match ctx.request(&query).timeout(PRICE_WITHIN).await {
        Ok(price) => price,
        // Nobody is there to answer: that is not the order's fault, and costs it no attempt.
        Err(error) if matches!(error.kind(), ErrorKind::NoResponders | ErrorKind::Timeout) => {
            return Err(error).or_defer(Duration::from_millis(200));
        }
        // Whoever was to answer failed, as a service does that ends in the middle of it; the next one may not.
        Err(error) if error.kind() == ErrorKind::Remote => {
            return Err(error).or_retry_after(Duration::from_millis(500));
        }
        Err(error) => return Err(error.into()),
    };
    store
        .once(&ctx, move |work| {
            let name = order.order.clone();
            if work.get(&ORDERS, &name)?.is_none() {
                let order = Order::new(order, work.correlation(), bus::clock::now());
                work.put(&ORDERS, &name, &order)?;
                let priced = price.map_or(Happened::NoPrice, Happened::Priced);
                proceed(work, &name, priced)?;
            }
            Ok(())
        })
        .await
}

async fn stock(event: StockEvent, State(store): State<Store>, ctx: Context) -> HandlerResult {
    let (order, happened) = match event {
        StockEvent::Reserved { order } => (order, Happened::Reserved),
        StockEvent::Refused { order } => (order, Happened::OutOfStock),
        StockEvent::Released { order } => (order, Happened::Released),
        StockEvent::Shipped { order } => (order, Happened::Shipped),
    };
    store
        .once(&ctx, move |work| proceed(work, &order, happened))
        .await
}

async fn payment(event: PaymentEvent, State(store): State<Store>, ctx: Context) -> HandlerResult {
    let (order, happened) = match event {
        PaymentEvent::Taken { order } => (order, Happened::Paid),
        PaymentEvent::Refused { order } => (order, Happened::NotPaid),
        PaymentEvent::Reversed { order } => (order, Happened::Reversed),
    };
    store
        .once(&ctx, move |work| proceed(work, &order, happened))
        .await
}

/// Takes the order one step further, and publishes what follows.
fn proceed(work: &mut Work<'_>, name: &str, happened: Happened) -> Result<()> {
    // An order that is not there was never placed here.
    if let Some(mut order) = work.get(&ORDERS, name)?
        && let Some(next) = order.next(happened)
    {
        next.publish(&order, work)?;
        work.put(&ORDERS, name, &order)?;
    }
    Ok(())
}

async fn report(query: OrderReport, State(store): State<Store>) -> HandlerResult<OrderFigures> {
    let read = store.read(move |view| Ok((view.all(&ORDERS, &query.run)?, view.unpublished()?)));
    let (orders, unpublished) = read.await?;
    let mut figures = OrderFigures {
        unpublished,
        ..OrderFigures::default()
    };
    for order in orders {
        match order.step {
            Step::Shipped => {
                figures.shipped += 1;
                figures.revenue += order.total();
                figures.pieces += order.wanted.quantity;
            }
            Step::Cancelled(Reason::UnknownSku) => figures.unknown_sku += 1,
            Step::Cancelled(Reason::OutOfStock) => figures.out_of_stock += 1,
            Step::Cancelled(Reason::NotPaid) => figures.not_paid += 1,
            Step::Cancelled(Reason::TooLate) => figures.too_late += 1,
            _ => figures.open += 1,
        }
    }
    Ok(figures)
}
