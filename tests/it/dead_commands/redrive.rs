use async_nats::jetstream::stream::{Config, Republish, Source, SubjectTransform};
use serde_json::json;

use super::{dead, dead_json, guarded, letters, listed, once, values};
use crate::support::host::Host;
use crate::support::site::{DEAD, Site, text};

#[tokio::test(flavor = "multi_thread")]
async fn payload_and_headers_come_back_and_what_the_server_acts_upon_does_nothing() {
    let host = Host::start(vec![once("work")]).await;
    let payload: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let headers = [
        ("Tint", "blue: sky"),
        ("Tint", "grün"),
        ("tint", "another"),
        ("X-Empty", ""),
        ("Nats-Msg-Id", "order-7"),
        ("Nats-Reply", "_INBOX.gone.7"),
        ("Nats-Expected-Stream", "work"),
        ("Nats-Expected-Last-Sequence", "0"),
        ("Tidegate-Reason", "mine"),
        ("Tidegate-Hops", "2 one two"),
        ("Tidegate-Original-Tint", "mine too"),
    ];
    host.publish_with("in.work.a", &headers, payload.clone()).await;
    host.stored_count(DEAD, 1).await;
    let (site, _) = host.stop().await;
    let counts = dead_json(&site, &["redrive", "--all"]).await;
    assert_eq!((&counts["matched"], &counts["redriven"], &counts["removed"]), (&json!(1), &json!(1), &json!(1)));
    assert!(site.stored(DEAD).await.is_empty());
    let again = &site.stored_count("work", 2).await[1];
    // Servers before 2.12 do not let a mirror have a message with this header, so there the taker is asked for first.
    let expected_stream: &[&str] = if site.client.is_server_compatible(2, 12, 0) { &["work"] } else { &[] };
    assert_eq!((again.subject.as_str(), &again.payload[..]), ("in.work.a", &payload[..]));
    for (name, expected) in [
        ("Tint", &["blue: sky", "grün"][..]),
        ("tint", &["another"]),
        ("X-Empty", &[""]),
        ("Nats-Reply", &["_INBOX.gone.7"]),
        ("Nats-Expected-Stream", expected_stream),
        ("Nats-Expected-Last-Sequence", &[]),
        ("Tidegate-Reason", &["mine"]),
        ("Tidegate-Hops", &[]),
        ("Tidegate-Original-Tidegate-Hops", &["2 one two"]),
        ("Tidegate-Original-Nats-Msg-Id", &["order-7"]),
        ("Tidegate-Original-Nats-Expected-Stream", &["work"]),
        ("Tidegate-Original-Nats-Expected-Last-Sequence", &["0"]),
        ("Tidegate-Original-Tidegate-Original-Tint", &["mine too"]),
        ("Tidegate-Redrives", &["1"]),
        ("Tidegate-Cause", &[]),
    ] {
        assert_eq!(values(again, name), expected, "{name}");
    }
    assert!(values(again, "Nats-Msg-Id")[0].starts_with("redrive:work:1:1@"), "{again:?}");
    assert_eq!(again.headers.as_ref().unwrap().len(), 12 + expected_stream.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_again_is_a_letter_of_its_own_with_the_headers_of_the_first() {
    let host = Host::start(vec![once("work")]).await;
    host.publish_with("in.work.a", &[("Nats-Msg-Id", "order-7"), ("Tint", "blue")], "reject never").await;
    let first = dead_json(&host, &["show", "1"]);
    host.stored_count(DEAD, 1).await;
    let first = first.await[0].clone();
    for time in 1..=3_u64 {
        let ended = dead(&host, &["redrive", &time.to_string()]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        assert_eq!(ended.stdout, "redrove 1 of 1 dead letter\n");
        host.stored_count(DEAD, 1).await;
        let again = dead_json(&host, &["show", &(time + 1).to_string()]).await[0].clone();
        let mut headers: Vec<String> =
            again["headers"].as_array().unwrap().iter().map(|pair| pair.to_string()).collect();
        headers.sort();
        assert_eq!(headers, [r#"["Nats-Msg-Id","order-7"]"#, r#"["Tint","blue"]"#]);
        assert_eq!((&again["redrives"], &again["stream_sequence"]), (&json!(time), &json!(time + 1)));
        assert_eq!(again["first"], json!({ "stream": "work", "stream_sequence": 1 }));
        assert_eq!(again["payload"], first["payload"]);
        // As many as the first, and two that say where it comes from.
        let count = |letter: &serde_json::Value| letter["stored_headers"].as_array().unwrap().len();
        assert_eq!(count(&again), count(&first) + 2);
    }
    let last = &host.stored("work").await[3];
    assert!(values(last, "Nats-Msg-Id")[0].starts_with("redrive:work:1:3@"), "{last:?}");
    host.settled("work").await;
}

#[tokio::test]
async fn a_letter_that_is_kept_is_stored_once_within_the_duplicate_window() {
    let site = Site::new().await;
    letters(&site, 3).await;
    let ended = dead(&site, &["redrive", "--all", "--keep", "--rate", "1000"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "redrove 3 of 3 dead letters; all are kept\n"));
    let ended = dead(&site, &["redrive", "--all", "--keep"]).await;
    assert_eq!(ended.stdout, "redrove 3 of 3 dead letters; 3 had been stored again before; all are kept\n");
    assert_eq!(site.stored("ORDERS").await.len(), 3);
    assert_eq!(listed(&site, &[]).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_letter_with_the_number_of_one_that_was_redriven_is_stored_again_and_not_taken_for_it() {
    let site = Site::new().await;
    for time in 1..=2 {
        // A stream of dead letters that is made anew counts from 1 again.
        letters(&site, 1).await;
        let ended = dead(&site, &["redrive", "--all"]).await;
        assert_eq!(ended.stdout, "redrove 1 of 1 dead letter\n", "{}", ended.said());
        assert_eq!(site.stored("ORDERS").await.len(), time);
        site.js.delete_stream(DEAD).await.unwrap();
    }
}

#[tokio::test]
async fn a_dry_run_publishes_nothing_and_sequences_say_which() {
    let site = Site::new().await;
    letters(&site, 5).await;
    let ended = dead(&site, &["redrive", "--dry-run", "--since", "1h"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "would redrive 5 dead letters\n"));
    assert!(site.stored("ORDERS").await.is_empty());
    let some = dead(&site, &["redrive", "4", "2", "4", "99"]).await;
    some.failed_with(1, &["redrove 2 of 2 dead letters", "there is no dead letter 99 in TIDEGATE_DEAD"]);
    let mut again: Vec<String> = site.stored("ORDERS").await.iter().map(|message| text(message).to_owned()).collect();
    again.sort();
    assert_eq!(again, ["2", "4"]);
    assert_eq!(listed(&site, &[]).await, [1, 3, 5]);
}

#[tokio::test]
async fn a_letter_that_no_stream_takes_stays_and_says_so() {
    let site = Site::new().await;
    letters(&site, 2).await;
    let orders = site.js.get_stream("ORDERS").await.unwrap().cached_info().config.clone();
    site.js.update_stream(Config { subjects: vec!["orders.old".into()], ..orders.clone() }).await.unwrap();
    let ended = dead(&site, &["redrive", "--all"]).await;
    let error = "no stream takes `orders.new` now: create one with this subject";
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("dead letter 2 stays: {error}")), "{}", ended.stderr);
    assert_eq!(ended.stdout, "redrove 0 of 2 dead letters; 2 failed and stay\n");
    let counts = dead_json(&site, &["redrive", "1"]).await;
    assert_eq!(counts["errors"], json!([{ "sequence": 1, "error": error }]));
    assert_eq!(listed(&site, &[]).await, [1, 2]);
    site.js.update_stream(orders).await.unwrap();
    assert_eq!(dead(&site, &["redrive", "--all"]).await.code, Some(0));
    assert_eq!(site.stored("ORDERS").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_for_one_message_is_kept_in_two_and_comes_back_whole() {
    let host = Host::start(vec![once("work")]).await;
    // What is no script is rejected. The last leaves no room for a single byte.
    let sizes = [1_048_300, 1_048_576];
    for size in sizes {
        host.publish_with("in.work.a", &[], vec![0xff; size]).await;
    }
    // A stream stores no more than 65,535 bytes of headers.
    let long = "x".repeat(65_400);
    host.publish_with("in.work.a", &[("Long", &long), ("Nats-Msg-Id", "one")], vec![0xff; 1000]).await;
    host.settled("work").await;
    assert_eq!(host.stored(DEAD).await.len(), 6);
    let (site, _) = host.stop().await;
    let list = dead_json(&site, &["list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert!(!dead(&site, &["list"]).await.stderr.contains("no dead letters"));
    let mut sequences = Vec::new();
    for (letter, size) in list.as_array().unwrap().iter().rev().zip([sizes[0], sizes[1], 1000]) {
        // The message that names the other one has room for the reason.
        assert!(letter["reason"].as_str().unwrap().starts_with("not text"), "{letter}");
        let sequence = letter["sequence"].to_string();
        let payload = super::dead_bytes(&site, &["show", &sequence, "--payload"]).await.stdout;
        assert!(payload == vec![0xff; size], "{} bytes", payload.len());
        sequences.push(sequence);
    }
    assert_eq!(
        dead_json(&site, &["show", &sequences[2]]).await[0]["headers"][0][1].as_str().unwrap().len(),
        long.len()
    );

    let ended = dead(&site, &["redrive", "--all"]).await;
    assert_eq!(ended.stdout, "redrove 2 of 3 dead letters; 1 failed and stay\n", "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("dead letter {} stays: with the headers that name it", sequences[1])));
    let again = site.stored("work").await;
    assert_eq!(again.len(), 5);
    assert!(again[3..].iter().any(|message| message.payload == vec![0xff; sizes[0]]));
    assert!(
        again[3..].iter().any(|message| values(message, "Long") == [long.as_str()] && message.payload.len() == 1000)
    );
    assert_eq!(site.stored(DEAD).await.len(), 2);
    assert_eq!(dead(&site, &["purge", &sequences[1], "--yes"]).await.stdout, "deleted 1 of 1 dead letter\n");
    assert!(site.stored(DEAD).await.is_empty());
}

#[tokio::test]
async fn letters_that_are_sent_back_have_to_be_named() {
    let site = Site::new().await;
    letters(&site, 2).await;
    for dry_run in [&["redrive"][..], &["redrive", "--dry-run"]] {
        dead(&site, dry_run).await.failed_with(2, &["nothing says which dead letters to send back", "--all"]);
    }
    dead(&site, &["redrive", "--all", "1"]).await.failed_with(2, &["leave out the filter and the sequences"]);
    assert!(site.stored("ORDERS").await.is_empty());
    assert_eq!(listed(&site, &[]).await, [1, 2]);
}

#[tokio::test]
async fn a_redrive_that_matches_nothing_ends_and_says_so() {
    let site = Site::new().await;
    letters(&site, 2).await;
    let none = dead(&site, &["redrive", "--reason", "no such reason"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), "redrove 0 of 0 dead letters\n"));
    assert!(none.stderr.contains("no dead letter in TIDEGATE_DEAD matches"), "{}", none.stderr);
    let misspelt = dead(&site, &["redrive", "--workload", "order"]).await;
    assert!(misspelt.stderr.contains("did you mean orders?"), "{}", misspelt.stderr);
}

/// A letter of workload `orders` whose message died in `stream`.
async fn letter_of(site: &Site, stream: &str, subject: &str) {
    let headers = [
        ("Tidegate-Subject", subject),
        ("Tidegate-Stream", stream),
        ("Tidegate-Sequence", "1"),
        ("Tidegate-Cause", "time"),
    ];
    site.publish_with("tidegate.dead.orders", &headers, "x").await;
}

#[tokio::test]
async fn a_letter_whose_subject_leads_to_another_stream_stays_and_both_are_named() {
    let site = Site::new().await;
    letters(&site, 0).await;
    let transform = SubjectTransform { source: "t.*".into(), destination: "u.{{wildcard(1)}}".into() };
    let subjects = vec!["t.*".to_owned()];
    let config = Config { name: "IN".into(), subjects, subject_transform: Some(transform), ..Config::default() };
    site.js.create_stream(config).await.unwrap();
    site.stream("OTHER", &["u.>"]).await;
    letter_of(&site, "IN", "u.a").await;
    letter_of(&site, "GONE", "u.a").await;
    let ended = dead(&site, &["redrive", "--all"]).await;
    let transforms =
        "dead letter 1 stays: stream OTHER takes `u.a` now, and it belongs into IN, which transforms the subjects";
    ended.failed_with(
        1,
        &["redrove 0 of 2 dead letters; 2 failed and stay", transforms, "into GONE, which is not there"],
    );
    assert!(site.stored("OTHER").await.is_empty());
    assert_eq!(listed(&site, &[]).await, [1, 2]);
    // Who means it can say so.
    let meant = dead(&site, &["redrive", "2", "--into", "OTHER"]).await;
    assert_eq!((meant.code, site.stored("OTHER").await.len()), (Some(0), 1), "{}", meant.said());
    assert_eq!(listed(&site, &[]).await, [1]);
}

#[tokio::test]
async fn a_letter_goes_back_through_the_stream_that_its_own_sources_or_mirrors() {
    let site = Site::new().await;
    letters(&site, 0).await;
    let source = || Source { name: "ORDERS".into(), ..Source::default() };
    let all = Config { name: "ALL".into(), sources: Some(vec![source()]), ..Config::default() };
    let copy = Config { name: "COPY".into(), mirror: Some(source()), ..Config::default() };
    for (count, config) in [all, copy].into_iter().enumerate() {
        let name = config.name.clone();
        site.js.create_stream(config).await.unwrap();
        letter_of(&site, &name, "orders.new").await;
        let ended = dead(&site, &["redrive", "--all"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        site.stored_count("ORDERS", count + 1).await;
        site.stored_count(&name, count + 1).await;
    }
}

#[tokio::test]
async fn what_a_redriven_message_is_republished_to_takes_it_too() {
    let site = Site::new().await;
    letters(&site, 1).await;
    let orders = site.js.get_stream("ORDERS").await.unwrap().cached_info().config.clone();
    let republish = Republish { source: ">".into(), destination: "copy.>".into(), headers_only: false };
    site.stream("COPY", &["copy.>"]).await;
    site.js.update_stream(Config { republish: Some(republish), ..orders }).await.unwrap();
    let ended = dead(&site, &["redrive", "--all"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    site.stored_count("COPY", 1).await;
}

#[tokio::test]
async fn nothing_is_published_where_letters_could_not_be_deleted_then() {
    let site = guarded().await;
    letters(&site, 2).await;
    dead(&site, &["redrive", "--all", "--user", "shy", "--password", "p"]).await.failed_with(
        1,
        &[
            "cannot delete the dead letters",
            "does not let this user publish to `$JS.API.STREAM.MSG.DELETE.TIDEGATE_DEAD`",
        ],
    );
    let config = site.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    site.js.update_stream(Config { deny_delete: true, ..config }).await.unwrap();
    let denied = dead(&site, &["redrive", "--all"]).await;
    denied.failed_with(1, &["cannot delete the dead letters", "deny_delete", "--keep"]);
    assert!(site.stored("ORDERS").await.is_empty());
    assert_eq!(dead(&site, &["redrive", "--all", "--keep"]).await.code, Some(0));
    assert_eq!(site.stored("ORDERS").await.len(), 2);
}
