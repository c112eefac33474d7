//! Streams of dead letters that somebody else made, and that would not keep what they take.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, SubjectTransform};
use tidegate_runtime::config::{DeadLetters, Retry, Workload};

use crate::support::cli::{Ended, run};
use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site, header};
use crate::support::{log, until};

/// A workload whose every failure is the last.
fn once(name: &str) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts: 1, ..workload.retry.clone() }, ..workload }
}

/// A stream for dead letters as the server makes it without other words.
fn letters(name: &str) -> Config {
    Config { name: name.to_owned(), subjects: vec!["tidegate.dead.*".to_owned()], ..Config::default() }
}

/// What `tidegate check --connect` says of a workload on this stream.
async fn check(site: &Site, workload: &str) -> Ended {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let (server, plugins) = (&site.nats.servers[0], site.plugins.path().to_str().unwrap());
    let connection = ["check", "--connect", "--server", server, "--plugins", plugins, "--cache-dir", cache];
    let flags = ["--stream", workload, "--handler", "probe", "--policy", "fixed", "--manage", "create"];
    run([&connection[..], &flags].concat()).await
}

/// A host does not start to work until the stream is mended, so no message is ended without its letter.
async fn waits_until_mended(name: &str, made: Config, problem: &str, remedy: &str) {
    let site = Site::new().await;
    site.js.create_stream(made).await.unwrap();
    site.stream(name, &[&format!("in.{name}.>")]).await;
    for _ in 0..3 {
        site.publish(&format!("in.{name}.a"), "reject me").await;
    }
    check(&site, name).await.failed_with(1, &["--dead-letters: ", problem, remedy]);
    let host = Host::launch(site.clone(), Duration::from_secs(20), vec![once(name)]);
    log::logged(&[&format!("\"{name}\""), problem, remedy]).await;
    assert_eq!(host.consumer(name).await.num_pending, 3);
    host.js.update_stream(letters(DEAD)).await.unwrap();
    host.ready(1).await;
    let kept = host.stored_count(DEAD, 3).await;
    assert!(kept.iter().all(|letter| header(letter, "Tidegate-Reason") == Some("me")));
    host.settled(name).await;
    host.stop().await;
    let ended = check(&site, name).await;
    assert!(!ended.said().contains("for dead letters"), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_keeps_letters_only_for_consumers_is_not_used() {
    let made = Config { retention: RetentionPolicy::Interest, ..letters(DEAD) };
    let remedy = "`nats stream edit TIDEGATE_DEAD --retention=limits`";
    waits_until_mended("interested", made, "it has interest retention", remedy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stores_letters_where_nobody_looks_for_them_is_not_used() {
    let transform = SubjectTransform { source: "tidegate.dead.*".into(), destination: "x.{{wildcard(1)}}".into() };
    let made = Config { subject_transform: Some(transform), ..letters(DEAD) };
    let remedy = "`nats stream edit TIDEGATE_DEAD --no-transform`";
    waits_until_mended("hidden", made, "it maps `tidegate.dead.*` to `x.{{wildcard(1)}}`", remedy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_letters_is_not_to_throw_any_away() {
    let made = Config { max_messages: 2, discard: DiscardPolicy::New, ..letters(DEAD) };
    let site = Site::new().await;
    site.js.create_stream(made).await.unwrap();
    let host = Host::start_at(site, vec![once("full")]).await;
    for _ in 0..3 {
        host.publish("in.full.a", "reject me").await;
    }
    log::logged(&["\"ERROR\"", "\"full\"", "\"dead-letters\"", "`tidegate dead redrive`"]).await;
    assert_eq!(log::count(&["\"full\"", "--discard=old"]), 0);
    host.js.get_stream(DEAD).await.unwrap().purge().await.unwrap();
    host.stored_count(DEAD, 1).await;
    host.settled("full").await;
}

#[tokio::test]
async fn check_warns_of_a_stream_that_takes_small_letters_and_takes_one_that_is_bound_to_more() {
    let site = Site::new().await;
    site.stream("orders", &["orders.>"]).await;
    let subjects = vec!["tidegate.dead.>".to_owned()];
    let made = Config { max_message_size: 200, subjects, ..letters(DEAD) };
    site.js.create_stream(made.clone()).await.unwrap();
    let ended = check(&site, "orders").await;
    let warning = "stream TIDEGATE_DEAD for dead letters: its max_msg_size is 200";
    assert!(ended.code == Some(0) && ended.said().contains(warning), "{}", ended.said());
    site.js.update_stream(Config { max_message_size: -1, ..made }).await.unwrap();
    let ended = check(&site, "orders").await;
    assert!(ended.code == Some(0) && !ended.said().contains("for dead letters"), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_keeps_so_many_letters_of_a_workload_is_not_used() {
    let made = Config { max_messages_per_subject: 1, discard: DiscardPolicy::New, ..letters(DEAD) };
    let remedy = "`nats stream edit TIDEGATE_DEAD --max-msgs-per-subject=-1`";
    waits_until_mended("lastonly", made, "its max_msgs_per_subject is 1", remedy).await;
}

/// Somebody edits the stream while a workload runs: no message is ended without its letter.
async fn is_seen_while_it_runs(name: &str, edit: impl FnOnce(Config) -> Config, problem: &str, remedy: &str) {
    let host = Host::launch(Site::new().await, Duration::from_secs(20), vec![once(name)]);
    host.ready(1).await;
    let made = host.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    host.js.update_stream(edit(made.clone())).await.unwrap();
    for _ in 0..3 {
        host.publish(&format!("in.{name}.a"), "reject me").await;
    }
    log::logged(&[&format!("\"{name}\""), problem, remedy]).await;
    host.unsettled(name, 3).await;
    assert_eq!(host.stored(DEAD).await.len(), 0);
    host.js.update_stream(made).await.unwrap();
    host.stored_count(DEAD, 3).await;
    host.settled(name).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_edited_to_keep_letters_only_for_consumers_takes_none() {
    let edit = |made| Config { retention: RetentionPolicy::Interest, ..made };
    let remedy = "`nats stream edit TIDEGATE_DEAD --retention=limits`";
    is_seen_while_it_runs("nowinterested", edit, "it has interest retention", remedy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_edited_to_keep_the_last_letter_of_a_workload_takes_none() {
    let edit = |made| Config { max_messages_per_subject: 1, discard: DiscardPolicy::Old, ..made };
    let remedy = "`nats stream edit TIDEGATE_DEAD --max-msgs-per-subject=-1`";
    is_seen_while_it_runs("nowlastonly", edit, "its max_msgs_per_subject is 1", remedy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_full_stream_forgets_its_oldest_letters_is_told_once() {
    let site = Site::new().await;
    let made = Config { max_messages: 2, discard: DiscardPolicy::Old, ..letters("FORGETFUL") };
    site.js.create_stream(made).await.unwrap();
    let dead_letters = DeadLetters { stream: "FORGETFUL".into(), ..DeadLetters::default() };
    let all = vec![once("oldone"), once("oldtwo")];
    let host = Host::start_letters(site.clone(), dead_letters, all).await;
    let said = ["FORGETFUL", "the oldest letters are deleted when it is full", "edit FORGETFUL --discard=new`"];
    log::logged(&[&["WARN"], &said[..]].concat()).await;
    assert_eq!(log::count(&said), 1);
    // The owner wants it so, so it is used.
    for _ in 0..3 {
        host.publish("in.oldone.a", "reject me").await;
    }
    host.settled("oldone").await;
    let full = async || (host.js.get_stream("FORGETFUL").await.ok()?.cached_info().state.messages == 2).then_some(());
    until("the stream has the last two letters", full).await;
    host.stop().await;
}

#[tokio::test]
async fn check_warns_of_a_stream_that_forgets_its_oldest_letters() {
    let site = Site::new().await;
    site.stream("orders", &["orders.>"]).await;
    let made = Config { max_bytes: 1 << 20, discard: DiscardPolicy::Old, ..letters(DEAD) };
    site.js.create_stream(made.clone()).await.unwrap();
    let ended = check(&site, "orders").await;
    let warning = "stream TIDEGATE_DEAD for dead letters: its max_bytes is 1048576 with discard policy `old`";
    assert!(ended.code == Some(0) && ended.said().contains(warning), "{}", ended.said());
    site.js.update_stream(Config { discard: DiscardPolicy::New, ..made }).await.unwrap();
    let ended = check(&site, "orders").await;
    assert!(ended.code == Some(0) && !ended.said().contains("for dead letters"), "{}", ended.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_that_takes_the_letters_is_to_be_named_or_to_give_them_up() {
    let site = Site::new().await;
    site.js.create_stream(letters("TAKER")).await.unwrap();
    site.stream("elsewhere", &["in.elsewhere.>"]).await;
    let problem = "stream TAKER takes `tidegate.dead.*` already";
    check(&site, "elsewhere").await.failed_with(1, &[problem, "; name that stream, or give its subjects up"]);
    let host = Host::launch(site.clone(), Duration::from_secs(20), vec![once("elsewhere")]);
    log::logged(&["\"elsewhere\"", "name that one in dead-letters.stream, or give its subjects up"]).await;
    host.js.delete_stream("TAKER").await.unwrap();
    host.ready(1).await;
    host.stop().await;
}
