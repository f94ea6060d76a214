use std::time::Duration;

use anyhow::Result;
use bus::Config;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::run;
use crate::arguments::Check;
use crate::service::Service;
use crate::store::Inbox;

/// What the check says about services with such an inbox, when a round may take `within` seconds.
async fn verdict(name: &str, inbox: Inbox, within: u64) -> Result<()> {
    let loader = Config::loader().url(format!("memory://{name}"));
    let config = loader.clone().load()?;
    let data = TempDir::new()?;
    let mut services = JoinSet::new();
    for service in Service::ALL {
        let (store, config) = (service.store(data.path(), inbox)?, config.clone());
        services.spawn(async move { service.serve(store, &config, std::future::pending()).await });
    }
    let check = Check {
        orders: 20,
        rounds: 1,
        seed: Some(7),
        kill: false,
        running: true,
        within,
    };
    let verdict = tokio::time::timeout(Duration::from_secs(60), run(loader, None, &check)).await?;
    services.shutdown().await;
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_apply_an_id_once_pass() {
    verdict("kept", Inbox::Kept, 30).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_without_an_inbox_do_not() {
    let error = verdict("removed", Inbox::Removed, 5).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("the shelves are filled"), "{text}");
}
