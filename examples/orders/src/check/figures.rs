//! Asking the services for their figures.

use std::time::Duration;

use bus::{BusClient, Result};

use crate::messages::{
    MailFigures, MailReport, OrderFigures, OrderReport, PaymentFigures, PaymentReport,
    StockFigures, StockReport,
};

/// How long a service may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

pub async fn orders(bus: &BusClient, run: &str) -> Result<OrderFigures> {
    let run = format!("{run}-");
    bus.request(&OrderReport { run }).timeout(WITHIN).await
}

pub async fn money(bus: &BusClient, run: &str) -> Result<PaymentFigures> {
    let run = format!("{run}-");
    bus.request(&PaymentReport { run }).timeout(WITHIN).await
}

pub async fn goods(bus: &BusClient, run: &str) -> Result<StockFigures> {
    let run = format!("{run}-");
    bus.request(&StockReport { run }).timeout(WITHIN).await
}

pub async fn mails(bus: &BusClient, run: &str) -> Result<MailFigures> {
    let run = format!("{run}-");
    bus.request(&MailReport { run }).timeout(WITHIN).await
}
