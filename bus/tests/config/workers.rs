//! Options of workers win over the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bus::{Config, HandlerResult, Raw, Retry, Topic};

use super::{file, hermetic};

#[test]
fn the_environment_names_them_as_the_file_does() {
    let (_directory, path) = file("[workers.Order-Mail]\ntimeout = '5s'\nretry.attempts = 2");
    let config = Config::loader()
        .file(path)
        .environment([
            ("BUS__WORKERS__ORDER_MAIL__TIMEOUT", "7s"),
            ("BUS__WORKERS__STOCK__RETRY__CAP", "1m"),
        ])
        .url("memory://")
        .load()
        .unwrap();
    let names: Vec<&String> = config.workers().keys().collect();
    assert_eq!(names, ["Order-Mail", "stock"]);
    let mail = &config.workers()["Order-Mail"];
    assert_eq!(mail.timeout, Some(Duration::from_secs(7)));
    assert_eq!((mail.attempts, mail.concurrency), (Some(2), None));
    assert_eq!(config.workers()["stock"].cap, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_worker_tries_as_often_as_configured() {
    let config = hermetic()
        .url("memory://")
        .set("workers.mail.retry.attempts", 3)
        .set("workers.mail.retry.base", "1ms")
        .set("workers.mail.retry.cap", "1ms");
    let bus = config.load().unwrap().connect().await.unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    let running = bus
        .worker("mail")
        .pattern("a")
        .fallback(move |_: Raw| {
            counter.fetch_add(1, Ordering::Relaxed);
            async { HandlerResult::Err("no".into()) }
        })
        .retry(Retry::never())
        .start()
        .await
        .unwrap();
    let message = Raw::new(Topic::new("a").unwrap(), "t", "text/plain", "x");
    bus.publish(&message).await.unwrap();
    let idle = tokio::time::timeout(Duration::from_secs(10), running.idle());
    idle.await.unwrap();
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    let dead = bus
        .dead_letters("mail")
        .count(&bus::Filter::default())
        .await;
    assert_eq!(dead.unwrap(), 1);
}
