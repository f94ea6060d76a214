//! Programs whose runtime ends before their subscriptions do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::{BusClient, Raw, Result, Subscription, Topic};
use tokio::runtime::{Builder, Runtime};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A stream that waits for something that rests: its member has a timer.
async fn waiting(bus: &BusClient, group: &str) -> Result<Subscription<Raw>> {
    let mut stream = bus.subscribe::<Raw>(group).pattern("a").await?;
    let event = Raw::new(Topic::new("a")?, "x", "text/plain", "x");
    bus.publish(&event).await?;
    if let Some(received) = stream.next().await {
        received?.nack_after(Duration::from_secs(3_600)).await?;
    }
    Ok(stream)
}

/// Two members, one in a task of the runtime and one that outlives it; both wait.
fn end_under_members(runtime: Runtime) -> Result<()> {
    let outlives = runtime.block_on(async {
        let bus = bus::connect("memory://").await?;
        let mut inside = waiting(&bus, "inside").await?;
        let mut outlives = waiting(&bus, "outside").await?;
        tokio::spawn(async move { inside.next().await });
        let waits = tokio::time::timeout(Duration::from_millis(20), outlives.next()).await;
        assert!(waits.is_err(), "something came that rests");
        Ok::<_, bus::Error>(outlives)
    })?;
    drop(runtime);
    drop(outlives);
    Ok(())
}

#[test]
fn a_runtime_that_ends_before_its_members_panics_nowhere() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    let mut threads = Builder::new_multi_thread();
    end_under_members(Builder::new_current_thread().enable_all().build().unwrap()).unwrap();
    end_under_members(threads.worker_threads(2).enable_all().build().unwrap()).unwrap();
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
