//! Handlers of the asynchronous form: several deliveries of one instance at once, and what becomes of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_runtime::config::{Grants, HttpGrant, Limits, Order, OrderKey, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::cli::{Running, run, tidegate};
use crate::support::host::{Host, policy, workload};
use crate::support::site::{DEAD, Site, json, text};
use crate::support::{eventually, log};

/// A workload with so many deliveries in one instance at once.
fn concurrent(name: &str, concurrency: usize) -> Workload {
    Workload { handler: "probe-async".into(), concurrency, ..workload(name) }
}

async fn with(name: &str, scripts: impl IntoIterator<Item = String>) -> Arc<Site> {
    let site = Site::with_scripts(name, scripts).await;
    site.install("probe-async", probes::ASYNC);
    site
}

/// A server that answers nothing before so many requests wait for their answers at once, and how many have come.
async fn gate(requests: usize) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let waiting = watch::Sender::new(0);
    let come = waiting.subscribe();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(socket, waiting.clone(), requests));
        }
    });
    (origin, come)
}

async fn answer(mut socket: TcpStream, waiting: watch::Sender<usize>, requests: usize) {
    let mut head = [0; 4096];
    // The head of a request without a body comes at once.
    while socket.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {
        waiting.send_modify(|waiting| *waiting += 1);
        waiting.subscribe().wait_for(|waiting| *waiting >= requests).await.unwrap();
        if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nprice").await.is_err() {
            return;
        }
    }
}

