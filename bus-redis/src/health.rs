//! What can be verified about the server.

use std::collections::BTreeMap;

use bus_api::{ErrorKind, Health, HealthStatus, Result};

use crate::admin;
use crate::core::Core;
use crate::value::Take;

const WHAT: &str = "looking at the server";

pub(crate) async fn health(core: &Core) -> Health {
    let mut health = Health {
        status: HealthStatus::Down,
        connected: false,
        writable: false,
        problems: Vec::new(),
        unprotected: Vec::new(),
        notices: core.life.notices().recent(),
        subscriptions: Vec::new(),
        details: BTreeMap::new(),
    };
    match server(core).await {
        Ok(info) => {
            health.connected = true;
            judge(&info, &mut health);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            health.connected = true;
            health.unprotected.push(
                "what the server persists and replicates is not known: the user may not run INFO"
                    .to_owned(),
            );
        }
        Err(error) => {
            health.problems.push(error.to_string());
            return health;
        }
    }
    let sync = setting(core, "appendfsync").await;
    if sync.is_none() {
        health
            .unprotected
            .push("`appendfsync` is not known: the user may not run CONFIG GET".to_owned());
    }
    if let Some(sync) = sync {
        if sync != "always" && health.details.get("aof").is_some_and(|aof| aof == "on") {
            health.unprotected.push(format!(
                "`appendfsync` is {sync}: what was confirmed in the last second or two may be lost when \
                 the machine fails; set it to always"
            ));
        }
        health.details.insert("appendfsync", sync);
    }
    let write = redis::cmd("XTRIM")
        .arg(core.keys.stream_of_probe())
        .arg("MAXLEN")
        .arg(0)
        .take();
    match core.control.run(&write).await {
        Ok(_) => health.writable = true,
        Err(error) => health.problems.push(error.to_string()),
    }
    match admin::infos(core).await {
        Ok(subscriptions) => health.subscriptions = subscriptions,
        Err(error) => health.problems.push(error.to_string()),
    }
    health.judge();
    health
}

async fn server(core: &Core) -> Result<BTreeMap<String, String>> {
    let command = redis::cmd("INFO").take();
    let text = core.control.run(&command).await?.text(WHAT)?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// A setting of the server; `None` when the user may not ask.
async fn setting(core: &Core, name: &str) -> Option<String> {
    let command = redis::cmd("CONFIG").arg("GET").arg(name).take();
    let parts = core.control.run(&command).await.ok()?.array(WHAT).ok()?;
    parts.into_iter().nth(1)?.text(WHAT).ok()
}

fn judge(info: &BTreeMap<String, String>, health: &mut Health) {
    let get = |name: &str| info.get(name).map_or("", String::as_str);
    health
        .details
        .insert("server", format!("redis {}", get("redis_version")));
    health.details.insert("role", get("role").to_owned());
    let aof = get("aof_enabled") == "1";
    health
        .details
        .insert("aof", if aof { "on" } else { "off" }.to_owned());
    if !aof {
        health.unprotected.push(
            "the append-only file is off: what was confirmed since the last snapshot is lost when the \
             server ends; set `appendonly yes`"
                .to_owned(),
        );
    }
    if get("connected_slaves") == "0" {
        health.unprotected.push(
            "there is no replica: the bus is away while this server is, and a lost disk is lost data"
                .to_owned(),
        );
    } else {
        health.unprotected.push(
            "replication is asynchronous: a fail-over may lose what was confirmed just before"
                .to_owned(),
        );
    }
    if get("role") == "slave" {
        health
            .problems
            .push("the server is a read-only replica; the bus needs the primary".to_owned());
    }
    let policy = get("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" && get("maxmemory") != "0" {
        health.problems.push(format!(
            "`maxmemory-policy` is {policy}: the server removes whole topics when memory runs out; set it \
             to noeviction"
        ));
    }
    if get("loading") == "1" {
        health
            .problems
            .push("the server is loading its data".to_owned());
    }
    if get("aof_last_write_status") == "err" {
        health
            .problems
            .push("the last write to the append-only file failed".to_owned());
    }
}
