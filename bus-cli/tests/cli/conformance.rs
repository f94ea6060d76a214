//! The suite against a URL.

use crate::Scene;

#[tokio::test]
async fn cases_run_and_are_reported() {
    let scene = Scene::new().await;
    let table = scene.place.ok(&["conformance", "--filter", "p3_"]).await;
    assert!(table.starts_with("| clause | redis | cases |"), "{table}");
    assert!(
        table.contains("| P3 | ") && table.contains(" passed |"),
        "{table}"
    );
    let arguments = [
        "conformance",
        "--filter",
        "p3_",
        "--format",
        "junit",
        "--output",
        "r.xml",
    ];
    assert_eq!(scene.place.ok(&arguments).await, "");
    let report = std::fs::read_to_string(scene.place.path().join("r.xml")).unwrap();
    assert!(report.contains("<testsuite name=\"redis\"") && report.contains("failures=\"0\""));
    let none = scene
        .place
        .run(&["conformance", "--filter", "no_such_case"])
        .await;
    assert_eq!(none.code, Some(1), "{none:?}");
}
