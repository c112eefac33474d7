//! A host that is drained: it fetches no more and finishes what it has, and goes on when it is told to.

use serde_json::Value;

use super::{ask, host, service};
use crate::support::cli::{Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::workers;
use crate::support::site::Site;
use crate::support::web::get;

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_host_finishes_what_it_has_holds_nothing_and_goes_on_when_it_is_told() {
    let site = Site::new().await;
    let (host, address) = host(site.clone(), service(true), vec![workers("out", 1), workers("still", 1)]).await;
    let url = site.nats.servers[0].clone();
    // The names of what is measured are there, whether or not it is.
    let pending = async || get(&address, "/metrics").await.1.matches("tidegate_pending{").count();
    eventually("it looks at its consumers", async || pending().await == 2).await;
    host.publish_all("in.out.a", ["sleep 3000", "ok"].map(str::to_owned)).await;
    eventually("the first is handled", async || {
        super::answer(&site, "tidegate.host.one.status.out", "").await["workers"]["alive"][0]["handling"] == true
    })
    .await;
    // While it is: what is told with the command takes longer to begin than with a request.
    assert_eq!(super::answer(&site, "tidegate.host.one.drain", "").await["drain"], "draining");
    let ended = run(["drain", "one", "-s", &url]).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "one is drained; `tidegate undrain one` lets it go on\n")
    );
    // What ran has ended well, and what was fetched beside it is anybody's, long before its ack wait is over.
    assert_eq!(host.deliverable("out", 1).await, [2].into());
    host.publish("in.still.a", "ok").await;
    let (code, problems) = get(&address, "/readyz").await;
    assert_eq!((code, problems.trim()), (503, "the host is drained; `tidegate undrain one` lets it go on"));
    assert_eq!(host.consumer("still").await.num_pending, 1);
    assert_eq!(ask(&site, "$SRV.PING", "").await.unwrap().1["metadata"]["drain"], "drained");
    assert!(get(&address, "/metrics").await.1.contains("tidegate_drained 1"));
    assert_eq!(pending().await, 0, "nobody looks, so nobody says how much waits");

    let ended = run(["undrain", "one", "-s", &url, "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["drain"], "no");
    host.settled("still").await;
    host.settled("out").await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    eventually("it looks again", async || pending().await == 2).await;
    host.stop().await;
}

/// As a process: what a person has on their machines.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_drained_ends_when_it_is_told_and_another_has_gone_on_meanwhile() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    let config = |id: &str| {
        format!(
            r#"
            [nats]
            url = {url:?}
            [plugins]
            dir = {dir:?}
            cache = {cache:?}
            [host]
            id = "{id}"
            [service]
            enabled = true
            admin = true
            [workload.work]
            stream = "work"
            manage = "create"
            handler = "probe"
            policy = "fixed"
            "#,
            url = site.nats.servers[0],
            dir = site.plugins.path(),
            cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache"),
        )
    };
    let mut hosts = Vec::new();
    for id in ["left", "right"] {
        let file = site.plugins.path().join(format!("{id}.toml"));
        std::fs::write(&file, config(id)).unwrap();
        let mut host = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
        host.line_with(" ready workload=").await;
        eventually("it answers", async || ask(&site, &format!("$SRV.PING.tidegate.{id}"), "").await.is_some()).await;
        hosts.push(host);
    }
    // The file of either says how to connect.
    let file = site.plugins.path().join("left.toml");
    let ended = run(["drain", "left", "-c", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    hosts[0].line_with("drained: nothing is held").await;
    site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    for host in hosts {
        host.signal(rustix::process::Signal::TERM);
        let ended = host.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    }
    let ended = run(["drain", "left", "-s", &site.nats.servers[0]]).await;
    ended.failed_with(1, &["no host answers on `$SRV.INFO.tidegate`", "service.enabled = true"]);
}
