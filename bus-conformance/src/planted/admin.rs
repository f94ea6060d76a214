//! Bugs of operations, retention and the life of a connection.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Admin, Bus, Capabilities, Error, ErrorKind, Health, HealthStatus, Inbound, Paused, Result,
    Start, SubscriptionId, SubscriptionInfo, SubscriptionSpec,
};
use tokio::time::Instant;

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            ResetIgnored,
            "ignores a reset",
            "s8_a_reset_moves_the_position"
        ),
        plant!(
            ResetUnderMembers,
            "resets under live members unasked",
            "s8_live_members_refuse_unless_forced"
        ),
        plant!(
            DeleteIgnored,
            "ignores a deletion",
            "s8_a_deleted_subscription_is_gone"
        ),
        plant!(
            ListsNothing,
            "lists no subscriptions",
            "s8_durable_subscriptions_are_listed"
        ),
        plant!(
            PauseIgnored,
            "ignores a pause",
            "s9_a_paused_subscription_hands_out_nothing"
        ),
        plant!(
            PauseForgotten,
            "tells no member that joins of a pause",
            "s9_a_member_that_joins_later_is_paused"
        ),
        plant!(
            PausedForGood,
            "does not let a paused subscription go on",
            "s9_a_paused_subscription_hands_out_nothing"
        ),
        plant!(
            PauseUnlisted,
            "does not list a pause",
            "s9_a_pause_is_listed_and_kept_until_it_ends"
        ),
        plant!(NoLag, "reports no lag", "l5_the_lag_is_true"),
        plant!(
            HidesDropped,
            "hides what retention dropped",
            "k3_dropped_messages_are_counted"
        ),
        plant!(
            RetainsAll,
            "ignores the limits of retention",
            "k1_a_namespace_keeps_its_count"
        ),
        plant!(
            AlwaysUp,
            "is always well",
            "l5_health_tells_a_broker_that_is_away"
        ),
        plant!(
            CloseOnce,
            "fails to close a second time",
            "l1_close_is_idempotent"
        ),
        plant!(
            NeverCloses,
            "goes on after close",
            "l1_after_close_calls_are_closed"
        ),
        plant!(
            Boasts,
            "declares a longer shortest lease",
            "t0_capabilities_are_the_contracts"
        ),
    ]
}

#[derive(Debug, Default)]
struct ResetIgnored;

#[async_trait]
impl Bug for ResetIgnored {
    async fn reset(&self, _: &dyn Admin, _: &SubscriptionId, _: &Start, _: bool) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct ResetUnderMembers;

#[async_trait]
impl Bug for ResetUnderMembers {
    async fn reset(
        &self,
        admin: &dyn Admin,
        id: &SubscriptionId,
        start: &Start,
        _: bool,
    ) -> Result<()> {
        admin.reset(id, start, true).await
    }
}

#[derive(Debug, Default)]
struct PauseIgnored;

#[async_trait]
impl Bug for PauseIgnored {
    async fn pause(&self, _: &dyn Admin, _: &SubscriptionId) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct PauseForgotten;

#[async_trait]
impl Bug for PauseForgotten {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, spec: SubscriptionSpec) -> Result<Inbound> {
        Ok(Inbound {
            paused: Paused::never(),
            ..bus.subscribe(spec).await?
        })
    }
}

#[derive(Debug, Default)]
struct PausedForGood;

#[async_trait]
impl Bug for PausedForGood {
    async fn resume(&self, _: &dyn Admin, _: &SubscriptionId) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct DeleteIgnored;

#[async_trait]
impl Bug for DeleteIgnored {
    async fn delete(&self, _: &dyn Admin, _: &SubscriptionId, _: bool) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct ListsNothing;

#[async_trait]
impl Bug for ListsNothing {
    async fn subscriptions(&self, _: &dyn Admin) -> Result<Vec<SubscriptionInfo>> {
        Ok(Vec::new())
    }
}

/// Changes what is said about subscriptions, in the list and in `health()`.
macro_rules! changes_infos {
    ($name:ident, |$info:ident| $change:block) => {
        #[derive(Debug, Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn subscriptions(&self, admin: &dyn Admin) -> Result<Vec<SubscriptionInfo>> {
                let mut infos = admin.subscriptions().await?;
                for $info in &mut infos $change
                Ok(infos)
            }

            async fn health(&self, admin: &dyn Admin) -> Health {
                let mut health = admin.health().await;
                for $info in &mut health.subscriptions $change
                health
            }
        }
    };
}

changes_infos!(NoLag, |info| {
    info.lag = 0;
});
changes_infos!(HidesDropped, |info| {
    info.dropped = 0;
});

changes_infos!(PauseUnlisted, |info| {
    info.paused = false;
});

#[derive(Debug, Default)]
struct RetainsAll;

impl Bug for RetainsAll {
    fn options<'a>(&self, honest: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        honest
            .iter()
            .filter(|(name, _)| !name.starts_with("retention"))
            .copied()
            .collect()
    }
}

#[derive(Debug, Default)]
struct AlwaysUp;

#[async_trait]
impl Bug for AlwaysUp {
    async fn health(&self, admin: &dyn Admin) -> Health {
        let honest = admin.health().await;
        Health {
            status: HealthStatus::Up,
            connected: true,
            writable: true,
            problems: Vec::new(),
            ..honest
        }
    }
}

#[derive(Debug, Default)]
struct CloseOnce(std::sync::atomic::AtomicBool);

#[async_trait]
impl Bug for CloseOnce {
    async fn close(&self, bus: &dyn Bus, deadline: Instant) -> Result<()> {
        if self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "closed twice"));
        }
        bus.close(deadline).await
    }
}

#[derive(Debug, Default)]
struct NeverCloses;

#[async_trait]
impl Bug for NeverCloses {
    async fn close(&self, _: &dyn Bus, _: Instant) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Boasts;

impl Bug for Boasts {
    fn capabilities(&self, honest: Capabilities) -> Capabilities {
        Capabilities {
            min_lease: honest.min_lease * 2,
            ..honest
        }
    }
}
