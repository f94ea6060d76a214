//! The stock service: puts goods aside for orders, sends them, and takes them back; it knows the prices.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

use crate::messages::{
    PriceError, PriceQuery, ReleaseStock, ReserveStock, Restock, ShipStock, StockEvent,
    StockFigures, StockReport,
};
use crate::store::{Store, Table};

/// What there is, by its name.
const GOODS: Table<Good> = Table::new("goods");
/// What was put aside, by order; of what was released before it was ever put aside, too.
const RESERVATIONS: Table<Reservation> = Table::new("reservations");

#[derive(Debug, Default, Serialize, Deserialize)]
struct Good {
    received: u64,
    free: u64,
    cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reservation {
    Reserved { sku: String, quantity: u64 },
    Refused,
    Released,
    Shipped { quantity: u64 },
}

/// What the service handles.
pub fn worker(bus: &BusClient, store: Store) -> Worker<Store> {
    bus.worker("stock")
        .state(store)
        .pattern("stock.command.*")
        .on(restock)
        .on(reserve)
        .on(release)
        .on(ship)
        .respond(price)
        .respond(report)
}

async fn restock(restock: Restock, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let mut good = work.get(&GOODS, &restock.sku)?.unwrap_or_default();
            good.received += restock.quantity;
            good.free += restock.quantity;
            good.cents = restock.cents;
            work.put(&GOODS, &restock.sku, &good)
        })
        .await
}

async fn reserve(reserve: ReserveStock, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let ReserveStock {
                order,
                sku,
                quantity,
            } = reserve;
            // Commands can pass each other: this one may have been released before it came.
            if work.get(&RESERVATIONS, &order)?.is_some() {
                return Ok(());
            }
            let mut good = work.get(&GOODS, &sku)?.unwrap_or_default();
            if good.free < quantity {
                work.put(&RESERVATIONS, &order, &Reservation::Refused)?;
                return work.publish(&StockEvent::Refused { order });
            }
            good.free -= quantity;
            work.put(&GOODS, &sku, &good)?;
            work.put(
                &RESERVATIONS,
                &order,
                &Reservation::Reserved { sku, quantity },
            )?;
            work.publish(&StockEvent::Reserved { order })
        })
        .await
}

/// The compensation: whatever has become of the reservation, afterwards there is none.
async fn release(release: ReleaseStock, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let order = release.order;
            if let Some(Reservation::Reserved { sku, quantity }) =
                work.get(&RESERVATIONS, &order)?
            {
                let mut good = work.get(&GOODS, &sku)?.unwrap_or_default();
                good.free += quantity;
                work.put(&GOODS, &sku, &good)?;
            }
            work.put(&RESERVATIONS, &order, &Reservation::Released)?;
            work.publish(&StockEvent::Released { order })
        })
        .await
}

async fn ship(ship: ShipStock, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let order = ship.order;
            let Some(Reservation::Reserved { quantity, .. }) = work.get(&RESERVATIONS, &order)?
            else {
                anyhow::bail!("nothing was put aside for this order");
            };
            work.put(&RESERVATIONS, &order, &Reservation::Shipped { quantity })?;
            work.publish(&StockEvent::Shipped { order })
        })
        .await
}

/// An unknown thing is an answer, not a failure.
async fn price(
    query: PriceQuery,
    State(store): State<Store>,
) -> HandlerResult<Result<u64, PriceError>> {
    let good = store.read(move |view| view.get(&GOODS, &query.sku)).await?;
    Ok(good.map(|good| good.cents).ok_or(PriceError::UnknownSku))
}

async fn report(query: StockReport, State(store): State<Store>) -> HandlerResult<StockFigures> {
    let read = store.read(move |view| {
        let goods = view.all(&GOODS, &query.run)?;
        Ok((goods, view.all(&RESERVATIONS, &query.run)?))
    });
    let (goods, reservations) = read.await?;
    let mut figures = StockFigures {
        received: goods.iter().map(|good| good.received).sum(),
        free: goods.iter().map(|good| good.free).sum(),
        ..StockFigures::default()
    };
    for reservation in reservations {
        match reservation {
            Reservation::Reserved { quantity, .. } => figures.reserved += quantity,
            Reservation::Shipped { quantity } => figures.shipped += quantity,
            Reservation::Refused | Reservation::Released => {}
        }
    }
    Ok(figures)
}
