//! The handler that ships.

use tidegate_artifacts::workers::DEDUPE;
use tidegate_runtime::config::{Setting, Workload};

use super::{granted_to, value};
use crate::support::host::Host;
use crate::support::site::{DEAD, Site, text};

#[tokio::test(flavor = "multi_thread")]
async fn dedupe_passes_each_id_on_once_whichever_worker_has_it_and_however_often_it_is_delivered() {
    let site = Site::new().await;
    site.install("dedupe", DEDUPE);
    let settings = vec![("target".to_owned(), Setting::from("out.unique"))];
    let work = granted_to("work", 4, &["read-write seen"], "");
    let host = Host::start_at(site, vec![Workload { handler: "dedupe".to_owned(), settings, ..work }]).await;
    // No stream takes what is passed on at first: each message is delivered again, and finds its own note.
    for _ in 0..5 {
        for id in 0..20 {
            host.publish_with("in.work.a", &[("Message-Id", &format!("id {id}"))], format!("{id}")).await;
        }
    }
    crate::support::log::logged(&["\"work\"", "\"effects\"", "no stream is bound to `out.unique`"]).await;
    host.stream("OUT", &["out.>"]).await;
    host.settled("work").await;
    let stored = host.stored_count("OUT", 20).await;
    let mut passed: Vec<u32> = stored.iter().map(|message| text(message).parse().unwrap()).collect();
    passed.sort_unstable();
    assert_eq!(passed, (0..20).collect::<Vec<_>>());
    assert!(value(&host, "seen", "id=207").await.unwrap().contains('@'));
    host.publish("in.work.a", "without an id").await;
    host.settled("work").await;
    assert_eq!(host.stored(DEAD).await.len(), 1);
}
