//! The payment service: takes money for orders, and gives it back.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

use crate::messages::{
    Deposit, Method, PaymentEvent, PaymentFigures, PaymentReport, ReversePayment, TakePayment,
};
use crate::store::{Store, Table};

/// What customers have, by their names.
const ACCOUNTS: Table<Account> = Table::new("accounts");
/// Payments by order; of what was reversed before it was ever taken, too.
const PAYMENTS: Table<Payment> = Table::new("payments");

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    deposited: u64,
    balance: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Payment {
    /// Waits for somebody who makes a transfer.
    Awaited,
    Taken {
        customer: String,
        cents: u64,
    },
    Refused,
    Reversed,
}

/// What the service handles.
pub fn worker(bus: &BusClient, store: Store) -> Worker<Store> {
    bus.worker("payment")
        .state(store)
        .pattern("payments.command.*")
        .on(deposit)
        .on(take)
        .on(reverse)
        .respond(report)
}

async fn deposit(deposit: Deposit, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let mut account = work.get(&ACCOUNTS, &deposit.customer)?.unwrap_or_default();
            account.deposited += deposit.cents;
            account.balance += deposit.cents;
            work.put(&ACCOUNTS, &deposit.customer, &account)
        })
        .await
}

async fn take(take: TakePayment, State(store): State<Store>, ctx: Context) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let order = take.order;
            // Commands can pass each other: this one may have been reversed before it came.
            if work.get(&PAYMENTS, &order)?.is_some() {
                return Ok(());
            }
            let mut account = work.get(&ACCOUNTS, &take.customer)?.unwrap_or_default();
            let payment = match take.method {
                Method::Transfer => Payment::Awaited,
                Method::Account if account.balance < take.cents => Payment::Refused,
                Method::Account => {
                    account.balance -= take.cents;
                    work.put(&ACCOUNTS, &take.customer, &account)?;
                    Payment::Taken {
                        customer: take.customer,
                        cents: take.cents,
                    }
                }
            };
            work.put(&PAYMENTS, &order, &payment)?;
            match payment {
                Payment::Taken { .. } => work.publish(&PaymentEvent::Taken { order }),
                Payment::Refused => work.publish(&PaymentEvent::Refused { order }),
                Payment::Awaited | Payment::Reversed => Ok(()),
            }
        })
        .await
}

/// The compensation: whatever has become of the payment, afterwards there is none.
async fn reverse(
    reverse: ReversePayment,
    State(store): State<Store>,
    ctx: Context,
) -> HandlerResult {
    store
        .once(&ctx, move |work| {
            let order = reverse.order;
            if let Some(Payment::Taken { customer, cents }) = work.get(&PAYMENTS, &order)? {
                let mut account = work.get(&ACCOUNTS, &customer)?.unwrap_or_default();
                account.balance += cents;
                work.put(&ACCOUNTS, &customer, &account)?;
            }
            work.put(&PAYMENTS, &order, &Payment::Reversed)?;
            work.publish(&PaymentEvent::Reversed { order })
        })
        .await
}

async fn report(query: PaymentReport, State(store): State<Store>) -> HandlerResult<PaymentFigures> {
    let read = store.read(move |view| {
        let accounts = view.all(&ACCOUNTS, &query.run)?;
        Ok((accounts, view.all(&PAYMENTS, &query.run)?))
    });
    let (accounts, payments) = read.await?;
    let taken = payments.iter().map(|payment| match payment {
        Payment::Taken { cents, .. } => *cents,
        _ => 0,
    });
    Ok(PaymentFigures {
        deposited: accounts.iter().map(|account| account.deposited).sum(),
        balances: accounts.iter().map(|account| account.balance).sum(),
        till: taken.sum(),
    })
}
