//! What is in force.

use serde_json::Value;

use crate::Scene;

#[tokio::test]
async fn it_says_what_is_in_force_and_from_where() {
    let scene = Scene::new().await;
    let place = &scene.place;
    std::fs::write(
        place.path().join("bus.toml"),
        "[bus]\nwindow = 7\n[memory]\nmax_payload = '1MiB'\n[workers.mail]\ntimeout = '5s'\n",
    )
    .unwrap();
    let out = place
        .ok(&["doctor", "--json", "--set", "redis.database=3"])
        .await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["status"], "up", "{out}");
    let from = |key: &str| {
        let values = report["configuration"].as_array().unwrap().iter();
        let mut found = values.filter(|value| value["key"] == key);
        found.next().unwrap()["from"].as_str().unwrap().to_owned()
    };
    assert_eq!(from("bus.window"), "bus.toml");
    assert_eq!(from("bus.namespace"), "BUS_URL");
    assert_eq!(from("bus.window_bytes"), "default");
    assert_eq!(from("redis.database"), "code");
    assert_eq!(
        from("memory.max_payload"),
        "bus.toml, not for this transport"
    );
    let text = place.ok(&["doctor"]).await;
    for part in [
        "redis is up",
        "not protected",
        "workers.mail.timeout",
        "max_payload: 1048576 bytes",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
