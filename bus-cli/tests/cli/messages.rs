//! Publishing, listening, replaying.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use crate::{Scene, said};

#[tokio::test]
async fn what_is_published_is_heard() {
    let scene = Scene::new().await;
    let mut listener = scene
        .place
        .command(&["sub", "orders.>", "--count", "2", "--format", "raw"])
        .spawn()
        .unwrap();
    said(listener.stderr.take().unwrap(), "listening to").await;
    let stored = scene
        .place
        .ok(&["pub", "orders.placed", "{\"id\": 7}"])
        .await;
    assert!(stored.starts_with("stored "), "{stored}");
    scene.place.feed(&["pub", "orders.b"], "from stdin").await;
    let output = timeout(Duration::from_secs(30), listener.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\"id\": 7}\nfrom stdin\n"
    );
}

#[tokio::test]
async fn json_lines_lead_back() {
    let scene = Scene::new().await;
    let place = &scene.place;
    place
        .ok(&[
            "pub",
            "a.b",
            "{\"n\": 1.0}",
            "--type",
            "t",
            "--key",
            "k",
            "-H",
            "tenant=x",
        ])
        .await;
    let lines = place
        .ok(&["sub", "a.>", "--from", "earliest", "--idle", "1s", "--json"])
        .await;
    let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(line["type"], "t");
    assert_eq!(line["headers"]["tenant"], "x");
    assert!(lines.contains("{\"n\": 1.0}"), "{lines}");

    let done = place
        .feed(&["pub", "again", "--ndjson", "--json"], &lines)
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let again = place
        .ok(&[
            "sub", "again", "--from", "earliest", "--idle", "1s", "--json",
        ])
        .await;
    let copy: serde_json::Value = serde_json::from_str(&again).unwrap();
    for field in ["id", "type", "key", "headers", "payload", "content_type"] {
        assert_eq!(line[field], copy[field], "{field}");
    }
    let done = place
        .feed(&["pub", "--ndjson"], "{\"topic\": \"a\"}\nnonsense\n")
        .await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("line 2"), "{done:?}");
}

#[tokio::test]
async fn many_are_published_at_a_rate_and_in_order() {
    let scene = Scene::new().await;
    let numbers: String = (0..500).map(|n| format!("{n}\n")).collect();
    let done = scene
        .place
        .feed(&["pub", "n", "--lines", "--batch", "64"], &numbers)
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("500 published"), "{done:?}");
    let read = [
        "sub", "n", "--from", "earliest", "--idle", "1s", "--format", "raw",
    ];
    assert_eq!(scene.place.ok(&read).await, numbers);

    let begun = std::time::Instant::now();
    scene
        .place
        .ok(&["pub", "slow", "x", "--count", "11", "--rate", "10"])
        .await;
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn ctrl_c_ends_a_listener_well() {
    let scene = Scene::new().await;
    let mut member = scene
        .place
        .command(&["sub", "a", "--group", "g"])
        .spawn()
        .unwrap();
    said(member.stderr.take().unwrap(), "listening to").await;
    scene.place.ok(&["pub", "a", "one"]).await;
    said(member.stdout.as_mut().unwrap(), "one").await;
    let id = Pid::from_raw(i32::try_from(member.id().unwrap()).unwrap());
    kill(id, Signal::SIGINT).unwrap();
    let status = timeout(Duration::from_secs(20), member.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
    let groups = scene.place.ok(&["groups", "list", "--json"]).await;
    let group: serde_json::Value = serde_json::from_str(&groups).unwrap();
    assert_eq!(
        (&group["lag"], &group["members"]),
        (&0.into(), &0.into()),
        "{groups}"
    );
}

#[tokio::test]
async fn a_replay_ends_and_leaves_nothing_behind() {
    let scene = Scene::new().await;
    scene.place.ok(&["pub", "a.b", "x", "--count", "3"]).await;
    let out = scene.place.ok(&["replay", "a.>", "--format", "raw"]).await;
    assert_eq!(out, "x\nx\nx\n");
    let out = scene.place.ok(&["replay", "a.>", "--into", "c"]).await;
    assert_eq!(out, "3 published to c\n");
    let topics = scene.place.ok(&["topics", "list", "--json"]).await;
    assert!(
        topics.contains("{\"messages\":3,\"topic\":\"c\"}"),
        "{topics}"
    );
    assert_eq!(scene.place.ok(&["groups", "list", "--json"]).await, "");
}
