//! `tidegate dead`, as a user runs it.

mod list;
mod purge;
mod redrive;
mod resume;
mod show;

use std::process::Output;
use std::sync::Arc;

use async_nats::jetstream::stream::{Config, RetentionPolicy, SubjectTransform};
use async_nats::{HeaderMap, Message};
use serde_json::Value;
use tidegate_nats_server::ServerOptions;
use tidegate_runtime::config::{Retry, Workload};

use crate::support::cli::{Ended, run, tidegate};
use crate::support::host::workload;
use crate::support::site::{DEAD, Site};

/// A workload whose every failure is the last.
fn once(name: &str) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts: 1, ..workload.retry.clone() }, ..workload }
}

fn arguments<'a>(site: &'a Site, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["dead"];
    all.extend(more);
    all.extend(["--server", &site.nats.servers[0]]);
    all
}

/// Runs `tidegate dead ...` to its end.
async fn dead(site: &Site, more: &[&str]) -> Ended {
    run(arguments(site, more)).await
}

/// The same, for what it writes that may be no text.
async fn dead_bytes(site: &Site, more: &[&str]) -> Output {
    tidegate(arguments(site, more)).output().await.unwrap()
}

/// The same with `--output json`, and what it answers.
async fn dead_json(site: &Site, more: &[&str]) -> Value {
    let ended = dead(site, &[more, &["--output", "json"]].concat()).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

/// The sequences that `tidegate dead list` gives, the oldest first.
async fn listed(site: &Site, more: &[&str]) -> Vec<u64> {
    let list = dead_json(site, &[&["list", "--oldest"], more].concat()).await;
    list.as_array().unwrap().iter().map(|letter| letter["sequence"].as_u64().unwrap()).collect()
}

/// A stream of dead letters with so many letters of workload `orders`, and the stream ORDERS for them to return to,
/// without a host.
async fn letters(site: &Site, count: usize) {
    site.stream("ORDERS", &["orders.>"]).await;
    let transform = SubjectTransform { source: "tidegate.dead.*".into(), destination: "{{wildcard(1)}}.dead".into() };
    let subjects = vec![transform.source.clone()];
    let config = Config { name: DEAD.into(), subjects, subject_transform: Some(transform), ..Config::default() };
    // One that is there already is taken as it is.
    site.js.get_or_create_stream(config).await.unwrap();
    let mut stored = Vec::new();
    for number in 1..=count {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Tidegate-Subject", "orders.new"),
            ("Tidegate-Stream", "ORDERS"),
            ("Tidegate-Sequence", &number.to_string()),
            ("Tidegate-Cause", "rejected"),
            ("Tidegate-Reason", "no"),
        ] {
            headers.insert(name, value);
        }
        stored.push(
            site.js.publish_with_headers("tidegate.dead.orders", headers, number.to_string().into()).await.unwrap(),
        );
        if number % 1000 == 0 {
            for ack in stored.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    for ack in stored {
        ack.await.unwrap();
    }
}

#[tokio::test]
async fn letters_in_a_work_queue_are_listed_redriven_and_deleted_as_all_others() {
    let site = Site::new().await;
    let queue = Config {
        name: DEAD.into(),
        subjects: vec!["tidegate.dead.*".into()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    site.js.create_stream(queue).await.unwrap();
    letters(&site, 4).await;
    assert_eq!(listed(&site, &[]).await, [1, 2, 3, 4]);
    assert_eq!(listed(&site, &["--workload", "orders"]).await, [1, 2, 3, 4]);
    assert_eq!(listed(&site, &["--workload", "orders", "--since", "1h"]).await, [1, 2, 3, 4]);
    assert_eq!(dead(&site, &["redrive", "2"]).await.stdout, "redrove 1 of 1 dead letter\n");
    assert_eq!(site.stored("ORDERS").await[0].payload, "2");
    let ended = dead(&site, &["purge", "--workload", "orders", "--yes"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "deleted 3 of 3 dead letters\n"), "{}", ended.stderr);
    assert_eq!(site.js.get_stream(DEAD).await.unwrap().cached_info().state.messages, 0);
}

/// A site where user `shy` (password `p`) may delete nothing, and who gives no name may do all.
async fn guarded() -> Arc<Site> {
    let config = r#"
        no_auth_user: all
        authorization { users: [
            { user: all, password: p }
            { user: shy, password: p, permissions: {
                publish: { deny: ["$JS.API.STREAM.MSG.DELETE.>", "$JS.API.STREAM.PURGE.>"] }
            } }
        ] }
    "#;
    Site::with(ServerOptions { config: config.into(), ..ServerOptions::default() }).await
}

/// All values of a header.
fn values<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    message.headers.iter().flat_map(|headers| headers.get_all(name)).map(|value| value.as_str()).collect()
}

#[tokio::test]
async fn every_dead_command_has_a_help_with_its_exit_codes_and_an_example() {
    for (command, codes) in [
        ("list", &["0: listed", "1: they cannot be read", "2: wrong usage"][..]),
        ("show", &["0: shown", "1: one of them is not there"]),
        (
            "redrive",
            &["0: all that matched are stored again, if any did", "1: some are not and stay", "2: wrong usage"],
        ),
        ("purge", &["0: those that matched are gone", "1: some are not", "2: wrong usage: nothing says which"]),
    ] {
        let help = run(["dead", command, "--help"]).await;
        let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let example = format!("Examples: tidegate dead {command}");
        for part in codes.iter().copied().chain([example.as_str(), "--dead-letters <STREAM>", "--server <URL>"]) {
            assert!(text.contains(part), "no `{part}` in\n{}", help.stdout);
        }
    }
    let help = run(["dead", "--help"]).await;
    for part in
        ["Lists dead letters", "Shows dead letters whole", "Publishes dead letters again", "Deletes dead letters"]
    {
        assert!(help.stdout.contains(part), "no `{part}` in\n{}", help.stdout);
    }
}

#[tokio::test]
async fn every_dead_command_ends_where_there_is_no_stream_and_where_it_is_empty() {
    let site = Site::new().await;
    let commands: [&[&str]; 6] = [
        &["list"],
        &["show", "1"],
        &["redrive", "--all"],
        &["redrive", "1"],
        &["purge", "--all", "--yes"],
        &["purge", "--workload", "orders", "--yes"],
    ];
    for command in commands {
        dead(&site, command).await.failed_with(1, &["there are no dead letters: stream TIDEGATE_DEAD is not there"]);
    }
    letters(&site, 0).await;
    for command in commands {
        let ended = dead(&site, command).await;
        let named = command.contains(&"1");
        assert_eq!(ended.code, Some(i32::from(named)), "{command:?}: {}", ended.said());
        let said = match command {
            _ if named => "there is no dead letter 1 in TIDEGATE_DEAD",
            ["purge", "--workload", ..] => "workload orders has no dead letters in TIDEGATE_DEAD",
            _ => "no dead letter in TIDEGATE_DEAD matches",
        };
        assert!(ended.stderr.contains(said), "{command:?}: {}", ended.said());
    }
}
