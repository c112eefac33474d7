use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use super::{arguments, dead, letters};
use crate::support::cli::{Running, tidegate};
use crate::support::site::{DEAD, Site, text};
use crate::support::until;

const COUNT: usize = 3000;

/// Starts a redrive that would take long, and awaits that some letters are stored again.
async fn under_way(site: &Site) -> Running {
    let before = site.js.get_stream("ORDERS").await.unwrap().cached_info().state.messages;
    let running = Running::start(tidegate(arguments(site, &["redrive", "--all", "--rate", "400", "--output", "json"])));
    until("some are stored again", async || {
        (site.js.get_stream("ORDERS").await.ok()?.cached_info().state.messages > before + 50).then_some(())
    })
    .await;
    running
}

/// All are stored again, and each once.
async fn complete(site: &Site) {
    let again = site.stored("ORDERS").await;
    let payloads: BTreeSet<&str> = again.iter().map(text).collect();
    assert_eq!((again.len(), payloads.len()), (COUNT, COUNT));
    assert!(site.stored(DEAD).await.is_empty());
}

#[tokio::test]
async fn a_redrive_that_is_killed_can_be_run_again_and_stores_each_letter_once() {
    let site = Site::new().await;
    letters(&site, COUNT).await;
    for _ in 0..2 {
        let running = under_way(&site).await;
        running.signal(Signal::KILL);
        running.end().await;
    }
    let left = site.stored(DEAD).await.len();
    assert!(left > 0, "it was killed after the last letter: the test shows nothing");
    let ended = dead(&site, &["redrive", "--all"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    complete(&site).await;
}

#[tokio::test]
async fn a_redrive_that_is_interrupted_ends_between_two_letters_and_says_how_far_it_came() {
    let site = Site::new().await;
    letters(&site, COUNT).await;
    let running = under_way(&site).await;
    running.signal(Signal::TERM);
    let ended = running.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    let counts: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(counts["interrupted"], true);
    assert_eq!(counts["redriven"].as_u64().unwrap(), site.stored("ORDERS").await.len() as u64);
    assert_eq!(counts["removed"], counts["redriven"]);
    assert_eq!(dead(&site, &["redrive", "--all"]).await.code, Some(0));
    complete(&site).await;
}
