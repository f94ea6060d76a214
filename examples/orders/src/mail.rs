//! The mail service: one mail for each order that has ended.

use bus::prelude::*;

use crate::messages::{MailFigures, MailReport, OrderEnded};
use crate::store::{Store, Table};

/// How many mails were sent about an order. What a mail server would get is this entry.
const MAILS: Table<u64> = Table::new("mails");

/// What the service handles.
pub fn worker(bus: &BusClient, store: Store) -> Worker<Store> {
    bus.worker("mail")
        .state(store)
        .pattern("orders.event.*")
        .on(ended)
        .respond(report)
}

async fn ended(ended: OrderEnded, State(store): State<Store>, ctx: Context) -> HandlerResult {
    let (OrderEnded::Shipped { order, address } | OrderEnded::Cancelled { order, address, .. }) =
        ended;
    match address.split('@').next() {
        // No retry can help: somebody has to look at it.
        Some("nobody") => Err("550 no such mailbox").or_dead_letter()?,
        // Undecided: the policy of the worker tries again.
        Some("busy") if ctx.attempt() == 1 => Err("451 the mailbox is busy")?,
        _ => {}
    }
    store
        .once(&ctx, move |work| {
            let sent: u64 = work.get(&MAILS, &order)?.unwrap_or_default();
            work.put(&MAILS, &order, &(sent + 1))
        })
        .await
}

async fn report(query: MailReport, State(store): State<Store>) -> HandlerResult<MailFigures> {
    let mails = store.read(move |view| view.all(&MAILS, &query.run)).await?;
    Ok(MailFigures {
        sent: mails.iter().sum(),
        orders: mails.len() as u64,
    })
}
