//! `tidegate check --connect` as a user whose permissions a server enforces.

use serde_json::{Value, json};

use super::permissions::{inbox, needed, site, text, without};
use crate::support::cli::run;
use crate::support::site::Site;

/// What it answers, of two workloads that make their streams.
async fn answer(site: &Site, name: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.toml");
    let plugins = site.plugins.path().to_str().unwrap();
    let text = format!("plugins.dir = \"{plugins}\"\n{}", text(name, "create"));
    std::fs::write(&path, text).unwrap();
    let (server, cache) = (site.nats.servers[0].as_str(), concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache"));
    let way = ["--server", server, "--user", "host", "--password", "some", "--output", "json", "--cache-dir", cache];
    let ended = run(["check", "--connect", "--config", path.to_str().unwrap()].iter().chain(&way)).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

#[tokio::test]
async fn a_user_that_may_do_just_enough_passes_and_what_it_may_not_ask_is_told() {
    let site = site(&needed(&text("least", "create")).to_string(), Some(&inbox("least"))).await;
    let answer = answer(&site, "least").await;
    assert_eq!((&answer["ok"], &answer["problems"]), (&json!(true), &json!([])), "{answer}");
    let unchecked = answer["servers"]["unchecked"].to_string();
    for subject in ["$JS.API.STREAM.NAMES", "$SYS.REQ.USER.INFO"] {
        assert!(unchecked.contains(&format!("may not publish to `{subject}`")), "{answer}");
    }
}

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    let needed = needed(&text("lacks", "create"));
    let subjects = [
        "$JS.ACK.lacks-i.lacks-i-workers.>",
        "$JS.API.CONSUMER.CREATE.lacks-i.lacks-i-workers",
        "$JS.API.STREAM.INFO.lacks-h",
        "$JS.API.STREAM.CREATE.TIDEGATE_DEAD",
    ];
    for subject in subjects {
        let site = site(&without(&needed, subject), Some(&inbox("lacks"))).await;
        let answer = answer(&site, "lacks").await;
        let problems = answer["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "without {subject}: {answer}");
        assert!(problems[0].as_str().unwrap().contains(&format!("allow it to publish to `{subject}`")), "{answer}");
    }
}

#[tokio::test]
async fn who_may_ask_is_told_of_every_subject() {
    let mut needed = needed(&text("told", "create"));
    for subject in ["out.>", "tidegate.dead.told-i"] {
        assert!(needed.publish.remove(subject).is_some());
    }
    for subject in ["$SYS.REQ.USER.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.OUT", "$JS.API.INFO", "out.a"] {
        needed.publish.insert(subject.to_owned(), String::new());
    }
    let site = site(&needed.to_string(), Some(&inbox("told"))).await;
    site.stream("OUT", &["out.>"]).await;
    let answer = answer(&site, "told").await;
    let problems = answer["problems"].to_string();
    assert_eq!(
        (answer["problems"].as_array().unwrap().len(), &answer["servers"]["unchecked"]),
        (2, &json!([])),
        "{answer}"
    );
    for subject in ["out.>", "tidegate.dead.told-i"] {
        assert!(problems.contains(&format!("does not let this user publish to all of `{subject}`")), "{answer}");
    }
}

#[tokio::test]
async fn a_user_that_hears_no_answers_is_told_so_at_once() {
    let needed = needed(&text("deaf", "create"));
    let site = site(&without(&needed, "_INBOX_deaf.>"), Some(&inbox("deaf"))).await;
    let answer = answer(&site, "deaf").await;
    let problems = answer["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|problem| problem.as_str().unwrap().contains("subscribe to `_INBOX_deaf.>`")),
        "{answer}"
    );
}
