//! O1 and O2: order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bus_api::OrderedMembers;
use rand::Rng;
use tokio::time::sleep;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Inbox, Ledger, Note, Pump, Token, Want, ack_all, group, ms, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(o1_one_key_is_handled_in_published_order),
        case!(o1_one_key_at_a_time_and_others_beside_it),
        case!(o1_messages_without_key_run_side_by_side),
        case!(o2_no_message_of_a_key_starts_before_the_earlier_is_settled).within(secs(90)),
        case!(o2_a_failure_keeps_its_key_waiting).within(secs(60)),
        case!(o2_order_survives_members_that_come_and_go).within(secs(90)),
        case!(o2_order_survives_a_death)
            .with(&[Control::Kill])
            .within(secs(90)),
        case!(o2_keys_run_side_by_side_in_the_active_members).within(secs(60)),
    ]
}

async fn o1_one_key_is_handled_in_published_order(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    // Runs of one key beside runs of others: neighbours in a fetched batch are of one key, too.
    let batch: Vec<Note> = (0..200)
        .map(|number| Note::keyed("a.b", &format!("k{}", number / 3 % 5), number))
        .collect();
    for confirmed in client.publish_batch(&batch).await {
        confirmed?;
    }
    let ledger = Ledger::expecting(0..200);
    let inbox = client.join(group("g", "a.*").in_flight(32)).await?;
    let pump = Pump::acking("one", inbox, &ledger);
    ledger.until_all_acked().await?;
    pump.stop().await?.quiet().await?;
    ledger.exact()?;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for handed in ledger.books().deliveries {
        let key = handed.key.unwrap_or_default();
        if let Some(before) = last.insert(key.clone(), handed.number) {
            ensure!(
                before < handed.number,
                "{} of {key} came after {before}",
                handed.number
            );
        }
    }
    Ok(())
}

async fn o1_one_key_at_a_time_and_others_beside_it(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(32)).await?;
    // Three of k1, two of k2, one without key.
    let notes = [
        Note::keyed("a.b", "k1", 1),
        Note::keyed("a.b", "k1", 2),
        Note::keyed("a.b", "k2", 3),
        Note::keyed("a.b", "k1", 4),
        Note::keyed("a.b", "k2", 5),
        Note::new("a.b", 6),
    ];
    for confirmed in client.publish_batch(&notes).await {
        confirmed?;
    }
    let mut held = inbox.hold(3).await?;
    ensure_eq!(numbers(&held), vec![1, 3, 6], "the first of each key");
    inbox.quiet().await?;
    // Settled out of order: each frees its own key only.
    for (settle, next) in [
        (3, Some(5)),
        (1, Some(2)),
        (6, None),
        (2, Some(4)),
        (5, None),
    ] {
        let at = held
            .iter()
            .position(|token| token.number() == settle)
            .ok_or_else(|| Violation::new(format_args!("{settle} is not held")))?;
        held.swap_remove(at).ack().await?;
        match next {
            Some(next) => {
                let token = inbox.next().await?;
                ensure_eq!(token.number(), next, "what comes after {settle}");
                held.push(token);
            }
            None => inbox.quiet_for(ms(100)).await?,
        }
    }
    ack_all(held).await?;
    inbox.quiet().await
}

async fn o1_messages_without_key_run_side_by_side(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(32)).await?;
    for note in crate::probe::notes("a.b", 0..32) {
        client.publish(&note).await?;
    }
    let held = inbox.hold(32).await?;
    ack_all(held).await?;
    inbox.quiet().await
}

/// Watches over the order of keys across members: what starts, and what is settled.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Keys>>);

#[derive(Default)]
struct Keys {
    /// What runs, by key.
    open: BTreeMap<String, BTreeSet<u64>>,
    /// What is settled for good, by key.
    settled: BTreeMap<String, BTreeSet<u64>>,
    violations: Vec<String>,
}

