//! R6: dead letters are counted, paged, fetched and purged.

use std::collections::BTreeSet;

use bus_api::{DeadLetterId, ErrorKind, Filter, clock};

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Act, Diary, Note, Run, buried_numbers, group, job, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(r6_the_count_is_exact),
        case!(r6_pages_show_every_entry_once).within(secs(60)),
        case!(r6_an_entry_is_found_by_its_id),
        case!(r6_purging_one_keeps_the_others),
        case!(r6_a_filter_takes_what_it_says),
        case!(r6_purging_with_a_filter_keeps_the_rest),
        case!(r6_purging_all_leaves_none),
        case!(r6_a_dry_run_touches_nothing),
        case!(r6_groups_do_not_mix),
    ]
}

/// Makes `group` give up these notes, with the text that `reason` says.
async fn bury(
    client: &Client,
    name: &str,
    notes: &[Note],
    reason: impl Fn(&Run) -> String + Send + Sync + 'static,
) -> Result<(), Violation> {
    let job = job(group(name, "r.>")).concurrency(64);
    let crew = client
        .employ(job, &Diary::new(), move |run| Act::Refuse(reason(run)))
        .await?;
    for result in client.publish_batch(notes).await {
        result?;
    }
    client.until_buried(name, notes.len()).await?;
    client.until_settled(name, "r.>").await?;
    crew.shutdown().await
}

async fn r6_the_count_is_exact(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let dead = client.dead_letters("g");
    ensure_eq!(
        dead.count(&Filter::default()).await?,
        0,
        "before any failure"
    );
    bury(&client, "g", &notes("r.a", 0..25), |_| "no".into()).await?;
    ensure_eq!(dead.count(&Filter::default()).await?, 25, "the count");
    let ids: Vec<DeadLetterId> = client
        .buried("g")
        .await?
        .iter()
        .map(|entry| entry.id)
        .collect();
    for id in &ids[..5] {
        client.purge("g", &Filter::default().id(*id), 1).await?;
    }
    ensure_eq!(
        dead.count(&Filter::default()).await?,
        20,
        "the count after purging 5"
    );
    // An id that is not there any more counts nothing.
    client.purge("g", &Filter::default().id(ids[0]), 0).await?;
    ensure_eq!(
        dead.count(&Filter::default()).await?,
        20,
        "the count after purging nothing"
    );
    Ok(())
}

/// Pages by index skip an entry for each one that was removed before; pages by the cursor's own entry
/// end when that one is removed.
async fn r6_pages_show_every_entry_once(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 1_000;
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..ALL), |_| "no".into()).await?;
    let (dead, all) = (client.dead_letters("g"), Filter::default());
    let undisturbed = client.buried("g").await?;
    ensure_eq!(
        buried_numbers(&undisturbed)?,
        (0..ALL).collect::<Vec<_>>(),
        "the pages together"
    );
    let (mut shown, mut removed, mut unseen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut cursor = None;
    loop {
        let page = dead.page(&all, cursor.as_ref(), 90).await?;
        ensure!(
            page.entries.len() <= 90,
            "a page of {} entries; 90 were asked for",
            page.entries.len()
        );
        // The last of this page, one in its middle, and one that no page has shown yet.
        let ahead = undisturbed.get(shown.len() + page.entries.len() + 30);
        unseen.extend(ahead.map(|entry| entry.id));
        let victims: Vec<DeadLetterId> = [page.entries.last(), page.entries.get(40)]
            .into_iter()
            .flatten()
            .map(|entry| entry.id)
            .chain(ahead.map(|entry| entry.id))
            .collect();
        shown.extend(page.entries.iter().map(|entry| entry.id));
        for id in victims {
            client.purge("g", &Filter::default().id(id), 1).await?;
            removed.insert(id);
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let unique: BTreeSet<DeadLetterId> = shown.iter().copied().collect();
    ensure_eq!(unique.len(), shown.len(), "entries shown, each once");
    let expected: Vec<DeadLetterId> = undisturbed
        .iter()
        .map(|entry| entry.id)
        .filter(|id| !unseen.contains(id))
        .collect();
    ensure!(
        shown == expected,
        "{} entries shown in pages with removals between them; {} were to be shown, in the order of writing",
        shown.len(),
        expected.len()
    );
    let left = client.buried("g").await?.len();
    ensure_eq!(left, ALL as usize - removed.len(), "entries left");
    Ok(())
}

async fn r6_an_entry_is_found_by_its_id(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..3), |_| "no".into()).await?;
    for entry in client.buried("g").await? {
        let found = client.dead_letters("g").get(entry.id).await?;
        ensure!(
            found.map(bus_api::DeadEntry::into_inner) == Some(entry.clone()),
            "{} was not found as it was listed",
            entry.id
        );
        let elsewhere = client.dead_letters("h").get(entry.id).await?;
        ensure!(elsewhere.is_none(), "another group has entry {}", entry.id);
    }
    let unknown = "00000000000000000000000000000000".parse()?;
    let found = client.dead_letters("g").get(unknown).await?;
    ensure!(found.is_none(), "an id of nothing found {found:?}");
    Ok(())
}

