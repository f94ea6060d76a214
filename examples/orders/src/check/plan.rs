//! The orders of a round, and what must become of them.

use crate::messages::{
    Deposit, MailFigures, Method, OrderFigures, PaymentFigures, PlaceOrder, Restock, StockFigures,
};

/// Customers who can pay.
const CUSTOMERS: [&str; 5] = ["ada", "ben", "cleo", "dan", "eve"];
/// What each of them has, in cents: more than anybody spends.
const MONEY: u64 = 1_000_000_000;
/// What the two things cost, in cents.
const BOOK: u64 = 1_299;
const VASE: u64 = 24_900;
/// How long an order may wait that waits for ever: not for the test.
const LONG: u64 = 3_600_000;
/// How long an order may wait that nobody pays.
const SHORT: u64 = 1_000;

/// What is sent in a round.
#[derive(Debug, Default)]
pub struct Plan {
    pub run: String,
    pub restocks: Vec<Restock>,
    pub deposits: Vec<Deposit>,
    pub orders: Vec<PlaceOrder>,
    /// Mails that come back until their address is repaired.
    pub bounces: u64,
    pub expected: OrderFigures,
}

/// What is special about an order.
#[derive(Clone, Copy)]
enum Kind {
    Ordinary,
    /// There are not enough of these.
    Rare,
    Unknown,
    Poor,
    /// Is never paid.
    Forgotten,
}

impl Plan {
    pub fn new(run: &str, orders: u64, random: &mut fastrand::Rng) -> Self {
        let mut plan = Self {
            run: run.to_owned(),
            ..Self::default()
        };
        let mut vases = 0;
        for number in 0..orders {
            // One of each at least.
            let kind = match number {
                0 => Kind::Poor,
                1 => Kind::Forgotten,
                2 => Kind::Unknown,
                3 | 4 => Kind::Rare,
                _ => [
                    Kind::Ordinary,
                    Kind::Rare,
                    Kind::Unknown,
                    Kind::Poor,
                    Kind::Forgotten,
                ][random
                    .choice([0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4])
                    .unwrap_or(0)],
            };
            let order = plan.order(kind, number, random);
            match kind {
                Kind::Ordinary => {
                    plan.expected.shipped += 1;
                    plan.expected.pieces += order.quantity;
                    plan.expected.revenue += order.quantity * BOOK;
                }
                Kind::Rare => vases += 1,
                Kind::Unknown => plan.expected.unknown_sku += 1,
                Kind::Poor => plan.expected.not_paid += 1,
                Kind::Forgotten => plan.expected.too_late += 1,
            }
            plan.bounces += u64::from(order.address.starts_with("nobody"));
            plan.orders.push(order);
        }
        let sold = vases / 2;
        plan.expected.shipped += sold;
        plan.expected.pieces += sold;
        plan.expected.revenue += sold * VASE;
        plan.expected.out_of_stock += vases - sold;
        for (sku, quantity, cents) in [("book", 20 * orders, BOOK), ("vase", sold, VASE)] {
            plan.restocks.push(Restock {
                sku: format!("{run}-{sku}"),
                quantity,
                cents,
            });
        }
        let rich = CUSTOMERS.map(|customer| (customer, MONEY));
        for (customer, cents) in rich.into_iter().chain([("poor", 1)]) {
            plan.deposits.push(Deposit {
                customer: format!("{run}-{customer}"),
                cents,
            });
        }
        random.shuffle(&mut plan.orders);
        plan
    }

    fn order(&self, kind: Kind, number: u64, random: &mut fastrand::Rng) -> PlaceOrder {
        let run = &self.run;
        let rich = random.choice(CUSTOMERS).unwrap_or("ada");
        let (customer, sku) = match kind {
            Kind::Ordinary | Kind::Forgotten => (rich, "book"),
            Kind::Rare => (rich, "vase"),
            Kind::Unknown => (rich, "unicorn"),
            Kind::Poor => ("poor", "book"),
        };
        let mailbox = match number % 10 {
            4 => "nobody",
            7 => "busy",
            _ => customer,
        };
        let (method, pay_within) = match kind {
            Kind::Forgotten => (Method::Transfer, SHORT),
            _ => (Method::Account, LONG),
        };
        PlaceOrder {
            order: format!("{run}-{number}"),
            customer: format!("{run}-{customer}"),
            address: format!("{mailbox}@example.org"),
            sku: format!("{run}-{sku}"),
            quantity: match kind {
                Kind::Rare => 1,
                _ => random.u64(1..=5),
            },
            method,
            pay_within,
        }
    }

    /// The accounts in the end.
    pub fn money(&self) -> PaymentFigures {
        let deposited = self.deposits.iter().map(|deposit| deposit.cents).sum();
        PaymentFigures {
            deposited,
            balances: deposited - self.expected.revenue,
            till: self.expected.revenue,
        }
    }

    /// The goods in the end.
    pub fn goods(&self) -> StockFigures {
        let received = self.restocks.iter().map(|restock| restock.quantity).sum();
        StockFigures {
            received,
            free: received - self.expected.pieces,
            reserved: 0,
            shipped: self.expected.pieces,
        }
    }

    /// The mails in the end, after repairs.
    pub fn mails(&self) -> MailFigures {
        MailFigures {
            sent: self.orders.len() as u64,
            orders: self.orders.len() as u64,
        }
    }
}
