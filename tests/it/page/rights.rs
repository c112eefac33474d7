//! What the host's NATS user needs for the page beside what a host needs anyway.

use std::sync::Arc;

use serde_json::json;
use tidegate_runtime::config::{Config, Nats, Setting};
use tidegate_runtime::permissions::Permissions;

use super::{BEARER, TOKEN, host, send};
use crate::connections::permissions::site;
use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site};

/// The subjects that the documentation names.
fn documented() -> Vec<String> {
    let page = include_str!("../../../docs/page.md");
    let subjects = page.split('`').filter(|part| part.starts_with("$JS.API.") && !part.contains(' '));
    subjects.map(|subject| subject.replace("<stream>", "work")).collect()
}

/// A host with these rights beside those that it needs without the page, with one dead letter.
async fn started(more: &[String]) -> (Arc<Site>, Host, String) {
    let config = Config { workloads: vec![workload("work")], ..Site::new().await.config() };
    let mut rights = Permissions::of(&Config { nats: Nats::default(), ..config });
    rights.publish.extend(more.iter().map(|subject| (subject.clone(), "the page".to_owned())));
    let site = site(&rights.to_string(), None).await;
    let token = Some(Setting::from(TOKEN));
    let (host, address) = host(site.clone(), "127.0.0.1:0", token, vec![workload("work")]).await;
    site.publish("in.work.a", "reject no").await;
    site.stored_count(DEAD, 1).await;
    (site, host, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_page_lacks_is_named_and_nothing_else_is_affected() {
    let (_site, _host, address) = started(&[]).await;
    let list = send(&address, "/api/letters", &[], None).await;
    let words = ["does not let this user publish to", "$JS.API.CONSUMER.CREATE.TIDEGATE_DEAD", "Allow it"];
    assert!(list.code == 403 && words.iter().all(|word| list.body.contains(word)), "{list:?}");
    assert_eq!(send(&address, "/readyz", &[], None).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_documentation_names_is_enough_for_the_page() {
    let rights = [documented(), vec!["in.>".to_owned()]].concat();
    let (site, _host, address) = started(&rights).await;
    for path in ["/api/letters", "/api/letters?workload=work&cause=rejected", "/api/letters/1"] {
        let answer = send(&address, path, &[], None).await;
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
    }
    for (what, sequence) in [("redrive", 1), ("purge", 2)] {
        site.stored_count(DEAD, 1).await;
        let body = json!({ "sequences": [sequence] });
        let done = send(&address, &format!("/api/letters/{what}"), &[BEARER], Some(body)).await;
        assert_eq!(done.code, 200, "{done:?}");
        assert_eq!(done.json()["done"], json!([sequence]), "{what}: {done:?}");
    }
}
