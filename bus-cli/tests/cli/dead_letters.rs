//! Dead letters: listed, shown, exported, edited, redriven, purged.

use std::time::Duration;

use bus::{Decide as _, Filter, HandlerResult, Raw, Retry};
use serde_json::Value;
use tokio::time::timeout;

use crate::Scene;

/// Three dead letters of the group mail.
async fn three(scene: &Scene) -> bus::BusClient {
    let bus = bus::connect(&scene.url).await.unwrap();
    let worker = bus
        .worker("mail")
        .pattern("orders.>")
        .fallback(|_: Raw| async {
            Err("550 no such mailbox").or_dead_letter()?;
            HandlerResult::Ok(())
        })
        .retry(Retry::never())
        .start()
        .await
        .unwrap();
    for id in 1..=3 {
        let payload = format!("{{\"id\": {id}}}");
        scene
            .place
            .ok(&["pub", "orders.placed", &payload, "--type", "order.placed"])
            .await;
    }
    let dead = bus.dead_letters("mail");
    let all = async {
        while dead.count(&Filter::default()).await.unwrap() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), all).await.unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
    bus
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn they_are_looked_at() {
    let scene = Scene::new().await;
    let _bus = three(&scene).await;
    let place = &scene.place;
    let groups = place.ok(&["dlq", "list", "--json"]).await;
    assert_eq!(groups, "{\"dead_letters\":3,\"group\":\"mail\"}\n");
    let table = place.ok(&["dlq", "list", "mail"]).await;
    assert!(
        table.starts_with("ID ") && table.contains("550 no such mailbox"),
        "{table}"
    );
    assert_eq!(table.lines().count(), 4);
    let found = place
        .ok(&["dlq", "list", "mail", "--json", "--limit", "2"])
        .await;
    assert_eq!(lines(&found).len(), 2);
    let none = place
        .ok(&["dlq", "list", "mail", "--json", "--error-contains", "551"])
        .await;
    assert_eq!(none, "");

    let id = lines(&found)[0]["id"].as_str().unwrap().to_owned();
    let shown = place.ok(&["dlq", "show", "mail", &id]).await;
    assert!(
        shown.contains("order.placed") && shown.contains("\"id\": 1"),
        "{shown}"
    );
    let absent = place.run(&["dlq", "show", "mail", &"0".repeat(32)]).await;
    assert_eq!(absent.code, Some(6), "{absent:?}");

    let said = place
        .ok(&["dlq", "export", "mail", "--output", "dead.ndjson"])
        .await;
    assert_eq!(said, "3 written to dead.ndjson\n");
    let file = std::fs::read_to_string(place.path().join("dead.ndjson")).unwrap();
    assert_eq!(lines(&file).len(), 3);
}

#[tokio::test]
async fn they_are_redriven_and_purged() {
    let scene = Scene::new().await;
    let bus = three(&scene).await;
    let place = &scene.place;
    let all = place.run(&["dlq", "redrive", "mail"]).await;
    assert_eq!(all.code, Some(1), "{all:?}");
    assert!(all.err.contains("--all"), "{all:?}");
    let dry = place
        .ok(&["dlq", "redrive", "mail", "--all", "--dry-run"])
        .await;
    assert_eq!(dry, "3 would be redriven\n");
    let one = place
        .ok(&[
            "dlq", "redrive", "mail", "--topic", "orders.>", "--limit", "1",
        ])
        .await;
    assert_eq!(one, "1 of 1 redriven\n");

    let left = lines(&place.ok(&["dlq", "list", "mail", "--json"]).await);
    let id = left[0]["id"].as_str().unwrap();
    let wrong = place
        .run(&["dlq", "edit", "mail", id, "--payload", "{"])
        .await;
    assert!(
        wrong.code == Some(1) && wrong.err.contains("JSON"),
        "{wrong:?}"
    );
    place
        .ok(&["dlq", "edit", "mail", id, "--payload", "{\"id\": 70}"])
        .await;
    let read = [
        "sub", "orders.>", "--group", "mail", "--count", "2", "--format", "raw",
    ];
    let mut redriven: Vec<String> = place.ok(&read).await.lines().map(str::to_owned).collect();
    redriven.sort_unstable();
    assert_eq!(redriven, ["{\"id\": 1}", "{\"id\": 70}"]);

    let unasked = place.run(&["dlq", "purge", "mail", "--all"]).await;
    assert!(
        unasked.code == Some(1) && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    assert_eq!(
        place
            .ok(&["dlq", "purge", "mail", "--all", "--dry-run"])
            .await,
        "1 would be purged\n"
    );
    assert_eq!(
        place.ok(&["dlq", "purge", "mail", "--all", "--yes"]).await,
        "1 of 1 purged\n"
    );
    assert_eq!(
        bus.dead_letters("mail")
            .count(&Filter::default())
            .await
            .unwrap(),
        0
    );
}
