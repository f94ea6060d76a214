//! Four services that sell things: order, payment, stock and mail, each with a database of its own, on any
//! transport. `orders check` runs them, kills them, and counts goods, money and mails.

mod arguments;
mod check;
mod mail;
mod messages;
mod order;
mod payment;
mod service;
mod stock;
mod stop;
mod store;

use std::path::Path;

use anyhow::{Context as _, Result};
use bus::{BusClient, Config};
use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::service::Service;
use crate::stop::Stop;

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { bus, command } = Arguments::parse();
    let loader = Config::loader();
    let loader = match &bus {
        Some(url) => loader.url(url),
        None => loader,
    };
    match command {
        Command::Order(place) => serve(&[Service::Order], &loader.load()?, &place.data).await,
        Command::Payment(place) => serve(&[Service::Payment], &loader.load()?, &place.data).await,
        Command::Stock(place) => serve(&[Service::Stock], &loader.load()?, &place.data).await,
        Command::Mail(place) => serve(&[Service::Mail], &loader.load()?, &place.data).await,
        Command::All(place) => serve(&Service::ALL, &loader.load()?, &place.data).await,
        Command::Ping { service } => {
            let bus = loader.load()?.connect().await?;
            ping(&bus, service, "").await?;
            println!("{} answers", service.name());
            Ok(bus.close().await?)
        }
        Command::Check(check) => check::run(loader, bus.as_deref(), &check).await,
    }
}

/// Runs services until Ctrl-C.
async fn serve(services: &[Service], config: &Config, data: &Path) -> Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let stop = Stop::listen()?;
    let runs = services.iter().map(|service| {
        let (service, config, data, stop) =
            (*service, config.clone(), data.to_owned(), stop.clone());
        tokio::spawn(async move { service.run(&config, &data, stop.wanted()).await })
    });
    let runs: Vec<_> = runs.collect();
    println!("{} on {}", names(services), config.url());
    for run in runs {
        run.await??;
    }
    Ok(())
}

fn names(services: &[Service]) -> String {
    let names: Vec<_> = services.iter().map(|service| service.name()).collect();
    names.join(", ")
}

/// Whether the service answers questions; what it says about `run` is not looked at.
async fn ping(bus: &BusClient, service: Service, run: &str) -> bus::Result<()> {
    let run = run.to_owned();
    match service {
        Service::Order => bus.request(&messages::OrderReport { run }).await.map(drop),
        Service::Payment => bus
            .request(&messages::PaymentReport { run })
            .await
            .map(drop),
        Service::Stock => bus.request(&messages::StockReport { run }).await.map(drop),
        Service::Mail => bus.request(&messages::MailReport { run }).await.map(drop),
    }
}
