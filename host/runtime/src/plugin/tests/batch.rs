//! Handlers of batches.

use std::sync::Arc;
use std::time::Duration;

use tidegate_artifacts::workers;
use tidegate_test_artifacts::probes;

use super::{Logged, delivery, file, host, limits};
use crate::config::{Compile, Limits, Plugins};
use crate::contract::{Answer, Delivery, Failure, Fault};
use crate::plugin::{
    Directory, HandlerInstance, HandlerPlugin, HandlerWatch, PluginRefusal, Wanted, WantedForm, WorkerContext,
};

fn of(form: WantedForm) -> Wanted {
    Wanted { form, ..Wanted::default() }
}

async fn load(bytes: &[u8], form: WantedForm) -> Result<HandlerPlugin, PluginRefusal> {
    let (_dir, file) = file(bytes);
    host().load_as(&file, &limits(), &of(form)).await.map_err(|error| error.refusal)
}

async fn instance(bytes: &[u8], limits: Limits) -> HandlerInstance {
    let context = WorkerContext::new("orders".into(), 3, Arc::new([]), limits);
    load(bytes, WantedForm::Any).await.unwrap().instantiate(&context).await.unwrap()
}

async fn call(instance: &mut HandlerInstance, scripts: &[&str]) -> Result<Vec<Answer>, Fault> {
    let deliveries: Vec<Delivery> = scripts.iter().map(|script| delivery(script)).collect();
    instance.handle_batch(&deliveries.iter().collect::<Vec<_>>()).await
}

fn reply(answer: &Answer) -> String {
    String::from_utf8(answer.as_ref().unwrap().reply.clone().unwrap()).unwrap()
}

#[tokio::test]
async fn each_delivery_of_a_batch_gets_its_own_answer_in_order() {
    let mut probe = instance(probes::BATCH, limits()).await;
    assert!(probe.handles_batches());
    let answers =
        call(&mut probe, &["reply one", "retry 250", "publish out.1 two", "reject no", "batch"]).await.unwrap();
    assert_eq!(reply(&answers[0]), "one");
    assert_eq!(answers[1], Err(Failure::Retry(Some(Duration::from_millis(250)))));
    assert_eq!(answers[2].as_ref().unwrap().publications[0].payload, b"two");
    assert_eq!(answers[3], Err(Failure::Reject("no".into())));
    assert_eq!(reply(&answers[4]), "5");
    // State lives from call to call, and a single delivery is a batch of one.
    assert_eq!(probe.handle(&delivery("count")).await.unwrap().unwrap().reply.unwrap(), b"6");
    assert_eq!(probe.handle(&delivery("batch")).await.unwrap().unwrap().reply.unwrap(), b"1");
    assert_eq!(call(&mut probe, &[]).await, Ok(vec![]));
}

#[tokio::test]
async fn a_batch_reaches_the_guest_as_it_is() {
    let mut probe = instance(probes::BATCH, limits()).await;
    let deliveries: Vec<Delivery> = (1..=300)
        .map(|stream_sequence| Delivery {
            headers: vec![("A".into(), stream_sequence.to_string())],
            stream_sequence,
            ..delivery("delivery")
        })
        .collect();
    let answers = probe.handle_batch(&deliveries.iter().collect::<Vec<_>>()).await.unwrap();
    for (answer, delivery) in answers.iter().zip(&deliveries) {
        let told: serde_json::Value = serde_json::from_str(&reply(answer)).unwrap();
        assert_eq!(told["stream_sequence"], delivery.stream_sequence);
        assert_eq!(told["headers"], serde_json::json!([["A", delivery.stream_sequence.to_string()]]));
    }
}

#[tokio::test]
async fn a_batch_that_fails_fails_as_a_whole_and_ends_the_instance() {
    let mut trapped = instance(probes::BATCH, limits()).await;
    assert!(matches!(call(&mut trapped, &["ok", "trap", "ok"]).await, Err(Fault::Trap(_))));
    assert!(!trapped.is_usable());
    let mut short = instance(probes::BATCH, limits()).await;
    let fault = call(&mut short, &["ok", "short", "ok"]).await.unwrap_err();
    assert_eq!(fault, Fault::Answers { answers: 2, deliveries: 3 });
    assert!(!short.is_usable());
    let time = Duration::from_millis(50);
    let mut slow = instance(probes::BATCH, Limits { time, ..limits() }).await;
    assert_eq!(call(&mut slow, &["ok", "spin"]).await, Err(Fault::Time(time)));
}

