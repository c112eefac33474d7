//! The demo, whole.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::{Ended, Running, run, tidegate};

async fn demo(flags: &[&str]) -> Ended {
    run(["demo", "--timeout", "30s"].iter().chain(flags)).await
}

/// What holds after every demo in which all went well.
fn assert_all_replied(object: &Value, requests: u64) {
    let handled: u64 =
        object["workers"].as_array().unwrap().iter().map(|worker| worker["handled"].as_u64().unwrap()).sum();
    assert_eq!(object["sent"], requests);
    assert_eq!(object["replied"], requests);
    assert_eq!(object["handled"], handled);
    assert!(handled >= requests, "{object}");
    assert_eq!(object["lost"], 0);
    assert_eq!(object["dead"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_scales_up_and_down_again_and_loses_nothing() {
    for source in ["headers", "info"] {
        let flags = ["--requests", "200", "--pause", "0s", "--output", "json", "--source", source];
        let ended = demo(&flags).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        let object: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_all_replied(&object, 400);
        assert_eq!(object["batches"].as_array().unwrap().len(), 2);
        let scalings = object["scalings"].as_array().unwrap();
        assert_eq!(scalings.first().unwrap()["from"], 0, "{source}: {object}");
        assert_eq!(scalings.last().unwrap()["to"], 0, "{source}: {object}");
        assert!(object["peak_workers"].as_u64().unwrap() >= 1, "{source}: {object}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_writes_a_picture_and_a_summary_for_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("demo.svg");
    let flags = ["--requests", "100", "--batches", "1", "--pause", "0s", "--concurrency", "8", "--plot"];
    let flags: Vec<&str> = flags.into_iter().chain([file.to_str().unwrap()]).collect();
    let ended = demo(&flags).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let text = ended.stdout;
    assert!(text.contains("sent 100   replied 100") && text.contains("nothing was lost"), "{text}");
    assert!(std::fs::read_to_string(file).unwrap().starts_with("<svg"));
}

#[tokio::test]
async fn a_demo_of_a_handler_that_is_not_there_says_which_there_are() {
    demo(&["--handler", "nothing"])
        .await
        .failed_with(1, &["no plugin `nothing`", "drain, echo, fan-out, fetch, fetch-async, fixed"]);
}

#[tokio::test]
async fn a_demo_that_is_interrupted_ends() {
    let mut demo = Running::start(tidegate(["demo", "--pause", "1h"]));
    demo.line_with("worker").await;
    demo.signal(Signal::TERM);
    let ended = demo.end().await;
    ended.failed_with(1, &["interrupted"]);
    // Its server ends when nobody is left who would miss it.
    assert!(!ended.stderr.contains("lost the NATS server"), "{}", ended.stderr);
}