impl Watch {
    /// A handler starts: nothing of the key may run, and everything earlier of it has to be settled.
    fn start(&self, token: &Token, per_key: &BTreeMap<String, Vec<u64>>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = token.note().key.clone().unwrap_or_default();
        let number = token.number();
        let settled = keys.settled.get(&key).cloned().unwrap_or_default();
        let all = per_key.get(&key).map_or(&[][..], Vec::as_slice);
        let skipped: Vec<u64> = all
            .iter()
            .take_while(|earlier| **earlier != number)
            .filter(|earlier| !settled.contains(earlier))
            .copied()
            .collect();
        let open = keys.open.entry(key.clone()).or_default();
        let running: Vec<u64> = open.iter().copied().collect();
        open.insert(number);
        if !skipped.is_empty() || !running.is_empty() {
            keys.violations.push(format!(
                "{number} of {key} started while {running:?} ran and {skipped:?} were unsettled"
            ));
        }
    }

    /// Settling is requested.
    fn end(&self, key: &str, number: u64, for_good: bool) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = keys.open.get_mut(key) {
            open.remove(&number);
        }
        if for_good {
            keys.settled
                .entry(key.to_owned())
                .or_default()
                .insert(number);
        }
    }

    /// What a dead member ran runs no more.
    fn forget_running(&self) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.open.clear();
    }

    fn check(&self) -> Result<(), Violation> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(keys.violations.is_empty(), "{:?}", keys.violations);
        Ok(())
    }
}

/// What a run under watch publishes, and who watches.
#[derive(Clone)]
struct Scene {
    ledger: Ledger,
    watch: Watch,
    per_key: Arc<BTreeMap<String, Vec<u64>>>,
    notes: Arc<Vec<Note>>,
}

impl Scene {
    fn new(keys: u64, count: u64) -> Self {
        let notes: Vec<Note> = (0..count)
            .map(|number| Note::keyed("a.b", &format!("k{}", number % keys), number))
            .collect();
        let mut per_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for note in &notes {
            let key = note.key.clone().unwrap_or_default();
            per_key.entry(key).or_default().push(note.number);
        }
        Self {
            ledger: Ledger::expecting(0..count),
            watch: Watch::default(),
            per_key: Arc::new(per_key),
            notes: Arc::new(notes),
        }
    }

    async fn publish(&self, context: &Context) -> Result<(), Violation> {
        let client = context.client().await?;
        for confirmed in client.publish_batch(self.notes.iter()).await {
            confirmed?;
        }
        Ok(())
    }

    /// A member that fails now and then and takes a little time.
    fn pump(&self, name: &str, inbox: Inbox, seed: u64, failing: u32) -> Pump {
        let (scene, name) = (self.clone(), name.to_owned());
        let mut random = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
        Pump::handling(inbox, move |token| {
            scene.watch.start(&token, &scene.per_key);
            scene.ledger.deliver(&name, &token);
            let fails = token.attempt() < 4 && random.random_ratio(failing, 10);
            let time = ms(random.random_range(0..4));
            let scene = scene.clone();
            async move {
                sleep(time).await;
                let (key, number) = (token.note().key.clone().unwrap_or_default(), token.number());
                scene.watch.end(&key, number, !fails);
                if fails {
                    return token.nack_after(ms(15)).await;
                }
                token.ack().await?;
                scene.ledger.ack(number);
                Ok(())
            }
        })
    }

    fn want() -> Want {
        group("g", "a.b").per_key().in_flight(16)
    }
}

async fn o2_no_message_of_a_key_starts_before_the_earlier_is_settled(
    context: Context,
) -> Result<(), Violation> {
    let scene = Scene::new(6, 120);
    let mut pumps = Vec::new();
    for member in 0..3 {
        let inbox = context.client().await?.join(Scene::want()).await?;
        let seed = context.seed().wrapping_add(member);
        pumps.push(scene.pump(&format!("m{member}"), inbox, seed, 1));
    }
    scene.publish(&context).await?;
    scene.ledger.until_all_acked().await?;
    for pump in pumps {
        pump.leave().await?;
    }
    scene.watch.check()?;
    scene.ledger.no_loss()?;
    Ok(())
}

