//! Rule 11: a workload that cannot start or go on, and the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_runtime::config::{Config, Manage, Workload};
use tidegate_runtime::events::{Event, Observer};
use tokio::sync::oneshot;

use crate::support::host::{Host, policy, workload};
use crate::support::site::Site;
use crate::support::web::get;
use crate::support::{eventually, log};

/// A host that answers over HTTP, once it does, and where.
async fn seen(site: &Arc<Site>, workloads: Vec<Workload>) -> (Host, String) {
    let config = Config { http: Some("127.0.0.1:0".parse().unwrap()), workloads, ..site.config() };
    let host = Host::run(site.clone(), config);
    let address = host.address().await;
    (host, address)
}

async fn says(address: &str, parts: &[&str]) {
    let told = async || {
        let (code, text) = get(address, "/readyz").await;
        code == 503 && text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    eventually(&format!("/readyz tells {parts:?}"), told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_a_workload_that_cannot_be_set_up_is_told_and_tried_again_and_the_other_runs() {
    let site = Site::new().await;
    let mut lame = workload("lame");
    lame.queue.manage = Manage::Bind;
    let (host, address) = seen(&site, vec![lame, workload("sound")]).await;
    host.ready(1).await;
    assert_eq!(host.request("in.sound.a", "reply done").await, "done");
    says(&address, &["workload lame: setup: there is no stream lame", "manage = \"create\""]).await;
    let status: serde_json::Value = serde_json::from_str(&get(&address, "/status").await.1).unwrap();
    assert!(status["workloads"][0]["problems"]["setup"].is_string(), "{status}");
    assert_eq!(status["workloads"][1]["problems"], serde_json::json!({}));
    assert_eq!(log::count(&["\"ERROR\"", "\"lame\"", "there is no stream"]), 1);

    site.stream("lame", &["in.lame.>"]).await;
    says(&address, &["workload lame: setup: stream lame has no consumer lame-workers"]).await;
    site.delivered_in_vain("lame", 0).await;
    host.ready(2).await;
    assert_eq!(host.request("in.lame.a", "reply done").await, "done");
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_11_a_workload_that_panics_is_told_and_started_again_and_the_other_does_not_notice() {
    let site = Site::new().await;
    // What the host tells is told in the middle of its work.
    let (ready, panics) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let observer = {
        let (ready, panics) = (ready.clone(), panics.clone());
        Observer::new(move |event| match event {
            Event::Ready { workload } if &*workload == "fragile" => drop(ready.fetch_add(1, Ordering::SeqCst)),
            Event::Scaled { workload, to: 1, .. } if &*workload == "fragile" => {
                assert!(panics.fetch_add(1, Ordering::SeqCst) > 0, "cracked");
            }
            _ => {}
        })
    };
    let workloads = vec![workload("fragile"), workload("hale")];
    let (stop, stopped) = oneshot::channel::<()>();
    let host = tokio::spawn(tidegate_runtime::run(Config { workloads, ..site.config() }, observer, async {
        let _ = stopped.await;
    }));
    log::logged(&["\"ERROR\"", "\"fragile\"", "\"part\":\"run\"", "it panicked", "cracked", "started again"]).await;
    assert_eq!(site.request("in.hale.a", "reply done").await, "done");
    eventually("it runs again", async || ready.load(Ordering::SeqCst) == 2).await;
    assert_eq!(site.request("in.fragile.a", "reply done").await, "done");
    assert_eq!(log::count(&["\"hale\"", "ended"]), 0);
    stop.send(()).unwrap();
    host.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_refused_with_nothing_in_use_is_told_until_it_is_mended() {
    let site = Site::new().await;
    let (host, address) = seen(&site, vec![policy(workload("rule"), "probe-policy", &[("mode", "refuse")])]).await;
    host.ready(1).await;
    says(&address, &["workload rule: policy: policy not used: it refuses its settings", "probe-policy"]).await;
    site.install("probe-policy", tidegate_artifacts::policies::BACKLOG);
    says(&address, &["workload rule: policy: policy not used: it refuses its settings: mode"]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_says_is_told_without_what_acts_upon_a_terminal() {
    let site = Site::new().await;
    let said = [("x", "\u{1b}[31m\u{2028}told")];
    let (host, address) = seen(&site, vec![policy(workload("loud"), "fixed", &said)]).await;
    host.ready(1).await;
    says(&address, &["workload loud: policy: policy not used: it refuses its settings: x", "told"]).await;
    let (_, ready) = get(&address, "/readyz").await;
    assert!(!ready.contains(['\u{1b}', '\u{2028}']), "{ready:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_cannot_be_read_are_told_until_they_can() {
    let site = Site::new().await;
    let mut mute = workload("mute");
    mute.queue.manage = Manage::Bind;
    let make = async || {
        site.stream("mute", &["in.mute.>"]).await;
        site.delivered_in_vain("mute", 0).await;
    };
    make().await;
    let (host, address) = seen(&site, vec![mute]).await;
    host.ready(1).await;
    site.js.delete_stream("mute").await.unwrap();
    says(&address, &["workload mute: signals: no decision, so the number of workers stays as it is"]).await;
    make().await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_while_its_server_is_away_waits_for_it_and_says_so() {
    let site = Site::new().await;
    site.server.lock().await.kill();
    let (host, address) = seen(&site, vec![workload("early")]).await;
    says(&address, &["the NATS server is away", "Connection refused"]).await;
    let port = site.server.lock().await.port();
    log::logged(&["\"ERROR\"", &format!("no NATS server answers at nats://127.0.0.1:{port}"), "It is waited for"])
        .await;
    assert_eq!(get(&address, "/healthz").await.0, 200);
    site.server.lock().await.restart().await.unwrap();
    host.ready(1).await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    host.stop().await;
}
