//! A1 while members are busy: a broker that dies finds acks in every state that they can be in.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::AckDurability;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::{Note, Pump, eventually, group, ms, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a1_confirmed_acks_of_busy_members_survive_the_broker)
            .with(&[Control::Restart])
            .within(secs(120)),
    ]
}

/// How many messages there are.
const ALL: u64 = 1_000;
const KEYS: u64 = 50;
/// How often the broker dies, and how many acks are confirmed before each time.
const CRASHES: usize = 2;
const BEFORE: usize = 150;
/// How much later than the broker's answer a member may hear of it.
const ON_ITS_WAY: Duration = ms(100);

/// Neither what was confirmed longer before a crash than the transport declares comes again, nor what is
/// confirmed after it.
async fn a1_confirmed_acks_of_busy_members_survive_the_broker(
    context: Context,
) -> Result<(), Violation> {
    let (client, other) = (context.client().await?, context.client().await?);
    let capabilities = client.capabilities();
    let want = group("g", "a.>")
        .lease(capabilities.min_lease.max(secs(1)))
        .in_flight(64);
    let told = Told::new(match capabilities.ack_durability {
        AckDurability::Flushed(bound) => bound,
        _ => Duration::ZERO,
    });
    // What waits behind another of its key is in a member's hands, too.
    let notes: Vec<Note> = (0..ALL)
        .map(|number| Note::keyed("a.b", &format!("k{}", number % KEYS), number))
        .collect();
    try_join_all(notes.iter().map(|note| client.publish(note).into_future())).await?;
    // Nobody begins before all are there: how long joining takes is no matter of this case.
    let inboxes = [
        client.join(want.clone()).await?,
        other.join(want.clone()).await?,
    ];
    let members = inboxes.map(|inbox| {
        let told = told.clone();
        Pump::handling(inbox, move |token| {
            let (told, number) = (told.clone(), token.number());
            told.came(number);
            async move {
                // Long enough that it lasts, and that some are always in a handler.
                sleep(ms(50)).await;
                // What is not confirmed may come again.
                if token.ack().await.is_ok() {
                    told.confirmed(number);
                }
                Ok(())
            }
        })
    });
    for _ in 0..CRASHES {
        let goal = told.count()? + BEFORE;
        eventually("the members are busy", async || Ok(told.count()? >= goal)).await?;
        let began = Instant::now();
        context.factory().stop_broker().await?;
        told.died(began);
        // Acks that are requested meanwhile find nobody.
        sleep(ms(50)).await;
        context.factory().start_broker().await?;
    }
    client.until_settled("g", "a.>").await?;
    for member in members {
        member.leave().await?;
    }
    told.count()?;
    ensure_eq!(told.seen(), ALL, "messages that came at all");
    let mut inbox = context.client().await?.join(want).await?;
    inbox.quiet().await
}

/// What the members were told of their acks. Clones are one.
#[derive(Clone, Debug)]
struct Told {
    /// How long before a crash an ack may be confirmed and lost all the same.
    bound: Duration,
    books: Arc<Mutex<Account>>,
}

#[derive(Debug, Default)]
struct Account {
    seen: BTreeSet<u64>,
    /// When each number was confirmed last.
    confirmed: BTreeMap<u64, Instant>,
    /// From when to when the broker was being killed.
    deaths: Vec<(Instant, Instant)>,
    /// What came again that must not.
    wrong: Option<Violation>,
}

impl Told {
    fn new(bound: Duration) -> Self {
        Self {
            bound,
            books: Arc::default(),
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Account> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirmed(&self, number: u64) {
        self.books().confirmed.insert(number, Instant::now());
    }

    fn died(&self, began: Instant) {
        self.books().deaths.push((began, Instant::now()));
    }

    /// How many are confirmed, unless something is wrong.
    fn count(&self) -> Result<usize, Violation> {
        let mut books = self.books();
        books.wrong.take().map_or(Ok(books.confirmed.len()), Err)
    }

    fn seen(&self) -> u64 {
        self.books().seen.len() as u64
    }

    /// A delivery; wrong when its number was confirmed and no crash explains that it comes again.
    fn came(&self, number: u64) {
        let mut books = self.books();
        books.seen.insert(number);
        let Some(at) = books.confirmed.get(&number) else {
            return;
        };
        let lost = |(began, dead): &(Instant, Instant)| {
            *at + self.bound >= *began && *at <= *dead + ON_ITS_WAY
        };
        if !self.bound.is_zero() && books.deaths.iter().any(lost) {
            return;
        }
        let since: Vec<_> = books
            .deaths
            .iter()
            .map(|(began, _)| began.elapsed())
            .collect();
        let violation = Violation::new(format_args!(
            "{number} came again {:?} after its confirmed ack; the broker was killed {since:?} ago",
            at.elapsed(),
        ));
        books.wrong.get_or_insert(violation);
    }
}
