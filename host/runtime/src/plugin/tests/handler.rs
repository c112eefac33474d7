use std::sync::Arc;
use std::time::Duration;

use tidegate_artifacts::workers;
use tidegate_test_artifacts::probes;

use super::{Logged, core, delivery, file, host, limits};
use crate::config::Limits;
use crate::contract::{Delivery, Failure, Fault, Outcome};
use crate::plugin::{HandlerInstance, HandlerPlugin, WorkerContext};

fn context(limits: Limits) -> WorkerContext {
    WorkerContext::new("orders".into(), 3, Arc::new([("currency".into(), "EUR".into())]), limits)
}

async fn plugin(bytes: &[u8]) -> HandlerPlugin {
    let (_dir, file) = file(bytes);
    host().load(&file, &limits()).await.unwrap()
}

async fn probe_with(limits: Limits) -> HandlerInstance {
    plugin(probes::WORKER_V1).await.instantiate(&context(limits)).await.unwrap()
}

async fn probe() -> HandlerInstance {
    probe_with(limits()).await
}

async fn run(script: &str) -> Outcome {
    probe().await.handle(&delivery(script)).await
}

async fn reply(script: &str) -> String {
    let response = run(script).await.unwrap().unwrap();
    String::from_utf8(response.reply.unwrap()).unwrap()
}

#[tokio::test]
async fn a_delivery_reaches_the_guest_as_it_is() {
    let delivery = Delivery {
        headers: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
        reply_to: Some("_INBOX.x".into()),
        attempt: 4,
        ..delivery("delivery")
    };
    let response = probe().await.handle(&delivery).await.unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&response.reply.unwrap()).unwrap();
    assert_eq!(
        told,
        serde_json::json!({
            "subject": "orders.new", "headers": [["A", "1"], ["A", "2"]], "payload": "delivery",
            "stream_sequence": 7, "attempt": 4, "published_at_ms": 1_700_000_000_000_u64, "expects_reply": true,
        })
    );
}

#[tokio::test]
async fn each_answer_comes_back_as_it_was_given() {
    let response = run("silent\npublish out.1 one\nheader out.2 Kind test").await.unwrap().unwrap();
    assert_eq!(response.reply, None);
    assert_eq!(response.publications[0].subject, "out.1");
    assert_eq!(response.publications[0].payload, b"one");
    assert_eq!(response.publications[1].headers, [("Kind".to_owned(), "test".to_owned())]);
    assert_eq!(run("ok").await.unwrap().unwrap().reply, Some(vec![]));
    assert_eq!(run("retry").await, Ok(Err(Failure::Retry(None))));
    assert_eq!(run("retry 250").await, Ok(Err(Failure::Retry(Some(Duration::from_millis(250))))));
    assert_eq!(run("reject no good").await, Ok(Err(Failure::Reject("no good".into()))));
}

