use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use tidegate_runtime::text::plain;
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr as _;

use super::*;

const AT: &str = "http://127.0.0.1:8222";

fn workload(name: &str) -> serde_json::Value {
    json!({
        "name": name, "stream": "ORDERS", "consumer": "orders-workers", "running": true, "handler": "receipts",
        "workers": { "min": 0, "max": 8, "desired": 3, "running": 2, "alive": [
            { "worker": 1, "handling": true, "acked": 7, "alive_ms": 61_000 }, { "worker": 2 }, { "worker": 3 },
        ]},
        "deliveries": { "acked": 12, "retried": 0 }, "dead_letters": { "rejected": 2 },
        "scaling": {
            "policy": "backlog", "generation": "0123456789abcdef",
            "observation": { "arrival_rate": 12.34, "pending": 340, "ack_pending": 3, "oldest_pending_ms": 2100,
                             "completion_rate": 10, "busy_ratio": 0.8, "service_time_ms": 3.25 },
            "last_decisions": [
                { "at_ms": 1_769_860_801_000_u64, "desired": 9, "count": 3, "reason": "340 wait", "times": 2 },
                { "at_ms": 1_769_860_800_000_u64, "desired": 1, "count": 1, "reason": "first" },
            ],
        },
    })
}

fn host(workloads: Vec<serde_json::Value>) -> Host {
    let nats = json!({ "connected": true, "server_version": "2.15.1" });
    let status = json!({ "host": "vm:1", "version": "0.1.0", "ready": true, "nats": nats, "workloads": workloads });
    Host { status: Some(serde_json::from_value(status).unwrap()), away: None }
}

fn shown(view: &View, host: &Host, size: (usize, usize)) -> Vec<String> {
    let lines = view.draw(host, AT, size);
    assert!(lines.len() <= size.1, "{lines:?}");
    assert!(lines.iter().all(|line| line.text.width() <= size.0 && plain(&line.text) == line.text), "{lines:?}");
    lines.into_iter().map(|line| line.text).collect()
}

fn chosen(view: &View, host: &Host, size: (usize, usize)) -> String {
    let mut lines = view.draw(host, AT, size).into_iter().filter(|line| line.look == Look::Chosen);
    let line = lines.next().unwrap();
    assert!(lines.next().is_none());
    line.text.split(' ').next().unwrap().to_owned()
}

