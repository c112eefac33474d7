//! Several calls of one instance at a time.

use tidegate_test_artifacts::probes;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::config::Config;
use crate::contract::{Answer, Failure, Fault};
use crate::plugin::{
    HandlerInstance, HandlerPlugin, HttpAccess, PluginRefusal, PolicyPlugin, Wanted, WantedForm, WorkerContext,
};
use crate::ports::ConcurrentCall;

async fn load(bytes: &[u8], form: WantedForm) -> Result<HandlerPlugin, PluginRefusal> {
    let (_dir, file) = file(bytes);
    host().load_as(&file, &limits(), &Wanted { form, ..Wanted::default() }).await.map_err(|error| error.refusal)
}

async fn instance(limits: Limits) -> HandlerInstance {
    let context = WorkerContext { concurrency: 8, ..WorkerContext::new("orders".into(), 3, Arc::new([]), limits) };
    load(probes::ASYNC, WantedForm::Concurrent).await.unwrap().instantiate(&context).await.unwrap()
}

/// How the instance ended, and what each call was answered.
async fn calls(instance: &mut HandlerInstance, scripts: &[&str]) -> (Result<(), Fault>, Vec<Option<Answer>>) {
    let (begin, coming) = mpsc::unbounded_channel();
    let mut answers = Vec::new();
    for (sequence, script) in (1..).zip(scripts) {
        let (answer, answered) = oneshot::channel();
        let delivery = Delivery { stream_sequence: sequence, ..delivery(script) };
        begin.send(ConcurrentCall { delivery, answer }).unwrap();
        answers.push(answered);
    }
    drop(begin);
    let ended = instance.run(coming).await;
    let answers = futures_util::future::join_all(answers).await;
    (ended, answers.into_iter().map(Result::ok).collect())
}

fn reply(answer: &Option<Answer>) -> String {
    String::from_utf8(answer.clone().unwrap().unwrap().reply.unwrap()).unwrap()
}

#[tokio::test]
async fn calls_of_one_instance_wait_beside_each_other() {
    let mut probe = instance(limits()).await;
    assert!(probe.handles_concurrently() && !probe.handles_batches());
    // Each says how many run when it is done: the first of them that all have begun.
    let (ended, answers) = calls(&mut probe, &["sleep 50\nbatch", "sleep 50\nbatch", "retry 250", "reject no"]).await;
    assert_eq!(ended, Ok(()));
    let running: Vec<_> = answers[..2].iter().map(reply).collect();
    assert!(running.contains(&"2".to_owned()), "{running:?}");
    assert_eq!(answers[2], Some(Err(Failure::Retry(Some(Duration::from_millis(250))))));
    assert_eq!(answers[3], Some(Err(Failure::Reject("no".into()))));
    // State lives on, and the instance can be called for one delivery alone.
    assert_eq!(probe.handle(&delivery("count")).await.unwrap().unwrap().reply.unwrap(), b"5");
    let (_, answers) = calls(&mut probe, &["delivery"]).await;
    assert!(reply(&answers[0]).contains("\"stream_sequence\":1,\"subject\":\"orders.new\""), "{answers:?}");
    assert!(probe.is_usable());
}

#[tokio::test]
async fn a_trap_ends_all_calls_and_what_was_answered_before_is_answered() {
    let mut probe = instance(limits()).await;
    let (ended, answers) = calls(&mut probe, &["reply first", "sleep 100000", "sleep 50\ntrap"]).await;
    assert!(matches!(ended, Err(Fault::Trap(_))), "{ended:?}");
    assert_eq!((reply(&answers[0]), &answers[1], &answers[2]), ("first".to_owned(), &None, &None));
    assert!(!probe.is_usable());
}

#[tokio::test]
async fn each_call_has_its_time_whatever_the_guest_does_with_it() {
    let limits = Limits { time: Duration::from_millis(300), ..limits() };
    // It waits, it computes, it holds the host in a call of WASI 0.2.
    for script in ["sleep 100000", "spin", "block 100000", "storm clock"] {
        let mut probe = instance(limits.clone()).await;
        let (ended, answers) = calls(&mut probe, &["sleep 1", script, "sleep 100000"]).await;
        assert_eq!(ended, Err(Fault::Time(limits.time)), "{script}");
        assert_eq!(answers[1], None, "{script}");
    }
    let mut probe = instance(limits.clone()).await;
    let (ended, answers) = calls(&mut probe, &["sleep 1"; 8]).await;
    assert!(ended.is_ok() && answers.iter().all(Option::is_some), "{ended:?}");
}

#[tokio::test]
async fn what_a_guest_begins_without_end_ends_its_instance() {
    for script in ["subtasks", "streams", "grow"] {
        let mut probe = instance(limits()).await;
        let (ended, _) = calls(&mut probe, &[script, "sleep 100000"]).await;
        let fault = ended.unwrap_err();
        let expected =
            if script == "grow" { matches!(fault, Fault::Memory(_)) } else { matches!(fault, Fault::Trap(_)) };
        assert!(expected, "{script}: {fault:?}");
    }
}

