//! Time limits: a look at all orders, again and again.
//!
//! A limit is a field of the order in the database, not a timer in memory and not a delayed message: it
//! survives the process, and an order that was on its way is judged by the state that it is in by then.

use std::time::Duration;

use anyhow::Result;

use super::saga::Happened;
use super::{ORDERS, proceed};
use crate::store::{Cause, Store};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);

/// Ends what is overdue. For ever.
pub async fn run(store: &Store) -> Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let orders = store.read(|view| view.all(&ORDERS, "")).await?;
        let now = bus::clock::now();
        for order in orders.into_iter().filter(|order| order.is_overdue(now)) {
            let cause = Cause {
                correlation: order.correlation,
                message: None,
            };
            let name = order.wanted.order;
            // What has happened since it was read decides: the step is taken from the state that is stored.
            store
                .transact(cause, move |work| proceed(work, &name, Happened::TooLate))
                .await?;
        }
    }
}