#[tokio::test]
async fn a_handler_of_single_deliveries_takes_no_batch() {
    let mut probe = instance(probes::WORKER_V1, limits()).await;
    assert!(!probe.handles_batches());
    assert!(matches!(call(&mut probe, &["ok", "ok"]).await, Err(Fault::Start(_))));
    assert!(probe.handle(&delivery("ok")).await.is_ok());
}

#[tokio::test]
async fn a_workload_that_wants_batches_refuses_a_handler_that_takes_none() {
    assert!(load(probes::BATCH, WantedForm::Batches).await.is_ok());
    let refusal = load(probes::WORKER_V1, WantedForm::Batches).await.err().unwrap();
    let text = refusal.to_string();
    assert!(matches!(refusal, PluginRefusal::NoBatches), "{text}");
    assert!(text.contains("it does not export tidegate:plugin/batch-handler@0.1.3"), "{text}");
    assert!(text.contains("build it for the world `batch-worker`"), "{text}");
}

#[tokio::test]
async fn some_languages_import_all_of_the_world_and_what_is_not_there_traps() {
    let text = r#"(component
        (import "tidegate:plugin/handler@0.1.3" (instance $handler (export "handle" (func))))
        (core func $handle (canon lower (func $handler "handle")))
        (core module $m (import "h" "handle" (func $handle)) (start $handle))
        (core instance (instantiate $m (with "h" (instance (export "handle" (func $handle))))))
        (instance $i) (export "tidegate:plugin/batch-handler@0.1.3" (instance $i)))"#;
    let refusal = load(&wat::parse_str(text).unwrap(), WantedForm::Any).await.err().unwrap();
    assert!(refusal.to_string().contains("has no function `handle`"), "{refusal}");
    let text = text.replace("batch-handler@0.1.3\"", "handler@0.1.3\"");
    let refusal = load(&wat::parse_str(text).unwrap(), WantedForm::Any).await.err().unwrap();
    assert!(matches!(refusal, PluginRefusal::Import(_)), "{refusal}");
}

/// The same plugin for a workload with batches and for one without.
#[tokio::test(flavor = "current_thread")]
async fn what_is_refused_for_a_workload_with_batches_is_not_for_one_without() {
    let log = Logged::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("probe.wasm"), probes::WORKER_V1).unwrap();
    let rescan = Duration::from_millis(20);
    let plugins = Plugins {
        dir: dir.path().to_owned(),
        rescan,
        cache: None,
        compile: Compile::default(),
        origin: Default::default(),
    };
    let directory = Directory::start(host(), &plugins);
    let mut batches: HandlerWatch = directory.watch_as("probe", &of(WantedForm::Batches), &limits());
    let mut either: HandlerWatch = directory.watch("probe", &limits());
    either.changed().await;
    while log.with("it handles one delivery a call").is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(either.current().is_some() && batches.current().is_none());
    // Both are told as one plugin.
    let [state] = directory.plugins().try_into().unwrap();
    assert_eq!((state.loaded, state.refused, state.generation), (1, 1, None));
    assert!(state.problem.unwrap().contains("[workload.NAME.batching]"));
    std::fs::write(dir.path().join("probe.wasm"), probes::BATCH).unwrap();
    batches.changed().await;
    either.changed().await;
    assert_eq!(batches.current().unwrap().generation(), either.current().unwrap().generation());
}

#[tokio::test]
async fn the_handlers_of_batches_that_ship_answer_to_each() {
    for plugin in [workers::REPLY_BATCH, workers::ARCHIVE] {
        let mut instance = instance(plugin, limits()).await;
        let answers = call(&mut instance, &["one", "two", "three"]).await.unwrap();
        assert!(answers.len() == 3 && answers.iter().all(Result::is_ok), "{answers:?}");
    }
}
