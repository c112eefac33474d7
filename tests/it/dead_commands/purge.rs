use serde_json::json;

use super::{dead, dead_json, letters, listed};
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
