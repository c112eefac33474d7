//! Settings that are secrets.

use tidegate_runtime::config::{Setting, Workload};
use tidegate_runtime::events::Event;

use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, workers, workload};
use crate::support::site::{DEAD, Site};
use crate::support::{eventually, log, web};

/// A workload with the setting `token`.
fn with(name: &str, token: Setting) -> Workload {
    Workload { settings: vec![("token".to_owned(), token)], ..workload(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_reaches_the_next_instance_and_stands_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "hunter2-first\n").unwrap();
    let site = Site::new().await;
    let config = tidegate_runtime::config::Config {
        http: Some(([127, 0, 0, 1], 0).into()),
        workloads: vec![with("work", Setting::File(file.clone()))],
        ..site.config()
    };
    let host = Host::run(site, config);
    host.ready(1).await;
    assert_eq!(host.request("in.work.a", "config token").await, "hunter2-first");
    std::fs::write(&file, "hunter2-second\n").unwrap();
    assert_eq!(host.request("in.work.a", "config token").await, "hunter2-first");
    host.publish("in.work.a", "trap").await;
    host.settled("work").await;
    assert_eq!(host.request("in.work.a", "config token").await, "hunter2-second");
    // What the host says of the trap, in all the places where it says something.
    let letters = host.stored(DEAD).await;
    assert_eq!(letters.len(), 1);
    assert!(!format!("{letters:?}").contains("hunter2"));
    assert!(!format!("{:?}", host.events()).contains("hunter2"));
    for path in ["/status", "/metrics", "/readyz"] {
        assert!(!web::get(&host.address().await, path).await.1.contains("hunter2"), "{path}");
    }
    assert_eq!(log::count(&["hunter2"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_is_waited_for_and_costs_no_message_an_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("late-token");
    let host = Host::start(vec![with("late", Setting::File(file.clone()))]).await;
    host.publish("in.late.a", "publish out.late x").await;
    log::logged(&["cannot read its setting token", "late-token", "let the user that runs this host read a file"]).await;
    host.stream("OUT", &["out.>"]).await;
    std::fs::write(&file, "here").unwrap();
    host.settled("late").await;
    assert_eq!(host.stored_count("OUT", 1).await.len(), 1);
    assert!(host.stored(DEAD).await.is_empty());
    assert_eq!(host.count(|event| matches!(event, Event::Failed { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_is_told_before_a_message_comes_and_until_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("early-token");
    let idle = workers("idle", 0);
    let secret = vec![("token".to_owned(), Setting::File(file.clone()))];
    let (host, address) = Host::over_http(Site::new().await, Workload { settings: secret, ..idle }).await;
    let ready = async || web::get(&address, "/readyz").await;
    eventually("it is told", async || {
        let (code, text) = ready().await;
        code == 503 && ["no worker starts", "setting token", "early-token"].iter().all(|part| text.contains(part))
    })
    .await;
    log::logged(&["no worker starts", "setting token", "early-token"]).await;
    std::fs::write(&file, "hunter2").unwrap();
    eventually("it is ready", async || ready().await.0 == 200).await;
    assert_eq!(host.workers("idle"), (0, 0));
}

#[tokio::test]
async fn check_reads_secrets_and_tells_which_is_missing() {
    let (directory, site) = (tempfile::tempdir().unwrap(), Site::new().await);
    let text = format!(
        "plugins.dir = \"{}\"\n[workload.orders]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"fixed\"\n\
         settings.token = {{ env = \"ORDERS_TOKEN\" }}\n",
        site.plugins.path().display()
    );
    let path = directory.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let check = || tidegate(["check", "--cache-dir", cache, "--config", path.to_str().unwrap()]);
    let missing = Running::start(check()).end().await;
    let expected = "workload orders: its handler cannot read its setting token: the variable ORDERS_TOKEN is not set";
    missing.failed_with(1, &[expected]);
    let mut set = check();
    set.env("ORDERS_TOKEN", "hunter2");
    let set = Running::start(set).end().await;
    assert_eq!(set.code, Some(0), "{}", set.said());
    assert!(!set.said().contains("hunter2"));
}
