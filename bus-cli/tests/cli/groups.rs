//! Groups and topics.

use crate::Scene;

#[tokio::test]
async fn groups_are_listed_reset_and_removed() {
    let scene = Scene::new().await;
    let place = &scene.place;
    place.ok(&["pub", "a.b", "x", "--count", "5"]).await;
    let take = [
        "sub", "a.>", "--group", "g", "--from", "earliest", "--count", "2", "--format", "raw",
    ];
    assert_eq!(place.ok(&take).await, "x\nx\n");
    let table = place.ok(&["groups", "list"]).await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["g", "a.>", "unattended", "0", "3"], "{table}");
    let shown = place.ok(&["groups", "show", "g", "--json"]).await;
    assert!(
        shown.contains("\"lag\":3") && shown.contains("\"dead_letters\":0"),
        "{shown}"
    );

    let asked = place.run(&["groups", "reset", "g", "--to", "latest"]).await;
    assert!(
        asked.code == Some(1) && asked.err.contains("--yes"),
        "{asked:?}"
    );
    let dry = place
        .ok(&["groups", "reset", "g", "--to", "latest", "--dry-run"])
        .await;
    assert_eq!(dry, "g on a.> would be moved\n");
    place
        .ok(&["groups", "reset", "g", "--to", "earliest", "--yes"])
        .await;
    assert!(
        place
            .ok(&["groups", "list", "--json"])
            .await
            .contains("\"lag\":5")
    );
    place
        .ok(&["groups", "reset", "g", "--to", "latest", "--yes"])
        .await;
    assert!(
        place
            .ok(&["groups", "list", "--json"])
            .await
            .contains("\"lag\":0")
    );

    let other = place
        .run(&["groups", "rm", "g", "--pattern", "b", "--yes"])
        .await;
    assert_eq!(other.code, Some(6), "{other:?}");
    place.ok(&["groups", "rm", "g", "--yes"]).await;
    assert_eq!(place.ok(&["groups", "list", "--json"]).await, "");
}

#[tokio::test]
async fn a_group_with_members_is_changed_by_force_only() {
    let scene = Scene::new().await;
    let bus = bus::connect(&scene.url).await.unwrap();
    let member = bus.subscribe::<bus::Raw>("g").pattern("a").await.unwrap();
    let refused = scene.place.run(&["groups", "rm", "g", "--yes"]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    scene
        .place
        .ok(&["groups", "rm", "g", "--yes", "--force"])
        .await;
    drop(member);
}

#[tokio::test]
async fn a_paused_group_hands_out_nothing_until_it_goes_on() {
    let scene = Scene::new().await;
    let place = &scene.place;
    let bus = bus::connect(&scene.url).await.unwrap();
    let mut member = bus.subscribe::<bus::Raw>("g").pattern("a.>").await.unwrap();
    let other = bus.subscribe::<bus::Raw>("g").pattern("b").await.unwrap();
    let said = place
        .ok(&["groups", "pause", "g", "--pattern", "a.>", "--json"])
        .await;
    assert_eq!(
        said,
        "{\"group\":\"g\",\"pattern\":\"a.>\",\"paused\":true}\n"
    );
    let table = place.ok(&["groups", "list"]).await;
    let states: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|row| row.split_whitespace().nth(2))
        .collect();
    assert_eq!(states, ["paused", "active"], "{table}");
    // The member's process has had its time to hear of it.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    place.ok(&["pub", "a.b", "x"]).await;
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(500), member.next()).await;
    assert!(quiet.is_err(), "a paused member was handed something");
    assert_eq!(
        place.ok(&["groups", "resume", "g"]).await,
        "g on a.> resumed\ng on b resumed\n"
    );
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), member.next()).await;
    next.unwrap().unwrap().unwrap().ack().await.unwrap();
    let unknown = place.run(&["groups", "pause", "nobody"]).await;
    assert_eq!(unknown.code, Some(6), "{unknown:?}");
    drop(other);
}

#[tokio::test]
async fn topics_are_listed_and_added() {
    let scene = Scene::new().await;
    scene.place.ok(&["topics", "add", "foreign.log"]).await;
    scene.place.ok(&["pub", "a.b", "x"]).await;
    let table = scene.place.ok(&["topics", "list"]).await;
    assert_eq!(table.lines().count(), 3, "{table}");
    let some = scene.place.ok(&["topics", "list", "a.>", "--json"]).await;
    assert_eq!(some, "{\"messages\":1,\"topic\":\"a.b\"}\n");
}
