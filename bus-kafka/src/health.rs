//! Health: what was verified of the brokers, and what their settings do not protect.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus_api::{Health, HealthStatus, Provision};
use rdkafka::admin::{AdminOptions, ResourceSpecifier};

use crate::core::Core;
use crate::error::{from_client, no_answer};
use crate::topics::Purpose;

impl Core {
    pub(crate) async fn health(self: &Arc<Self>) -> Health {
        let mut health = Health {
            status: HealthStatus::Up,
            connected: false,
            writable: false,
            problems: Vec::new(),
            unprotected: Vec::new(),
            notices: self.life.notices().recent(),
            subscriptions: Vec::new(),
            details: BTreeMap::new(),
        };
        let checked = tokio::time::timeout(self.config.patience(), self.check(&mut health)).await;
        if let Err(failed) = checked.unwrap_or_else(|_| Err(no_answer())) {
            health.problems.push(failed.to_string());
        }
        health.status = match (health.connected, health.problems.is_empty()) {
            (false, _) => HealthStatus::Down,
            (true, false) => HealthStatus::Degraded,
            (true, true) => HealthStatus::Up,
        };
        health
    }

    async fn check(self: &Arc<Self>, health: &mut Health) -> bus_api::Result<()> {
        self.usable()?;
        let registry = self.names.registry();
        let asked = registry.clone();
        let (brokers, replicas) = self
            .ask(move |core, patience| {
                let found = core
                    .client()
                    .fetch_metadata(Some(&asked), patience)
                    .map_err(|native| from_client(&native))?;
                let replicas = found
                    .topics()
                    .first()
                    .and_then(|topic| topic.partitions().first())
                    .map(|partition| (partition.leader(), partition.replicas().len()));
                Ok((found.brokers().len(), replicas))
            })
            .await?;
        health.connected = true;
        health.details.insert("brokers", brokers.to_string());
        health
            .details
            .insert("partitions", self.config.partitions.to_string());
        if self.config.settings.provision == Provision::Create {
            self.ensure(&[(registry.clone(), Purpose::Registry)])
                .await?;
        }
        match replicas {
            Some((leader, replicas)) => {
                health.writable = leader >= 0;
                health.details.insert("replication", replicas.to_string());
                if replicas < 3 {
                    health.unprotected.push(format!(
                        "topics have {replicas} replica(s): what a broker loses is lost; use three brokers and \
                         option `replication=3`"
                    ));
                }
            }
            None => health.writable = true,
        }
        if let Some(least) = self.least_in_sync(&registry).await
            && least < 2
        {
            health.unprotected.push(
                "`min.insync.replicas` is 1: a message may be confirmed that only one broker has"
                    .to_owned(),
            );
        }
        health.unprotected.push(
            "brokers confirm before they write to disk: a power failure of all replicas at once loses messages"
                .to_owned(),
        );
        health.subscriptions = self.list().await?;
        Ok(())
    }

    async fn least_in_sync(&self, topic: &str) -> Option<u32> {
        let options = AdminOptions::new().request_timeout(Some(self.config.patience()));
        let asked = self
            .admin()
            .describe_configs([&ResourceSpecifier::Topic(topic)], &options)
            .await
            .ok()?;
        let found = asked.into_iter().next()?.ok()?;
        found
            .get("min.insync.replicas")?
            .value
            .as_deref()?
            .parse()
            .ok()
    }
}