/// A failed one is parked and a later one passes: this is what retrying beside the lane does.
async fn o2_a_failure_keeps_its_key_waiting(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(Scene::want()).await?;
    for confirmed in client
        .publish_batch(&[
            Note::keyed("a.b", "k1", 1),
            Note::keyed("a.b", "k1", 2),
            Note::keyed("a.b", "k2", 3),
            Note::keyed("a.b", "k2", 4),
        ])
        .await
    {
        confirmed?;
    }
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let token = inbox.next().await?;
        seen.push((token.number(), token.attempt()));
        if token.number() == 1 && token.attempt() < 4 {
            token.nack_after(ms(150)).await?;
        } else {
            token.ack().await?;
        }
    }
    let of = |key: &[u64]| -> Vec<(u64, u32)> {
        seen.iter()
            .filter(|(number, _)| key.contains(number))
            .copied()
            .collect()
    };
    let expected = vec![(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)];
    ensure_eq!(of(&[1, 2]), expected, "the key that failed");
    ensure_eq!(of(&[3, 4]), vec![(3, 1), (4, 1)], "the other key");
    let other = seen.iter().position(|(number, _)| *number == 4);
    let last_failure = seen.iter().position(|seen| *seen == (1, 4));
    ensure!(other < last_failure, "the other key waited, too: {seen:?}");
    inbox.quiet().await
}

async fn o2_order_survives_members_that_come_and_go(context: Context) -> Result<(), Violation> {
    let scene = Scene::new(4, 160);
    scene.publish(&context).await?;
    let mut stay = None;
    for round in 0..3 {
        let first = context.client().await?.join(Scene::want()).await?;
        let first = scene.pump(&format!("m{round}"), first, context.seed() ^ round, 1);
        scene
            .ledger
            .until("some progress", move |books| {
                books.acked.len() as u64 >= (round + 1) * 25
            })
            .await?;
        if let Some(pump) = stay.replace(first) {
            Pump::leave(pump).await?;
        }
    }
    scene.ledger.until_all_acked().await?;
    if let Some(pump) = stay {
        pump.leave().await?;
    }
    scene.watch.check()?;
    scene.ledger.no_loss()?;
    Ok(())
}

async fn o2_order_survives_a_death(context: Context) -> Result<(), Violation> {
    let dying = context.client().await?;
    let lease = dying.capabilities().min_lease.max(ms(500));
    let scene = Scene::new(4, 80);
    scene.publish(&context).await?;
    let pump = scene.pump(
        "dying",
        dying.join(Scene::want().lease(lease)).await?,
        context.seed(),
        0,
    );
    scene
        .ledger
        .until("some progress", |books| books.acked.len() >= 20)
        .await?;
    dying.connection.disturb.kill().await;
    pump.abort().await;
    scene.watch.forget_running();
    let survivor = context.client().await?;
    let inbox = survivor.join(Scene::want().lease(lease)).await?;
    let survivor = scene.pump("survivor", inbox, context.seed(), 1);
    // An ack whose confirmation died with its member is not in the books: the number counts as settled
    // for the watch, and comes again only if it was not confirmed.
    let watch = scene.watch.clone();
    let per_key = scene.per_key.clone();
    scene
        .ledger
        .until("everything is settled", move |_| {
            let keys = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
            per_key.iter().all(|(key, all)| {
                keys.settled
                    .get(key)
                    .is_some_and(|settled| all.iter().all(|number| settled.contains(number)))
            })
        })
        .await?;
    survivor.leave().await?;
    scene.watch.check()?;
    scene.ledger.no_loss()?;
    Ok(())
}

async fn o2_keys_run_side_by_side_in_the_active_members(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let mut inboxes = [
        first.join(Scene::want()).await?,
        second.join(Scene::want()).await?,
    ];
    let scene = Scene::new(8, 8);
    scene.publish(&context).await?;
    // Held all at once: eight keys, none waits for another.
    let mut held: Vec<Vec<Token>> = vec![Vec::new(), Vec::new()];
    let [one, two] = &mut inboxes;
    while held.iter().map(Vec::len).sum::<usize>() < 8 {
        let (member, token) = tokio::select! {
            token = one.next() => (0, token?),
            token = two.next() => (1, token?),
        };
        held[member].push(token);
    }
    let active = held.iter().filter(|tokens| !tokens.is_empty()).count();
    if first.capabilities().ordered_members == OrderedMembers::One {
        ensure_eq!(active, 1, "active members where one is declared");
    }
    ack_all(held.into_iter().flatten()).await
}