#[tokio::test]
async fn settings_are_read_and_nothing_else_is_there() {
    assert_eq!(reply("config currency").await, "EUR");
    assert_eq!(reply("config other").await, "none");
    assert_eq!(reply("env").await, r#"{"arguments":[],"variables":[]}"#);
    assert!(reply("open /etc/passwd").await.starts_with("error"));
    assert!(reply("connect 127.0.0.1:4222").await.starts_with("error"));
    assert!(reply("clock").await.parse::<u64>().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn state_lives_from_call_to_call_and_not_past_a_fault() {
    let mut instance = probe().await;
    for count in ["1", "2"] {
        let response = instance.handle(&delivery("count")).await.unwrap().unwrap();
        assert_eq!(response.reply.unwrap(), count.as_bytes());
    }
    assert!(matches!(instance.handle(&delivery("trap")).await, Err(Fault::Trap(_))));
    assert!(!instance.is_usable());
    assert!(matches!(instance.handle(&delivery("count")).await, Err(Fault::Start(_))));
}

#[tokio::test]
async fn a_trap_tells_what_happened_and_what_was_last_written() {
    let Err(Fault::Trap(text)) = run("eprint the reason\ntrap").await else { panic!() };
    assert!(text.contains("unreachable"), "{text}");
    assert!(text.ends_with("it wrote: the reason"), "{text}");
    let Err(Fault::Trap(text)) = run("overflow").await else { panic!() };
    // The stack of a guest made from Rust is a part of its memory.
    assert!(text.starts_with("out of bounds memory access"), "{text}");
}

#[tokio::test]
async fn a_trap_tells_file_and_line_where_the_component_has_them() {
    let told = async |bytes: &[u8], script| {
        let mut instance = plugin(bytes).await.instantiate(&context(limits())).await.unwrap();
        let Err(Fault::Trap(text)) = instance.handle(&delivery(script)).await else { panic!() };
        println!("{text}");
        text
    };
    let source = include_str!("../../../../../tests/guests/probe-worker/src/steps.rs");
    for (script, code) in [("trap", "Step::Trap =>"), ("panic no stock", "Step::Panic(")] {
        let line = source.lines().position(|line| line.contains(code)).unwrap() + 1;
        let text = told(probes::WORKER_WITH_LINES, script).await;
        assert!(text.contains(&format!("(tests/guests/probe-worker/src/steps.rs:{line})")), "{text}");
        // The same guest without debug information.
        let text = told(probes::WORKER_V1, script).await;
        assert!(!text.contains(&format!("steps.rs:{line})")), "{text}");
    }
}

#[tokio::test]
async fn a_guest_that_wants_too_much_memory_is_ended() {
    assert_eq!(run("grow").await, Err(Fault::Memory(16 << 20)));
}

#[tokio::test]
async fn a_reply_that_is_too_large_for_the_host_is_a_fault() {
    let limits = Limits { memory: 64 << 20, ..limits() };
    let large = probe_with(limits.clone()).await.handle(&delivery("big-reply 10000000")).await;
    assert_eq!(large.unwrap().unwrap().reply.unwrap().len(), 10_000_000);
    let huge = probe_with(limits).await.handle(&delivery("big-reply 100000000")).await;
    assert!(matches!(huge, Err(Fault::Memory(_))), "{huge:?}");
}

#[tokio::test]
async fn a_result_that_cannot_be_read_is_a_fault() {
    // A pointer outside the memory; a discriminant that there is not.
    for handle in ["(i32.const 0x7fffff00)", "(i32.store8 (i32.const 0) (i32.const 9)) (i32.const 0)"] {
        let plugin = plugin(&core("1", handle, "")).await;
        let mut instance = plugin.instantiate(&context(limits())).await.unwrap();
        let outcome = instance.handle(&delivery("")).await;
        assert!(matches!(outcome, Err(Fault::Answer(_))), "{outcome:?}");
        assert!(!instance.is_usable());
    }
}

#[tokio::test]
async fn a_million_publications_are_a_fault() {
    // ok(response) with no reply and a list of 10^6 empty publications at 0, in a memory of 64 MiB.
    let handle =
        "(i32.store (i32.const 20) (i32.const 4096)) (i32.store (i32.const 24) (i32.const 1000000)) (i32.const 0)";
    let limits = Limits { memory: 65 << 20, ..limits() };
    let (_dir, file) = file(core("1024", handle, ""));
    let plugin: HandlerPlugin = host().load(&file, &limits).await.unwrap();
    let outcome = plugin.instantiate(&context(limits)).await.unwrap().handle(&delivery("")).await;
    assert_eq!(outcome, Err(Fault::Response(16 << 20)));
}

#[tokio::test]
async fn a_guest_that_spins_is_ended_when_its_time_is_over() {
    let limits = Limits { time: Duration::from_millis(100), ..limits() };
    let mut instance = probe_with(limits).await;
    let began = std::time::Instant::now();
    assert_eq!(instance.handle(&delivery("spin")).await, Err(Fault::Time(Duration::from_millis(100))));
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_guest_that_sleeps_is_ended_when_its_time_is_over() {
    let mut instance = probe_with(Limits { time: Duration::from_millis(50), ..limits() }).await;
    assert_eq!(instance.handle(&delivery("sleep 3600000")).await, Err(Fault::Time(Duration::from_millis(50))));
}

fn mappings() -> u64 {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count() as u64
}

#[tokio::test]
async fn an_instance_takes_no_more_mappings_than_it_is_counted_for() {
    const INSTANCES: u64 = 100;
    let answer = r#"(memory.fill (i32.const 0) (i32.const 0) (i32.const 64)) (i32.const 0)"#;
    let more: String = (1..16).map(|n| format!("(memory 4) (data (memory {n}) (i32.const 70000) \"a\")")).collect();
    for bytes in [workers::ECHO.to_vec(), core("4", answer, &format!("(data (i32.const 70000) \"a\") {more}"))] {
        let plugin = plugin(&bytes).await;
        let before = mappings();
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            let mut instance = plugin.instantiate(&context(limits())).await.unwrap();
            instance.handle(&delivery("ok")).await.unwrap().unwrap();
            instances.push(instance);
        }
        let each = plugin.need().mappings();
        let taken = mappings().saturating_sub(before);
        // Other tests run beside this one.
        assert!(taken <= each * INSTANCES + 500, "{taken} for {INSTANCES} instances, where each counts {each}");
        println!("{} for each, counted {each}", taken as f64 / INSTANCES as f64);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_spins_lets_other_tasks_run() {
    let mut spinning = probe().await;
    let mut other = probe().await;
    let (spin, ok) = (delivery("spin"), delivery("ok"));
    tokio::select! {
        biased;
        outcome = spinning.handle(&spin) => panic!("{outcome:?}"),
        outcome = other.handle(&ok) => assert!(outcome.unwrap().is_ok()),
    }
    // The future of its call was dropped, and so it cannot be called again.
    assert!(!spinning.is_usable());
    assert!(other.is_usable());
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_guest_prints_is_logged_with_its_worker_and_message() {
    let logged = Logged::start();
    run("print to standard output\neprint to standard error\nlog critical it burns\nlog trace fine")
        .await
        .unwrap()
        .unwrap();
    let line = logged.with("to standard output").pop().unwrap();
    assert!(line.contains("INFO") && line.contains("tidegate::guest"), "{line}");
    for field in ["workload=orders", "worker=3", "plugin=probe", "generation=", "stream_sequence=7"] {
        assert!(line.contains(field), "{line}");
    }
    assert!(logged.with("to standard error")[0].contains("WARN"));
    let line = logged.with("it burns").pop().unwrap();
    assert!(line.contains("ERROR") && line.contains("context=\"probe\""), "{line}");
    assert!(logged.with("fine")[0].contains("TRACE"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_log_flood_is_capped() {
    let logged = Logged::start();
    let line = format!("print {}\n", "x".repeat(1000));
    run(&line.repeat(2000)).await.unwrap().unwrap();
    // 256 KiB a second; a slow machine may take more than one.
    assert!(logged.with("xxx").len() < 1000);
    assert!(!logged.with("dropped log lines").is_empty());
}

#[tokio::test]
async fn the_handlers_that_ship_load_and_answer() {
    for (name, bytes) in workers::ALL {
        let plugin = plugin(bytes).await;
        let mut instance = plugin.instantiate(&context(limits())).await.unwrap();
        assert!(instance.handle(&delivery("{}")).await.is_ok(), "{name}");
    }
}