async fn r6_purging_one_keeps_the_others(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..12), |_| "no".into()).await?;
    let entries = client.buried("g").await?;
    let victim = &entries[5];
    client
        .purge("g", &Filter::default().id(victim.id), 1)
        .await?;
    let left = client.buried("g").await?;
    let expected: Vec<_> = entries
        .iter()
        .filter(|entry| entry.id != victim.id)
        .cloned()
        .collect();
    ensure_eq!(
        buried_numbers(&left)?,
        buried_numbers(&expected)?,
        "what is left"
    );
    let found = client.dead_letters("g").get(victim.id).await?;
    ensure!(found.is_none(), "a purged entry is still found");
    Ok(())
}

/// Six notes on two topics, given up for two reasons, and the moment between the first and the last three.
async fn mixture(client: &Client) -> Result<std::time::SystemTime, Violation> {
    let all = [
        notes("r.a", [0]),
        notes("r.b", [1]),
        notes("r.a.b", [2]),
        notes("r.a", [3]),
        notes("r.b", [4]),
        notes("r.a.b", [5]),
    ]
    .concat();
    let reason = |run: &Run| {
        if run.number.is_multiple_of(2) {
            "code 550: gone"
        } else {
            "code 421: later"
        }
        .to_owned()
    };
    let crew = client
        .employ(job(group("g", "r.>")), &Diary::new(), move |run| {
            Act::Refuse(reason(run))
        })
        .await?;
    for note in &all[..3] {
        client.publish(note).await?;
    }
    client.until_buried("g", 3).await?;
    // Times in records are whole milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let middle = clock::now();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    for note in &all[3..] {
        client.publish(note).await?;
    }
    client.until_buried("g", 6).await?;
    crew.shutdown().await?;
    Ok(middle)
}