fn reaching(origin: &str, workload: Workload) -> Workload {
    let grants = Grants { http: vec![HttpGrant::parse(origin).unwrap()], ..workload.grants.clone() };
    let limits = Limits { http_at_once: 1000, ..workload.limits.clone() };
    Workload { grants, limits, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_waits_for_sixteen_answers_at_once() {
    let (origin, _) = gate(16).await;
    let site = with("waits", (0..16).map(|id| format!("get {origin}/\nledger out {id}"))).await;
    let host = Host::start_at(site, vec![reaching(&origin, concurrent("waits", 16))]).await;
    let entries = host.stored_count("OUT", 16).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    assert_eq!(host.workers("waits").0, 1);
    host.settled("waits").await;
    assert_eq!(host.consumer("waits").await.delivered.consumer_sequence, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_have_256_requests_in_flight_for_a_thousand_deliveries() {
    let (origin, _) = gate(256).await;
    let site = with("many", (0..1000).map(|id| format!("get {origin}/\nledger out {id}"))).await;
    let workload = policy(reaching(&origin, concurrent("many", 64)), "fixed", &[("workers", "4")]);
    let host = Host::start_at(site, vec![workload]).await;
    assert_eq!(host.stored_count("OUT", 1000).await.len(), 1000);
    host.settled("many").await;
    assert_eq!((host.workers("many").0, host.consumer("many").await.delivered.consumer_sequence), (4, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_its_concurrency_never_run_at_once_and_each_is_settled_by_its_own_answer() {
    let scripts = ["sleep 100\nbatch", "reject no good", "before 2 retry\nledger out again", "publish not.granted x"];
    let scripts = scripts.map(str::to_owned).into_iter().chain((0..20).map(|id| format!("sleep 20\nledger out {id}")));
    let site = with("own", scripts).await;
    let host = Host::start_at(site, vec![concurrent("own", 3)]).await;
    assert_eq!(host.stored_count("OUT", 21).await.len(), 21);
    let of = [(2, "rejected"), (4, "effects")].map(|(at, cause)| (at, cause.to_owned()));
    assert_eq!(host.causes(2).await, BTreeMap::from(of));
    host.settled("own").await;
    let asked = host.request("in.own.b", "batch").await;
    assert_eq!(asked, "1");
    let asked = (0..12).map(|_| host.request("in.own.b", "sleep 50\nbatch"));
    let ran = futures_util::future::join_all(asked).await;
    assert!(ran.iter().all(|count| count.parse::<usize>().unwrap() <= 3), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_costs_its_neighbours_nothing_but_a_call() {
    // They run until the trap ends them, or the trap comes first.
    let script = |id: usize| {
        if id == 10 { "sleep 100\ntrap".to_owned() } else { format!("sleep 200\nledger out {id}") }
    };
    let site = with("poison", (0..20).map(script)).await;
    let host = Host::start_at(site, vec![concurrent("poison", 20)]).await;
    let entries = host.stored_count("OUT", 19).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    assert_eq!(host.causes(1).await, BTreeMap::from([(11, "trapped".to_owned())]));
    host.settled("poison").await;
    // The poison is delivered as often as it may be tried, and all others once.
    assert_eq!(host.consumer("poison").await.delivered.consumer_sequence, 19 + 3);
    log::logged(&["an instance failed with several deliveries; each of them is tried by itself", "\"probe-async\""])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_ends_is_ended_and_its_neighbours_are_not_to_blame() {
    for (name, hostile) in [("waiting", "sleep 1000000"), ("spinning", "spin"), ("begetting", "subtasks")] {
        let script = |id: usize| if id == 1 { hostile.to_owned() } else { format!("sleep 20\nledger out {id}") };
        let site = with(name, (0..5).map(script)).await;
        let workload = concurrent(name, 5);
        let limits = Limits { time: Duration::from_millis(500), ..workload.limits.clone() };
        let host = Host::start_at(site, vec![Workload { limits, ..workload }]).await;
        let entries = host.stored_count("OUT", 4).await;
        assert!(entries.iter().all(|message| json(message)["attempt"] == 1), "{hostile}");
        let cause = if hostile == "subtasks" { "trapped" } else { "time" };
        assert_eq!(host.causes(1).await, BTreeMap::from([(2, cause.to_owned())]), "{hostile}");
        host.settled(name).await;
        assert_eq!(host.consumer(name).await.delivered.consumer_sequence, 4 + 3, "{hostile}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_has_many_keys_at_once_and_one_message_of_each_in_order() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    // Nothing is answered before the first messages of all keys wait at once.
    let (origin, _) = gate(keys.len()).await;
    let site = with("ordered", []).await;
    for number in 0..10 {
        for key in keys {
            let first = if number == 0 { format!("get {origin}/\n") } else { String::new() };
            // Those of one key would overtake each other, and some calls end badly, with all that run beside them.
            let fails = match (key, number) {
                ("a", 3) => "before 3 sleep 10\nbefore 3 trap\n",
                (_, 2 | 5) => "before 3 retry\n",
                _ => "",
            };
            let script = format!("{first}{fails}sleep {}\npublish out.{key} {number}", 30 - 3 * number);
            site.publish(&format!("in.ordered.{key}"), script).await;
        }
    }
    let order = Order { key: OrderKey::Token(3), buffer: 1_000, buffer_bytes: 1 << 24, in_fleet: false };
    let workload = Workload { order: Some(order), ..reaching(&origin, concurrent("ordered", 8)) };
    let host = Host::start_at(site, vec![workload]).await;
    let mut published: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for message in host.stored_count("OUT", 80).await {
        published.entry(message.subject.to_string()).or_default().push(text(&message).parse().unwrap());
    }
    assert_eq!(published.len(), keys.len());
    for (subject, numbers) in published {
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{subject}");
    }
    host.settled("ordered").await;
    assert!(host.stored(DEAD).await.is_empty());
    assert_eq!((host.workers("ordered").0, host.consumer("ordered").await.delivered.consumer_sequence), (1, 80));
}

/// The same component as another generation: with a section that nobody reads.
fn next_generation() -> Vec<u8> {
    [probes::ASYNC, &[0, 2, 1, b'x']].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_calls_that_run_are_finished_by_the_generation_that_has_them() {
    let script = |id: usize| format!("print begun-{id}\nsleep 500\nledger out {id}");
    let site = with("swapped", (0..5).map(script)).await;
    let host = Host::start_at(site, vec![concurrent("swapped", 5)]).await;
    log::logged(&["begun-0", "\"swapped\""]).await;
    host.install("probe-async", &next_generation());
    let loaded = format!("loaded {}", host.plugins.path().join("probe-async.wasm").display());
    eventually("the next generation is loaded", async || log::count(&[&loaded]) == 2).await;
    host.publish("in.swapped.a", "ledger out 5").await;
    let entries = host.stored_count("OUT", 6).await;
    // Each says how many calls its instance had begun.
    let counts: Vec<_> = entries.iter().map(|message| json(message)["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 5, 5, 5, 5, 1]);
    assert_eq!(host.consumer("swapped").await.delivered.consumer_sequence, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_swapped_under_load_and_every_message_is_handled_once() {
    let site = with("load", []).await;
    let workload = policy(concurrent("load", 8), "fixed", &[("workers", "3")]);
    let host = Host::start_at(site, vec![workload]).await;
    let next = next_generation();
    for (swap, bytes) in [next.as_slice(), probes::ASYNC].repeat(4).into_iter().enumerate() {
        host.install("probe-async", bytes);
        let first = swap * 200;
        host.publish_all("in.load.a", (first..first + 200).map(|id| format!("sleep 5\nledger out {id}"))).await;
    }
    host.settled("load").await;
    let entries = host.stored_count("OUT", 1600).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    let info = host.consumer("load").await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (1600, 0));
    assert_eq!(host.count(|event| matches!(event, Event::Failed { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_host_that_stops_finishes_its_calls_or_gives_them_back() {
    let (origin, mut come) = gate(6).await;
    let script = |id: usize| format!("get {origin}/\nsleep 300\nledger out {id}");
    let site = with("stops", (0..6).map(script)).await;
    let mut host = Host::start_at(site, vec![reaching(&origin, concurrent("stops", 6))]).await;
    come.wait_for(|come| *come == 6).await.unwrap();
    host.tell_to_stop();
    let (site, events) = host.ended().await;
    assert_eq!(site.stored_count("OUT", 6).await.len(), 6);
    assert_eq!(crate::support::host::handled(&events), 6);

    let script = |_: usize| "print given-begun\nbefore 2 sleep 1000000\nledger out x".to_owned();
    let site = with("given", (0..6).map(script)).await;
    let mut host = Host::start_with(site, Duration::from_millis(200), vec![concurrent("given", 6)]).await;
    eventually("all are in their calls", async || log::count(&["given-begun"]) == 6).await;
    host.tell_to_stop();
    let (site, _) = host.ended().await;
    // They are there at once, not after the ack wait, and no attempt was used up.
    let host = Host::start_at(site, vec![concurrent("given", 6)]).await;
    assert_eq!(host.stored_count("OUT", 6).await.len(), 6);
}

#[tokio::test]
async fn a_handler_of_one_at_a_time_is_refused_where_the_workload_has_several() {
    let site = Site::new().await;
    site.install("probe-async", probes::ASYNC);
    let dir = site.plugins.path().to_str().unwrap();
    let of = |handler, more: &'static str| {
        ["--plugins", dir, "--stream", "work", "--handler", handler, "--policy", "fixed", more, "10"]
    };
    let checked = run(["check"].into_iter().chain(of("probe", "--concurrency"))).await;
    let problem = "it does not export tidegate:plugin/async-handler@0.1.3";
    checked.failed_with(1, &["workload probe: ", problem, "build it for the world `async-worker`", "remove that key"]);
    let checked = run(["check"].into_iter().chain(of("probe-async", "--concurrency"))).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let checked = run(["check"].into_iter().chain(of("probe-async", "--batching-size"))).await;
    checked.failed_with(1, &["workload probe-async: ", "it handles one delivery a call", "remove that table"]);
    // The program compiles it in a process of its own, for an engine of its own.
    site.stream("work", &["in.work.>"]).await;
    let host = ["run", "--server", &site.nats.servers[0]].into_iter().chain(of("probe", "--concurrency"));
    let mut host = Running::start(tidegate(host));
    assert!(host.line_with("an instance of it handles one delivery at a time").await.contains("probe.wasm"));
    site.install("probe", probes::ASYNC);
    host.line_with("ready").await;
    assert_eq!(site.request("in.work.a", "reply done").await, "done");
}
