//! What can be verified about the server.

use std::collections::BTreeMap;

use bus_api::{Health, HealthStatus};
use bytes::Bytes;

use crate::admin;
use crate::core::Core;

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
    if let Err(error) = core.usable() {
        health.problems.push(error.to_string());
        return health;
    }
    // What was true before a break is not taken for true now.
    core.streams.doubt();
    if let Err(error) = core.ready().await {
        health.connected = core.link.socket.reach().up;
        health.problems.push(error.to_string());
        return health;
    }
    health.connected = true;
    let probe = core.keys.keeper("health");
    match core.put(probe, Bytes::new(), None).await {
        Ok(_) => health.writable = true,
        Err(error) => health.problems.push(error.to_string()),
    }
    judge(core, &mut health).await;
    match admin::infos(core).await {
        Ok(subscriptions) => health.subscriptions = subscriptions,
        Err(error) => health.problems.push(error.to_string()),
    }
    health.judge();
    health
}

async fn judge(core: &Core, health: &mut Health) {
    if let Some(server) = core.link.socket.server() {
        health
            .details
            .insert("server", format!("nats {}", server.version));
        health.details.insert("name", server.server_name.clone());
        if server.lame_duck_mode {
            health
                .problems
                .push("the server is about to shut down".to_owned());
        }
        let room = server.max_payload.saturating_sub(64 << 10);
        if room < core.max_payload {
            health.problems.push(format!(
                "the server's `max_payload` is now {}; payloads above {room} bytes are refused",
                server.max_payload
            ));
        }
    }
    health.problems.extend(core.streams.differing());
    match core.stream_info(&core.keys.data()).await {
        Ok(Some(info)) => {
            let replicas = info.config["num_replicas"].as_u64().unwrap_or(1);
            health.details.insert("replicas", replicas.to_string());
            health
                .details
                .insert("messages", info.state.messages.to_string());
            if replicas < 2 {
                health.unprotected.push(
                    "streams have one replica: the bus is away while its server is, a lost disk is lost \
                     data, and acks confirmed within the last second before a crash may come again; set \
                     `replicas=3` on a cluster"
                        .to_owned(),
                );
            } else {
                health.unprotected.push(
                    "a majority of the replicas that fails at once may lose what was confirmed just before, \
                     unless the servers' `sync_interval` is always"
                        .to_owned(),
                );
            }
            if info.config["storage"] == "memory" {
                health.unprotected.push(
                    "streams are kept in memory: they are gone when the server ends".to_owned(),
                );
            } else if replicas < 2 {
                health.unprotected.push(
                    "a server writes to disk every `sync_interval`, by default two minutes: what was \
                     confirmed since may be lost when the machine fails; set it to always"
                        .to_owned(),
                );
            }
            let leader = info
                .cluster
                .as_ref()
                .is_none_or(|copies| copies.leader.is_some());
            if !leader {
                health
                    .problems
                    .push("the stream of messages has no leader at the moment".to_owned());
            }
        }
        Ok(None) => health
            .problems
            .push("the stream of messages is missing".to_owned()),
        Err(error) => health.problems.push(error.to_string()),
    }
}
