//! Workloads that keep an order and are spread over partitions: what the stream makes of subjects, what a handler sees,
//! and who works which partition while hosts come and go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::jetstream::stream;
use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_runtime::config::{Config, Workload};

use crate::edited::api;
use crate::order::{publish, published};
use crate::support::cli::{Running, run, tidegate};
use crate::support::host::Host;
use crate::support::site::{DEAD, Site};
use crate::support::web::get;
use crate::support::{eventually, until};

pub(crate) const COUNT: usize = 4;

fn read(text: &str) -> Config {
    Config::from_toml(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The partitions of a workload on the stream `work`.
fn partitions(count: usize, more: &str) -> Vec<Workload> {
    read(&text(count, more)).workloads
}

fn text(count: usize, more: &str) -> String {
    format!(
        r#"
        [workload.work]
        stream = "work"
        subjects = ["in.work.*"]
        manage = "create"
        order-key = "subject:3"
        partitions = {count}
        ack-wait = "10m"
        handler = "probe"
        policy = "fixed"
        policy-settings = {{ workers = "2" }}
        scale = {{ interval = "100ms", window = "1s" }}
        pull = {{ expires = "1s" }}
        grants = {{ publish = ["out.>"], reply = ["_INBOX.>"] }}
        retry = {{ max-attempts = 3, backoff = ["10ms"] }}
        {more}
        "#
    )
}

/// A host of a fleet in this process, with [`COUNT`] of them.
pub(crate) fn member(site: &Arc<Site>, id: &str, more: &str) -> Host {
    member_with(site, id, COUNT, more)
}

/// The same with so many of them.
fn member_with(site: &Arc<Site>, id: &str, count: usize, more: &str) -> Host {
    let fleet = format!("fleet.bucket = \"FLEET\"\nhost.id = {id:?}\n");
    let Config { fleet, workloads, .. } = read(&format!("{fleet}{}", text(count, more)));
    let http = Some("127.0.0.1:0".parse().unwrap());
    Host::run(site.clone(), Config { fleet, http, workloads, ..site.config() })
}

/// Awaits that all that the stream has is settled by the consumers of the partitions.
async fn settled(site: &Site, count: usize) {
    let info = async |number: usize| {
        api(site, &format!("CONSUMER.INFO.work.work-workers-p{number}"), &json!({})).await.unwrap()
    };
    eventually("everything is settled", async || {
        let mut left = 0;
        for number in 0..count {
            let info = info(number).await;
            left += info["num_pending"].as_u64().unwrap() + info["num_ack_pending"].as_u64().unwrap();
        }
        left == 0
    })
    .await;
}

pub(crate) fn named(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number}")).collect()
}

async fn in_order(site: &Site, keys: usize, to: u32) {
    let published = published(site, keys * to as usize).await;
    assert_eq!(published.len(), keys);
    for (subject, numbers) in published {
        assert_eq!(numbers, (0..to).collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_spread_over_partitions_and_handlers_see_the_subject_that_was_published() {
    let (site, keys) = (Site::new().await, named(40));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    site.stream("OUT", &["out.>"]).await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads: partitions(COUNT, ""), ..site.config() });
    host.ready(COUNT).await;
    let told = site.request("in.work.k1", "delivery").await;
    assert!(told.contains("in.work.k1") && !told.contains(".in.work"), "{told}");
    publish(&site, &keys, 0..6).await;
    settled(&site, COUNT).await;
    in_order(&site, 40, 6).await;
    let mut counts = Vec::new();
    for number in 0..COUNT {
        let info = api(&site, &format!("CONSUMER.INFO.work.work-workers-p{number}"), &json!({})).await.unwrap();
        assert_eq!(info["config"]["filter_subjects"], json!([format!("{number}.>")]));
        counts.push(info["delivered"]["consumer_seq"].as_u64().unwrap());
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let status: Value = serde_json::from_str(&get(&host.address().await, "/status").await.1).unwrap();
    let of: Vec<_> = status["workloads"].as_array().unwrap().iter().map(|of| of["partition"].clone()).collect();
    let expected: Vec<_> = (0..COUNT)
        .map(|number| json!({ "workload": "work", "number": number, "count": COUNT, "host": null }))
        .collect();
    assert_eq!(of, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_partition_has_the_publishers_subject_and_is_sent_back_to_its_partition() {
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let host = Host::run(site.clone(), Config { workloads: partitions(COUNT, ""), ..site.config() });
    host.ready(COUNT).await;
    site.publish("in.work.a", "before 2 reject no good\npublish out.a 0").await;
    let letters = site.stored_count(DEAD, 1).await;
    let subject = letters[0].headers.as_ref().unwrap().get("Tidegate-Subject").unwrap().as_str().to_owned();
    assert_eq!(subject, "in.work.a");
    let stored = async |sequence: u64| {
        let found = api(&site, "STREAM.MSG.GET.work", &json!({ "seq": sequence })).await.unwrap();
        found["message"]["subject"].as_str().unwrap().to_owned()
    };
    let first = stored(1).await;
    assert!(first.ends_with(".in.work.a"), "{first}");
    let sent = run(["dead", "redrive", "--all", "--server", &site.nats.servers[0]]).await;
    assert_eq!(sent.code, Some(0), "{}", sent.said());
    until("it is stored again", async || {
        let info = api(&site, "STREAM.INFO.work", &json!({})).await.unwrap();
        (info["state"]["messages"] == 2).then_some(())
    })
    .await;
    assert_eq!(stored(2).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_map_its_subjects_is_refused_with_the_mapping_until_it_does() {
    let (site, keys) = (Site::new().await, ["a", "b", "c"]);
    site.stream("work", &["in.work.*"]).await;
    site.stream("OUT", &["out.>"]).await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads: partitions(2, ""), ..site.config() });
    let address = host.address().await;
    let told = until("it is told", async || {
        let (_, body) = get(&address, "/readyz").await;
        (body.contains("workload work-p1: setup") && body.contains("maps no subjects")).then_some(body)
    })
    .await;
    let destination = "{{partition(2,1)}}.in.work.{{wildcard(1)}}";
    let command = format!("--transform-source='in.work.*' --transform-destination='{destination}'");
    assert!(told.contains(&command), "{told}");
    let mut config = site.js.get_stream("work").await.unwrap().cached_info().config.clone();
    config.subject_transform =
        Some(stream::SubjectTransform { source: "in.work.*".into(), destination: destination.into() });
    site.js.update_stream(config).await.unwrap();
    host.ready(2).await;
    publish(&site, &keys, 0..5).await;
    settled(&site, 2).await;
    in_order(&site, 3, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_were_taken_away_are_missed_while_the_stream_still_maps_to_them() {
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let host = Host::run(site.clone(), Config { workloads: partitions(COUNT, ""), ..site.config() });
    host.ready(COUNT).await;
    publish(&site, &["a", "b"], 0..2).await;
    settled(&site, COUNT).await;
    let (site, _) = host.stop().await;
    let without = text(COUNT, "").replace(&format!("partitions = {COUNT}"), "");
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads: read(&without).workloads, ..site.config() });
    let address = host.address().await;
    let told = until("it is told", async || {
        let (_, body) = get(&address, "/readyz").await;
        body.contains("workload work: setup").then_some(body)
    })
    .await;
    assert!(told.contains("token 3, which order-key names, is `work`"), "{told}");
    assert!(told.contains("Set partitions = 4 again"), "{told}");
    let made = api(&site, "CONSUMER.INFO.work.work-workers", &json!({})).await;
    assert!(made.is_err(), "a consumer would begin with what is handled: {made:?}");
}

/// A fleet's host of its own process with eight partitions.
fn host(site: &Site, id: &str) -> Running {
    let file = write(site, id, "1s");
    Running::start(tidegate(["run", "--config", file.to_str().unwrap()]))
}

/// Writes its configuration: a pull waits for so long.
fn write(site: &Site, id: &str, expires: &str) -> PathBuf {
    let text = format!(
        r#"
        nats.url = {server:?}
        plugins.dir = {plugins:?}
        plugins.cache = {cache:?}
        fleet.bucket = "FLEET"
        host.id = {id:?}
        [workload.work]
        stream = "work"
        subjects = ["in.work.*"]
        manage = "create"
        order-key = "subject:3"
        partitions = 8
        ack-wait = "2s"
        handler = "probe"
        policy = "fixed"
        policy-settings = {{ workers = "2" }}
        pull = {{ expires = {expires:?} }}
        grants = {{ publish = ["out.>"] }}
        limits = {{ time = "1h" }}
        retry = {{ max-attempts = 1000, backoff = ["10ms"] }}
        "#,
        server = site.nats.servers[0],
        plugins = site.plugins.path(),
        cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache"),
    );
    let (part, file) = (site.plugins.path().join("part"), site.plugins.path().join(format!("{id}.toml")));
    std::fs::write(&part, text).unwrap();
    std::fs::rename(&part, &file).unwrap();
    file
}

/// What the hosts are to do.
async fn plan(site: &Site) -> Value {
    let read = async || {
        let bucket = site.js.get_key_value("FLEET").await.ok()?;
        serde_json::from_slice(&bucket.get("plan.work").await.ok()??).ok()
    };
    read().await.unwrap_or_default()
}

/// How many partitions each host has by the plan.
async fn owners(site: &Site) -> BTreeMap<String, usize> {
    let plan = plan(site).await;
    let owners = plan["owners"].as_object().cloned().unwrap_or_default();
    owners.into_iter().map(|(host, has)| (host, has.as_array().unwrap().len())).collect()
}

/// Awaits that these hosts have all partitions, each about as many.
async fn shared(site: &Site, hosts: &[&str]) {
    eventually(&format!("{hosts:?} have all partitions"), async || {
        let owners = owners(site).await;
        let fair = owners.values().all(|has| has.abs_diff(8 / hosts.len()) <= 1);
        owners.keys().eq(hosts.iter()) && owners.values().sum::<usize>() == 8 && fair
    })
    .await;
}

/// The host that the plan gives the partition of the first message of this subject.
async fn owner_of(site: &Site, subject: &str) -> String {
    let query = json!({ "seq": 1, "next_by_subj": format!("*.{subject}") });
    let found = api(site, "STREAM.MSG.GET.work", &query).await.unwrap();
    let number: u64 = found["message"]["subject"].as_str().unwrap().split('.').next().unwrap().parse().unwrap();
    let plan = plan(site).await;
    let owners = plan["owners"].as_object().unwrap();
    let has = |has: &Value| has.as_array().unwrap().contains(&json!(number));
    owners.iter().find(|(_, of)| has(of)).unwrap().0.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_a_fleet_share_partitions_and_no_effect_is_out_of_order_while_they_come_and_go() {
    let (site, keys) = (Site::new().await, named(200));
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    site.stream("OUT", &["out.>"]).await;
    let mut hosts = BTreeMap::from([("one", host(&site, "one"))]);
    shared(&site, &["one"]).await;
    // Then it has made the stream.
    hosts.values_mut().next().unwrap().line_with(" ready workload=").await;
    publish(&site, &keys, 0..2).await;
    // Two join in the middle of the work.
    hosts.insert("two", host(&site, "two"));
    hosts.insert("three", host(&site, "three"));
    publish(&site, &keys, 2..4).await;
    shared(&site, &["one", "three", "two"]).await;
    for host in hosts.values_mut() {
        host.line_with(" ready workload=").await;
    }
    publish(&site, &keys, 4..6).await;
    // One is stopped.
    let stopped = hosts.remove("one").unwrap();
    stopped.signal(Signal::TERM);
    publish(&site, &keys, 6..8).await;
    assert_eq!(stopped.end().await.code, Some(0));
    shared(&site, &["three", "two"]).await;
    // One is killed in a message, with others of its key that wait.
    site.publish("in.work.k0", "before 2 print begun-8\nbefore 2 sleep 3000\npublish out.k0 8").await;
    let victim = owner_of(&site, "in.work.k0").await;
    let mut killed = hosts.remove(victim.as_str()).unwrap();
    killed.line_with("begun-8").await;
    publish(&site, &keys[1..], 8..9).await;
    publish(&site, &keys, 9..10).await;
    killed.signal(Signal::KILL);
    killed.end().await;
    hosts.insert("four", host(&site, "four"));
    publish(&site, &keys, 10..12).await;
    let left: Vec<&str> = hosts.keys().copied().collect();
    shared(&site, &left).await;
    settled(&site, 8).await;
    in_order(&site, 200, 12).await;
    assert!(site.js.get_stream(DEAD).await.unwrap().cached_info().state.messages == 0);
    for (_, host) in hosts {
        host.signal(Signal::TERM);
        assert_eq!(host.end().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_changed_start_again_where_they_are() {
    let (site, keys) = (Site::new().await, named(40));
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    site.stream("OUT", &["out.>"]).await;
    let mut one = host(&site, "one");
    for _ in 0..8 {
        one.line_with(" ready workload=").await;
    }
    let mut two = host(&site, "two");
    shared(&site, &["one", "two"]).await;
    for _ in 0..4 {
        two.line_with(" ready workload=").await;
    }
    let before = plan(&site).await;
    // One of them leads.
    for (id, host, numbers) in [("one", &mut one, 0..2), ("two", &mut two, 2..4)] {
        publish(&site, &keys, numbers).await;
        write(&site, id, "2s");
        let (mut changed, mut ready) = (0, 0);
        while (changed, ready) != (8, 4) {
            let line = host.line_with("work-p").await;
            changed += u32::from(line.contains("it was changed, and starts again"));
            // Before that it was ready as it had been.
            ready += u32::from(changed > 0 && line.contains(" ready workload="));
        }
    }
    settled(&site, 8).await;
    in_order(&site, 40, 4).await;
    assert_eq!(plan(&site).await, before);
    // One has made the bucket, and has given half of all to the other.
    for (host, given) in [(one, 4), (two, 0)] {
        let told = |part: &str| host.seen().iter().filter(|line| line.contains(part)).count();
        assert_eq!((told(" ERROR "), told("to another host")), (0, given), "{}", host.seen().join("\n"));
        host.signal(Signal::TERM);
        assert_eq!(host.end().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_hosts_get_another_number_of_partitions_one_after_the_other_those_work_them_that_can() {
    let (site, keys) = (Site::new().await, named(40));
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    site.stream("OUT", &["out.>"]).await;
    let one = member(&site, "one", "");
    one.ready(COUNT).await;
    let given = async || owners(&site).await;
    // One that has another number than the mapping takes nothing from the others.
    let two = member_with(&site, "two", 2, "");
    let says = async |host: &Host, part: &str| get(&host.address().await, "/readyz").await.1.contains(part);
    eventually("it is told", async || {
        says(&two, "the fleet has this workload in 4 partitions, and this host in 2, so it is given none").await
    })
    .await;
    assert_eq!(given().await, BTreeMap::from([("one".to_owned(), COUNT)]));
    publish(&site, &keys, 0..2).await;
    settled(&site, COUNT).await;
    // The mapping is changed, as it is to be where all is settled; and the first host is not.
    let mut config = site.js.get_stream("work").await.unwrap().cached_info().config.clone();
    let destination = "{{partition(2,1)}}.in.work.{{wildcard(1)}}".to_owned();
    config.subject_transform = Some(stream::SubjectTransform { source: "in.work.*".into(), destination });
    site.js.update_stream(config).await.unwrap();
    eventually("the other works none", async || says(&one, "4 partitions need another mapping").await).await;
    eventually("that which can work them has all", async || given().await == BTreeMap::from([("two".to_owned(), 2)]))
        .await;
    publish(&site, &keys, 2..4).await;
    settled(&site, 2).await;
    in_order(&site, 40, 4).await;
    eventually("it is told", async || {
        says(&one, "the fleet has this workload in 2 partitions, and this host in 4, so it is given none").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_ready_though_others_have_partitions_and_says_who_has_them() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let (one, two) = (member(&site, "one", ""), member(&site, "two", ""));
    let owners = async |host: &Host| {
        let (_, body) = get(&host.address().await, "/status").await;
        let status: Value = serde_json::from_str(&body).unwrap();
        let of = |of: &Value| (of["partition"]["host"].as_str().unwrap_or("").to_owned(), of["running"] == true);
        status["workloads"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    for (host, id) in [(&one, "one"), (&two, "two")] {
        eventually(&format!("{id} runs its half"), async || {
            let owners = owners(host).await;
            owners.iter().all(|(owner, runs)| (owner == id) == *runs)
                && owners.iter().filter(|(_, runs)| *runs).count() == 2
        })
        .await;
        let address = host.address().await;
        eventually(&format!("{id} is ready"), async || get(&address, "/readyz").await.0 == 200).await;
    }
    one.stop().await;
    eventually("two runs all", async || owners(&two).await.iter().all(|(owner, runs)| owner == "two" && *runs)).await;
}

#[tokio::test]
async fn commands_want_one_partition_by_its_name_and_say_which_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let text = "[workload.work]\nstream = \"work\"\nhandler = \"h\"\npolicy = \"p\"\norder-key = \"subject:3\"\n\
                partitions = 8\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let whole = run(["explain", "work", "7", "--config", file]).await;
    whole.failed_with(1, &["each partition of work is a workload: name one, from work-p0 to work-p7"]);
}
