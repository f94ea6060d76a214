//! Connecting, in a namespace that belongs to the run.

use anyhow::{Context, Result, bail};
use bus::{BusClient, BusUrl};

/// Where the run happens unless the URL says otherwise.
const NAMESPACE: &str = "webhooks";
/// The groups of the run.
const GROUPS: [&str; 3] = ["ci", "notify", "repositories"];

/// Connects, and makes sure that nothing of an earlier run is in the way.
pub async fn connect(url: &str) -> Result<BusClient> {
    let mut url: BusUrl = url.parse()?;
    let shown = url.to_string();
    let own_namespace = url.options().get("namespace").is_none();
    // What every group has settled may go: the run needs no more memory or disk than what is under way.
    for (option, value) in [
        ("namespace", NAMESPACE),
        ("retention", "settled"),
        ("source", "webhooks"),
    ] {
        if url.options().get(option).is_none() {
            url.options_mut().set(option, value);
        }
    }
    let bus = bus::connect(url)
        .await
        .with_context(|| format!("cannot connect to {shown}"))?;
    let left = remains(&bus).await?;
    if !left.is_empty() && !own_namespace {
        bail!(
            "the namespace has groups of these names already: {}; choose another one",
            left.join(", ")
        );
    }
    clear(&bus)
        .await
        .context("an earlier run has left something, or another one is going on")?;
    Ok(bus)
}

/// Removes what the run would leave behind.
pub async fn clear(bus: &BusClient) -> bus::Result<()> {
    for subscription in bus.subscriptions().list().await? {
        if GROUPS.contains(&subscription.id.group.as_str()) {
            bus.subscriptions().delete(&subscription.id).await?;
        }
    }
    for group in GROUPS {
        let _report = bus
            .dead_letters(group)
            .purge(&bus::Filter::default())
            .await?;
    }
    Ok(())
}

async fn remains(bus: &BusClient) -> Result<Vec<String>> {
    let mut groups: Vec<_> = bus
        .subscriptions()
        .list()
        .await?
        .into_iter()
        .map(|info| info.id.group)
        .collect();
    groups.extend(bus.dead_letter_groups().await?);
    groups.retain(|group| GROUPS.contains(&group.as_str()));
    groups.sort();
    groups.dedup();
    Ok(groups.iter().map(ToString::to_string).collect())
}