#[test]
fn all_workloads_are_shown_in_a_line_each() {
    let mut broken = workload("prices");
    broken["problems"] = json!({ "consumer": "the consumer is gone\n  A host makes it." });
    let expected = "\
vm:1  tidegate 0.1.0  ready  NATS 2.15.1
WORKLOAD  STATE    ARRIVALS  BACKLOG  IN FLIGHT  OLDEST  WORKERS             LAST DECISION
orders    running    12.3/s      340          3     2 s  2 of 3 +1 draining  12:00:01 3: 340 wait
prices    problem    12.3/s      340          3     2 s  2 of 3 +1 draining  ! the consumer is gone; A host makes it.


up/down choose  enter open  q end";
    let lines = shown(&View::default(), &host(vec![workload("orders"), broken]), (120, 7));
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn workloads_of_several_hosts_are_shown_with_their_hosts_and_chosen_by_both() {
    let mut both = host(vec![workload("orders"), workload("orders")]);
    let status = both.status.as_mut().unwrap();
    for (of, on) in status.workloads.iter_mut().zip(["rack-1", "rack-2"]) {
        of.on = Some(on.to_owned());
    }
    status.workloads[1].is_away = true;
    status.workloads[0].workers.set =
        Some(super::super::status::Set { count: 3, until_at_ms: Some(1_769_860_801_000) });
    let (size, mut view) = ((130, 30), View::default());
    let lines = shown(&view, &both, size);
    assert!(lines[1].starts_with("HOST    WORKLOAD  STATE"), "{lines:?}");
    assert!(lines[2].starts_with("rack-1  orders    running"), "{lines:?}");
    assert!(lines[2].contains("2 of 3 (set) +1 draining"), "{lines:?}");
    assert!(lines[3].starts_with("rack-2  orders    away "), "{lines:?}");
    view.press(Key::Down, &both, size);
    assert_eq!(chosen(&view, &both, size), "rack-2");
    view.press(Key::Up, &both, size);
    view.press(Key::Open, &both, size);
    let lines = shown(&view, &both, size).join("\n");
    assert!(lines.contains("orders on rack-1: running"), "{lines}");
    assert!(lines.contains("a person has set 3 until 12:00:01 UTC"), "{lines}");
}

#[test]
fn the_workers_of_a_fleet_are_shown_by_host() {
    let (mut of, mut view) = (workload("orders"), View::default());
    let mut text = |fleet: serde_json::Value| {
        of["fleet"] = fleet;
        let host = host(vec![of.clone()]);
        view.press(Key::Open, &host, (80, 30));
        shown(&view, &host, (80, 24)).join("\n")
    };
    let lines = text(json!({ "host": "a", "leader": "b", "desired": 5, "shares": { "a": 3, "b": 2 } }));
    assert!(lines.contains("  fleet    5 wanted of all hosts: a 3, b 2; b leads\n"), "{lines}");
    let lines = text(json!({ "host": "a", "leader": null, "desired": 0, "shares": {} }));
    assert!(lines.contains("  fleet    0 wanted of all hosts: no plan yet; nobody leads\n"), "{lines}");
}

#[test]
fn one_workload_is_shown_whole_with_its_decisions() {
    let (host, mut view) = (host(vec![workload("orders")]), View::default());
    assert!(view.press(Key::Open, &host, (80, 30)));
    let lines = shown(&view, &host, (80, 24)).join("\n");
    for part in [
        "orders: running",
        "  stream   ORDERS, consumer orders-workers\n  code     ",
        "handler receipts, policy backlog@0123456789ab",
        "2 of 3 +1 draining, from 0 to 8",
        "12.3/s arrive, 10.0/s are done",
        "340 wait, the oldest 2 s old; 3 in flight",
        "3.2 ms a message, workers 80 % busy",
        "12 acked",
        "2 rejected",
        "  12:00:01 3 (wanted 9): 340 wait (2 times)\n  12:00:00 1: first",
        "  1        handles  7 acked in 1 m 1 s",
    ] {
        assert!(lines.contains(part), "no {part} in\n{lines}");
    }
    view.press(Key::Back, &host, (80, 30));
    assert!(shown(&view, &host, (80, 24))[1].starts_with("WORKLOAD"));
}

#[test]
fn keys_choose_and_what_is_chosen_stays_in_sight_and_by_its_name() {
    let names = |from: u32| (from..100).map(|n| workload(&format!("w{n}"))).collect::<Vec<_>>();
    let (all, size, mut view) = (host(names(0)), (80, 10), View::default());
    assert_eq!(chosen(&view, &all, size), "w0");
    for (key, is) in [
        (Key::Up, "w0"),
        (Key::Down, "w1"),
        (Key::PageDown, "w7"),
        (Key::Last, "w99"),
        (Key::Down, "w99"),
        (Key::Up, "w98"),
        (Key::First, "w0"),
        (Key::PageDown, "w6"),
    ] {
        assert!(view.press(key, &all, size));
        assert_eq!(chosen(&view, &all, size), is, "{key:?}");
    }
    assert_eq!(chosen(&view, &host(names(5)), size), "w6");
    assert_eq!(chosen(&view, &host(names(50)), size), "w50", "it is gone");
    assert!(!view.press(Key::End, &all, size));
}

#[test]
fn lines_that_do_not_fit_can_be_moved_to() {
    let (host, size, mut view) = (host(vec![workload("orders")]), (80, 8), View::default());
    view.press(Key::Open, &host, size);
    assert!(!shown(&view, &host, size).join("\n").contains("WORKERS"));
    view.press(Key::Last, &host, size);
    assert!(shown(&view, &host, size).join("\n").contains("  3        waits"));
    view.press(Key::First, &host, size);
    assert!(shown(&view, &host, size)[1].starts_with("orders: running"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_is_told_and_what_it_said_stays() {
    let size = (100, 8);
    let mut away = Host::default();
    assert_eq!(shown(&View::default(), &away, size)[0], "asking http://127.0.0.1:8222");
    away.hear(Err("no host answers".into()), Instant::now());
    assert_eq!(shown(&View::default(), &away, size)[0], "no host answers");
    away.hear(Ok(host(vec![workload("orders")]).status.unwrap()), Instant::now());
    assert_eq!(shown(&View::default(), &away, size)[0], "vm:1  tidegate 0.1.0  ready  NATS 2.15.1");
    away.hear(Err("no host answers".into()), Instant::now());
    tokio::time::advance(Duration::from_secs(61)).await;
    away.hear(Err("it resets".into()), Instant::now());
    let lines = shown(&View::default(), &away, size);
    assert_eq!(lines[0], "AWAY for 1 m 1 s: what is below is what it said before; it resets");
    assert!(lines[3].starts_with("orders"));
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    let host = host(vec![workload("orders")]);
    assert_eq!(shown(&View::default(), &host, (19, 9)), ["20 columns and 5 l…"]);
    assert_eq!(shown(&View::default(), &host, (80, 0)), [""; 0]);
    assert_eq!(shown(&View::default(), &host, (20, 5)).len(), 5);
}

proptest! {
    #[test]
    fn nothing_that_a_host_says_acts_upon_the_terminal(
        text in "(\\PC|[\u{1b}\u{202e}\n\r\u{9b}日é]){0,80}", number in any::<u64>(), real in any::<f64>(),
        width in 1_usize..120, height in 1_usize..30,
    ) {
        let mut of = workload(&text);
        for name in ["stream", "consumer", "handler"] {
            of[name] = json!(text);
        }
        of["problems"] = json!({ (text.clone()): text });
        of["deliveries"] = json!({ (text.clone()): number });
        of["scaling"]["refused"] = json!(text);
        of["scaling"]["last_decisions"] = json!([{ "at_ms": number, "reason": text, "times": number }]);
        of["scaling"]["shadow"] = json!({ "policy": text, "count": 3, "reason": text });
        of["scaling"]["observation"] = json!({ "oldest_pending_ms": number, "arrival_rate": real });
        let mut host = host(vec![of.clone(), of]);
        host.status.as_mut().unwrap().problems = vec![text.clone(); 5];
        host.status.as_mut().unwrap().host = text;
        let mut view = View::default();
        for key in [Key::Down, Key::Open, Key::Down, Key::Last, Key::Back, Key::PageUp] {
            shown(&view, &host, (width, height));
            view.press(key, &host, (width, height));
        }
        shown(&view, &host, (width, height));
    }
}