async fn r6_a_filter_takes_what_it_says(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let middle = mixture(&client).await?;
    let dead = client.dead_letters("g");
    let mut ids = Vec::new();
    for entry in client.buried("g").await? {
        ids.push((Note::of(&entry.message)?.number, entry.id));
    }
    ids.sort_unstable_by_key(|(number, _)| *number);
    let ids: Vec<DeadLetterId> = ids.into_iter().map(|(_, id)| id).collect();
    let filters: Vec<(&str, Filter, Vec<u64>)> = vec![
        ("nothing", Filter::default(), vec![0, 1, 2, 3, 4, 5]),
        ("a topic", Filter::default().topic("r.a"), vec![0, 3]),
        (
            "a pattern of topics",
            Filter::default().topic("r.a.>"),
            vec![2, 5],
        ),
        (
            "the subscription",
            Filter::default().pattern("r.>"),
            vec![0, 1, 2, 3, 4, 5],
        ),
        (
            "another subscription",
            Filter::default().pattern("r.*"),
            vec![],
        ),
        (
            "the type",
            Filter::default().event_type(Note::TYPE),
            vec![0, 1, 2, 3, 4, 5],
        ),
        (
            "another type",
            Filter::default().event_type("conformance"),
            vec![],
        ),
        (
            "the kind",
            Filter::default().error_kind("handler"),
            vec![0, 1, 2, 3, 4, 5],
        ),
        (
            "another kind",
            Filter::default().error_kind("panic"),
            vec![],
        ),
        (
            "the text",
            Filter::default().error_contains("550"),
            vec![0, 2, 4],
        ),
        ("since", Filter::default().since(middle), vec![3, 4, 5]),
        ("until", Filter::default().until(middle), vec![0, 1, 2]),
        ("ids", Filter::default().id(ids[1]).id(ids[4]), vec![1, 4]),
        (
            "all together",
            Filter::default()
                .topic("r.*")
                .error_contains("421")
                .since(middle),
            vec![3],
        ),
    ];
    for (what, filter, expected) in filters {
        ensure_eq!(
            dead.count(&filter).await?,
            expected.len() as u64,
            "the count by {what}"
        );
        // One at a time: the end of a page is not the end of what matches.
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = dead.page(&filter, cursor.as_ref(), 1).await?;
            found.extend(page.entries.into_iter().map(bus_api::DeadEntry::into_inner));
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        ensure_eq!(buried_numbers(&found)?, expected, "entries by {what}");
    }
    match dead.count(&Filter::default().topic("r.>.a")).await {
        Err(error) if error.kind() == ErrorKind::InvalidTopic => Ok(()),
        other => Err(Violation::new(format_args!(
            "a filter with a wrong pattern gave {other:?}"
        ))),
    }
}

async fn r6_purging_with_a_filter_keeps_the_rest(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    mixture(&client).await?;
    let filter = Filter::default().topic("r.*").error_contains("550");
    client.purge("g", &filter, 2).await?;
    let left = client.buried("g").await?;
    ensure_eq!(buried_numbers(&left)?, vec![1, 2, 3, 5], "what is left");
    Ok(())
}

async fn r6_purging_all_leaves_none(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..300), |_| "no".into()).await?;
    client.purge("g", &Filter::default(), 300).await?;
    ensure_eq!(client.buried("g").await?.len(), 0, "entries left");
    ensure_eq!(client.buried_count("g").await?, 0, "the count");
    // The store goes on.
    bury(&client, "g", &notes("r.a", [1_000]), |_| "no".into()).await
}

async fn r6_a_dry_run_touches_nothing(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..4), |_| "no".into()).await?;
    let dead = client.dead_letters("g");
    let purge = dead.purge(&Filter::default()).dry_run().await?;
    let redrive = dead.redrive(&Filter::default()).dry_run().await?;
    for (what, report) in [("purge", purge), ("redrive", redrive)] {
        ensure_eq!(
            (report.matched, report.done),
            (4, 0),
            "matched and done by a dry {what}"
        );
    }
    ensure_eq!(client.buried("g").await?.len(), 4, "entries left");
    let mut inbox = client.join(group("g", "r.>")).await?;
    inbox.quiet().await
}

async fn r6_groups_do_not_mix(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, "g", &notes("r.a", 0..3), |_| "no".into()).await?;
    // The second group gives up what the first one did, from the first message on.
    let crew = client
        .employ(job(group("g-2", "r.>")), &Diary::new(), |_| Act::refuse())
        .await?;
    client.until_buried("g-2", 3).await?;
    crew.shutdown().await?;
    let groups: Vec<String> = client
        .dead_letter_groups()
        .await?
        .into_iter()
        .map(|group| group.to_string())
        .collect();
    ensure_eq!(groups, vec!["g", "g-2"], "groups with dead letters");
    client.purge("g-2", &Filter::default(), 3).await?;
    ensure_eq!(
        client.buried("g").await?.len(),
        3,
        "entries of the other group"
    );
    Ok(())
}
