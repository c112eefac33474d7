use async_nats::jetstream::stream::Config;
use serde_json::json;
use tidegate_runtime::dead_letter::Letter;
use tidegate_runtime::jetstream::Client;

use super::{dead, dead_json, guarded, letters, listed};
use crate::support::site::{DEAD, Site};

#[tokio::test]
async fn nothing_is_deleted_without_being_named_and_confirmed() {
    let site = Site::new().await;
    letters(&site, 3).await;
    dead(&site, &["purge"]).await.failed_with(2, &["nothing says which dead letters to delete", "--all"]);
    dead(&site, &["purge", "--yes"]).await.failed_with(2, &["give a filter or sequences, or --all"]);
    dead(&site, &["purge", "--all", "1", "--yes"]).await.failed_with(2, &["leave out the filter and the sequences"]);
    dead(&site, &["purge", "--all"]).await.failed_with(2, &["no terminal to ask on", "--yes deletes without asking"]);
    dead(&site, &["purge", "2"]).await.failed_with(2, &["no terminal to ask on"]);
    assert_eq!(dead(&site, &["purge", "--all", "--dry-run"]).await.stdout, "would delete 3 dead letters\n");
    assert_eq!(listed(&site, &[]).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_matches_is_deleted_and_nothing_else() {
    let site = Site::new().await;
    letters(&site, 6).await;
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [("Subject", "a.b"), ("Stream", "A"), ("Sequence", "1"), ("Cause", "time")] {
        headers.insert(format!("Tidegate-{name}"), value);
    }
    for subject in ["tidegate.dead.orders", "tidegate.dead.other"] {
        site.js.publish_with_headers(subject, headers.clone(), "".into()).await.unwrap().await.unwrap();
    }
    let some = dead(&site, &["purge", "2", "5", "99", "--yes"]).await;
    some.failed_with(1, &["deleted 2 of 2 dead letters", "there is no dead letter 99"]);
    assert_eq!(listed(&site, &[]).await, [1, 3, 4, 6, 7, 8]);
    let counts = dead_json(&site, &["purge", "--cause", "time", "--workload", "orders", "--yes"]).await;
    assert_eq!((&counts["matched"], &counts["purged"]), (&json!(1), &json!(1)));
    assert_eq!(listed(&site, &[]).await, [1, 3, 4, 6, 8]);
    assert_eq!(dead(&site, &["purge", "--workload", "orders", "--yes"]).await.stdout, "deleted 4 of 4 dead letters\n");
    assert_eq!(listed(&site, &[]).await, [8]);
    assert_eq!(dead(&site, &["purge", "--all", "-y"]).await.stdout, "deleted 1 of 1 dead letter\n");
    assert!(site.stored(DEAD).await.is_empty());
    let none = dead(&site, &["purge", "--all", "-y"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), "deleted 0 of 0 dead letters\n"));
}

#[tokio::test]
async fn letters_that_are_stored_as_they_were_published_are_deleted_too() {
    let site = Site::new().await;
    let config = Config { name: DEAD.into(), subjects: vec!["tidegate.dead.*".into()], ..Config::default() };
    site.js.create_stream(config).await.unwrap();
    letters(&site, 3).await;
    let ended = dead(&site, &["purge", "--workload", "orders", "--yes"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "deleted 3 of 3 dead letters\n"), "{}", ended.stderr);
    assert!(site.stored(DEAD).await.is_empty());
}

#[tokio::test]
async fn messages_that_are_no_dead_letters_stay_whatever_stream_is_named() {
    let site = Site::new().await;
    letters(&site, 0).await;
    site.publish("orders.new", "tea").await;
    let ended = dead(&site, &["purge", "--all", "--yes", "--dead-letters", "ORDERS"]).await;
    assert_eq!(
        ended.stdout, "deleted 0 of 0 dead letters; 1 messages that are no dead letters stay\n",
        "{}",
        ended.stderr
    );
    assert_eq!(site.stored("ORDERS").await.len(), 1);
}

#[tokio::test]
async fn what_the_server_refuses_to_delete_is_not_said_to_be_deleted() {
    let site = guarded().await;
    letters(&site, 3).await;
    let ways: [&[&str]; 2] = [&["--all"], &["--reason", "no"]];
    for which in ways {
        let purge = [&["purge", "--yes", "--user", "shy", "--password", "p"], which].concat();
        dead(&site, &purge).await.failed_with(
            1,
            &[
                "deleted 0 of 3 dead letters",
                "cannot delete the dead letters in stream TIDEGATE_DEAD",
                "does not let this user",
            ],
        );
    }
    let config = site.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    site.js.update_stream(Config { deny_purge: true, ..config.clone() }).await.unwrap();
    let said = ["deny_purge", "have them deleted one by one"];
    dead(&site, &["purge", "--yes", "--all"]).await.failed_with(1, &said);
    site.js.update_stream(Config { deny_delete: true, deny_purge: true, ..config }).await.unwrap();
    for (which, setting) in ways.into_iter().zip(["deny_purge", "deny_delete"]) {
        let words = &format!("its setting {setting} keeps every message");
        let ended = dead(&site, &[&["purge", "--yes"], which].concat()).await;
        ended.failed_with(1, &["deleted 0 of 3 dead letters", words]);
    }
    assert_eq!(listed(&site, &[]).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_letter_that_is_gone_already_is_not_deleted_again() {
    let site = Site::new().await;
    letters(&site, 3).await;
    let letters = Client::connect(&site.nats).await.unwrap().letters(DEAD).await.unwrap();
    for sequence in [3, 1] {
        let letter = Letter::read(&letters.get(sequence).await.unwrap().unwrap()).unwrap();
        assert!(letters.delete(&letter).await.unwrap());
        assert!(!letters.delete(&letter).await.unwrap());
    }
    // What was never there.
    let never = Letter { sequence: 99, ..Letter::read(&letters.get(2).await.unwrap().unwrap()).unwrap() };
    assert!(!letters.delete(&never).await.unwrap());
    assert_eq!(letters.purge(Some("orders")).await.unwrap(), 1);
    assert_eq!(letters.purge(Some("orders")).await.unwrap(), 0);
}
