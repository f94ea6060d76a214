//! The life of an order: goods, then money, then the parcel; and all the way back when one of them fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::messages::{
    OrderEnded, PlaceOrder, Reason, ReleaseStock, ReserveStock, ReversePayment, ShipStock,
    TakePayment,
};
use crate::store::Work;

/// An order, and how far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub wanted: PlaceOrder,
    /// What one piece costs, in cents.
    pub price: u64,
    pub step: Step,
    /// When it is too late for what has not been paid, in milliseconds since 1970.
    pub deadline: u64,
    /// What all its messages share.
    pub correlation: String,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    New,
    Reserving,
    Paying,
    /// From here on there is no way back.
    Shipping,
    /// The money goes back, then the goods.
    Reversing(Reason),
    /// The goods go back.
    Releasing(Reason),
    Shipped,
    Cancelled(Reason),
}

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Priced(u64),
    NoPrice,
    Reserved,
    OutOfStock,
    Paid,
    NotPaid,
    Shipped,
    Reversed,
    Released,
    /// Its time is over.
    TooLate,
}

/// What follows: a command to another service, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Reserve,
    Take,
    Ship,
    Reverse,
    Release,
    End,
}

impl Order {
    pub fn new(wanted: PlaceOrder, correlation: &str, now: SystemTime) -> Self {
        let within = Duration::from_millis(wanted.pay_within);
        Self {
            deadline: millis(now).saturating_add(millis(UNIX_EPOCH + within)),
            wanted,
            price: 0,
            step: Step::New,
            correlation: correlation.to_owned(),
        }
    }

    /// What the order costs, in cents.
    pub fn total(&self) -> u64 {
        self.price.saturating_mul(self.wanted.quantity)
    }

    pub fn is_overdue(&self, now: SystemTime) -> bool {
        matches!(self.step, Step::Reserving | Step::Paying) && self.deadline <= millis(now)
    }

    /// Takes a step. `None` when nothing follows: an answer that came after its time was over, for instance.
    pub fn next(&mut self, happened: Happened) -> Option<Next> {
        use Reason::{NotPaid, OutOfStock, TooLate, UnknownSku};
        let (step, next) = match (self.step, happened) {
            (Step::New, Happened::Priced(price)) => {
                self.price = price;
                (Step::Reserving, Next::Reserve)
            }
            (Step::New, Happened::NoPrice) => (Step::Cancelled(UnknownSku), Next::End),
            (Step::Reserving, Happened::Reserved) => (Step::Paying, Next::Take),
            (Step::Reserving, Happened::OutOfStock) => (Step::Cancelled(OutOfStock), Next::End),
            // Whether the goods were put aside is not known here; the stock service knows.
            (Step::Reserving, Happened::TooLate) => (Step::Releasing(TooLate), Next::Release),
            (Step::Paying, Happened::Paid) => (Step::Shipping, Next::Ship),
            (Step::Paying, Happened::NotPaid) => (Step::Releasing(NotPaid), Next::Release),
            (Step::Paying, Happened::TooLate) => (Step::Reversing(TooLate), Next::Reverse),
            (Step::Shipping, Happened::Shipped) => (Step::Shipped, Next::End),
            (Step::Reversing(reason), Happened::Reversed) => {
                (Step::Releasing(reason), Next::Release)
            }
            (Step::Releasing(reason), Happened::Released) => (Step::Cancelled(reason), Next::End),
            _ => return None,
        };
        self.step = step;
        Some(next)
    }
}

impl Next {
    pub fn publish(self, order: &Order, work: &mut Work<'_>) -> Result<()> {
        let wanted = &order.wanted;
        let name = wanted.order.clone();
        match self {
            Self::Reserve => work.publish(&ReserveStock {
                order: name,
                sku: wanted.sku.clone(),
                quantity: wanted.quantity,
            }),
            Self::Take => work.publish(&TakePayment {
                order: name,
                customer: wanted.customer.clone(),
                cents: order.total(),
                method: wanted.method,
            }),
            Self::Ship => work.publish(&ShipStock { order: name }),
            Self::Reverse => work.publish(&ReversePayment { order: name }),
            Self::Release => work.publish(&ReleaseStock { order: name }),
            Self::End => {
                let address = wanted.address.clone();
                let order = match order.step {
                    Step::Cancelled(reason) => OrderEnded::Cancelled {
                        order: name,
                        address,
                        reason,
                    },
                    _ => OrderEnded::Shipped {
                        order: name,
                        address,
                    },
                };
                work.publish(&order)
            }
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Method;

    fn order() -> Order {
        let wanted = PlaceOrder {
            order: "a".into(),
            customer: "b".into(),
            address: "c".into(),
            sku: "d".into(),
            quantity: 2,
            method: Method::Account,
            pay_within: 1000,
        };
        Order::new(wanted, "a", UNIX_EPOCH + Duration::from_secs(10))
    }

    fn run(steps: &[Happened]) -> (Step, Vec<Next>) {
        let mut order = order();
        let next = steps.iter().filter_map(|step| order.next(*step)).collect();
        (order.step, next)
    }

    #[test]
    fn a_good_order_is_shipped() {
        use Happened::{Paid, Priced, Reserved, Shipped};
        assert_eq!(
            run(&[Priced(100), Reserved, Paid, Shipped]),
            (
                Step::Shipped,
                vec![Next::Reserve, Next::Take, Next::Ship, Next::End]
            )
        );
    }

    #[test]
    fn without_money_the_goods_go_back() {
        use Happened::{NotPaid, Priced, Released, Reserved};
        assert_eq!(
            run(&[Priced(100), Reserved, NotPaid, Released]),
            (
                Step::Cancelled(Reason::NotPaid),
                vec![Next::Reserve, Next::Take, Next::Release, Next::End]
            )
        );
    }

    #[test]
    fn a_payment_after_its_time_changes_nothing() {
        use Happened::{Paid, Priced, Released, Reserved, Reversed, TooLate};
        assert_eq!(
            run(&[Priced(1), Reserved, TooLate, Paid, Reversed, Paid, Released]),
            (
                Step::Cancelled(Reason::TooLate),
                vec![
                    Next::Reserve,
                    Next::Take,
                    Next::Reverse,
                    Next::Release,
                    Next::End
                ]
            )
        );
    }

    #[test]
    fn time_is_over_at_the_deadline_and_only_on_the_way_there() {
        let mut order = order();
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert!(!order.is_overdue(at(20_000)), "it has not begun");
        order.next(Happened::Priced(1));
        assert!(!order.is_overdue(at(10_999)));
        assert!(order.is_overdue(at(11_000)));
        order.next(Happened::Reserved);
        order.next(Happened::Paid);
        assert!(!order.is_overdue(at(20_000)), "no way back from the parcel");
    }
}
