//! Questions and replies.

use std::time::Duration;

use tokio::time::timeout;

use crate::{Scene, said};

#[tokio::test]
async fn a_question_is_answered() {
    let scene = Scene::new().await;
    let place = &scene.place;
    for (reply, question, expected) in [
        (&["pong"][..], "ping", "pong\n"),
        (&["--echo"], "{\"a\": 1}", "{\"a\":1}\n"),
        (&["--command", "tr a-z A-Z"], "shout", "SHOUT\n"),
    ] {
        let arguments = [&["reply", "asked", "--count", "1"], reply].concat();
        let mut responder = place.command(&arguments).spawn().unwrap();
        said(responder.stderr.take().unwrap(), "answering").await;
        assert_eq!(place.ok(&["request", "asked", question]).await, expected);
        let ended = timeout(Duration::from_secs(20), responder.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn nobody_answers() {
    let scene = Scene::new().await;
    let done = scene
        .place
        .run(&["request", "asked", "x", "--timeout", "1s"])
        .await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.err.contains("bus reply") || done.err.contains("--timeout"),
        "{done:?}"
    );
}
