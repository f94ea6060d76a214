//! The benchmark as a command.

use crate::Scene;

const LITTLE: [&str; 7] = [
    "bench",
    "--only=many in flight",
    "--payload=256",
    "--messages=100",
    "--rounds=1",
    "--plot=ratios.svg",
    "--threads=1",
];

#[tokio::test]
async fn both_sides_are_measured_and_nothing_is_lost() {
    let scene = Scene::new().await;
    let table = scene.place.ok(&LITTLE).await;
    for side in ["bus over redis", "redis, best practice", "redis, plain"] {
        assert!(table.contains(&format!("| {side} ")), "{table}");
    }
    let plot = std::fs::read_to_string(scene.place.path().join("ratios.svg")).unwrap();
    assert!(plot.contains("publish, many in flight"), "{plot}");

    let report = scene.place.ok(&[&LITTLE[..], &["--json"]].concat()).await;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let sides = report["measured"][0]["sides"].as_array().unwrap();
    assert_eq!(sides.len(), 3, "{report}");
    for side in sides {
        assert_eq!((&side["lost"], &side["duplicated"]), (&0.into(), &0.into()));
    }
    assert!(sides[1]["ratio"]["median"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_like_everywhere() {
    let scene = Scene::new().await;
    let away = ["bench", "--url", "redis://localhost:1"];
    let done = scene.place.run(&away).await;
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.err.contains("unavailable"), "{done:?}");
}

#[tokio::test]
async fn shells_and_the_manual_know_it() {
    let scene = Scene::new().await;
    let completions = scene.place.ok(&["completions", "bash"]).await;
    assert!(completions.contains("bench)"), "{completions}");
    scene.place.ok(&["man", "--into", "."]).await;
    let page = std::fs::read_to_string(scene.place.path().join("bus-bench.1")).unwrap();
    assert!(page.contains("raw client"), "{page}");
}
