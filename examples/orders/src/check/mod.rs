//! Places orders, kills services, and checks that goods, money and mails are right in the end.

mod audit;
mod crew;
mod figures;
mod plan;
mod repair;
mod round;
#[cfg(test)]
mod tests;
mod wait;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bus::{BusClient, ConfigLoader, Filter};

use self::audit::Audit;
use self::crew::Crew;
use crate::arguments::Check;
use crate::service::Service;

/// Runs the rounds, on services of its own unless they run already.
pub async fn run(loader: ConfigLoader, url: Option<&str>, check: &Check) -> Result<()> {
    let seed = check.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut config = loader.clone().load()?;
    if !check.running {
        let mut own = loader;
        if config.url().scheme() == "memory" && config.url().hosts().is_empty() {
            // Several connections to one bus, all in this process.
            own = own.url("memory://orders");
        }
        if config.url().options().get("namespace").is_none() {
            own = own.set("bus.namespace", format!("orders-{:x}", fastrand::u32(..)));
        }
        config = own.load()?;
    }
    let bus = config.connect().await.context("cannot connect")?;
    println!("{} with seed {seed}", config.url());
    let mut audit = Audit::start(&bus).await?;
    let mut crew = match check.running {
        true => Crew::elsewhere(),
        false => Crew::start(&config, url)?,
    };
    let begun = Instant::now();
    let mut done = Ok(());
    for number in 1..=check.rounds {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(number)));
        let round = round::run(&bus, &mut crew, &mut audit, check, &mut random);
        match round.await {
            Ok(said) => println!("round {number}: {said}"),
            Err(error) => {
                done = Err(error.context(format!("round {number} with seed {seed}")));
                break;
            }
        }
    }
    crew.stop().await?;
    if !check.running {
        clear(&bus).await?;
    }
    bus.close_within(Duration::from_secs(5)).await?;
    done?;
    println!(
        "{} rounds of {} orders in {:.1} s: goods, money and mails are right",
        check.rounds,
        check.orders,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Removes the groups of the services, which nobody will ask for again in this namespace.
async fn clear(bus: &BusClient) -> Result<()> {
    for info in bus.subscriptions().list().await? {
        // A member that was killed may count as one for some time yet.
        bus.subscriptions().forced().delete(&info.id).await?;
    }
    for service in Service::ALL {
        let _report = bus
            .dead_letters(service.name())
            .purge(&Filter::default())
            .await?;
    }
    Ok(())
}