#[tokio::test]
async fn what_it_prints_is_logged_by_either_wasi() {
    let logged = Logged::start();
    let mut probe = instance(limits()).await;
    assert_eq!(calls(&mut probe, &["write by-0.3"]).await.0, Ok(()));
    assert_eq!(calls(&mut probe, &["print by-0.2"]).await.0, Ok(()));
    for text in ["by-0.3", "by-0.2"] {
        let lines = logged.with(text);
        assert!(lines.len() == 1 && lines[0].contains("stream_sequence=1"), "{text}: {lines:?}");
    }
}

#[tokio::test]
async fn requests_of_wasi_0_3_need_a_grant_and_have_the_limits_of_each_call() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while socket.read(&mut head).await.is_ok_and(|count| count > 0) {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nprice").await;
                }
            });
        }
    });
    let text = format!(
        "[workload.prices]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"p\"\nlimits.http-requests = 2\n\
         grants.http = [\"{origin}/v1/\"]"
    );
    let workload = Config::from_toml(&text).unwrap().workloads.remove(0);
    let access = Arc::new(HttpAccess::new(&workload));
    access.ready().await.unwrap();
    let context = WorkerContext::new("prices".into(), 1, Arc::new([]), limits());
    let context = WorkerContext { http: access, concurrency: 8, ..context };
    let mut probe = load(probes::ASYNC, WantedForm::Any).await.unwrap().instantiate(&context).await.unwrap();
    let get = format!("get {origin}/v1/price");
    let (ended, answers) = calls(&mut probe, &[&get, &format!("get {origin}/v2/price"), &get]).await;
    assert_eq!(ended, Ok(()));
    let replies: Vec<_> = answers.iter().map(reply).collect();
    assert_eq!(replies, ["200 price", "ErrorCode::HttpRequestDenied", "200 price"]);
    let (ended, answers) = calls(&mut probe, &[&format!("{get}\n{get}"), &format!("{get}\n{get}")]).await;
    assert_eq!((ended, reply(&answers[0]), reply(&answers[1])), (Ok(()), "200 price".into(), "200 price".into()));
    let (_, answers) = calls(&mut probe, &[&format!("{get}\n{get}\n{get}")]).await;
    assert_eq!(reply(&answers[0]), "ErrorCode::HttpRequestDenied");
}

#[tokio::test]
async fn texts_of_a_request_have_a_bound() {
    let (ended, answers) =
        calls(&mut instance(limits()).await, &["takes 64", "takes 65", "takes 301", "takes 8193"]).await;
    let replies: Vec<_> = answers.iter().map(reply).collect();
    assert_eq!(
        (ended, replies),
        (
            Ok(()),
            vec![
                "Ok(()) Ok(()) Ok(())".into(),
                "Ok(()) Err(()) Ok(())".into(),
                "Err(()) Err(()) Ok(())".into(),
                "Err(()) Err(()) Err(())".into()
            ]
        )
    );
}

#[tokio::test]
async fn its_engine_is_made_with_the_first_of_its_form() {
    let own = PluginHost::new(None).unwrap();
    let (_dir, ordinary) = file(probes::WORKER_V1);
    let _: HandlerPlugin = own.load(&ordinary, &limits()).await.unwrap();
    assert!(!own.engines().runs_async_handlers());
    let (_dir, file) = file(probes::ASYNC);
    let _: HandlerPlugin = own.load(&file, &limits()).await.unwrap();
    assert!(own.engines().runs_async_handlers());
}

#[tokio::test]
async fn what_handles_one_at_a_time_is_refused_where_several_are_wanted() {
    let refusal = load(probes::WORKER_V1, WantedForm::Concurrent).await.err().unwrap();
    assert!(matches!(refusal, PluginRefusal::NotConcurrent));
    assert!(refusal.to_string().contains("does not export tidegate:plugin/async-handler@0.1.3"), "{refusal}");
    let refusal = load(probes::ASYNC, WantedForm::Batches).await.err().unwrap();
    assert!(matches!(refusal, PluginRefusal::NoBatches));
    let mut probe = load(probes::WORKER_V1, WantedForm::Any).await.unwrap();
    let context = WorkerContext::new("orders".into(), 3, Arc::new([]), limits());
    let (ended, _) = calls(&mut probe.instantiate(&context).await.unwrap(), &["ok"]).await;
    assert!(matches!(ended, Err(Fault::Start(_))), "{ended:?}");
    probe = load(probes::ASYNC, WantedForm::Any).await.unwrap();
    assert_eq!(&*probe.generation().plugin, "probe");
    let (_dir, file) = file(probes::ASYNC);
    let as_policy: Result<PolicyPlugin, _> = host().load(&file, &limits()).await;
    assert!(matches!(as_policy.unwrap_err().refusal, PluginRefusal::WrongKind { .. }));
}
