//! Limits and grants of a workload, and where a user sees that one was hit.

use std::time::Duration;

use tidegate_runtime::config::{Config, Grants, Limits, Workload};
use tidegate_runtime::events::Event;

use crate::support::host::{Host, workers, workload};
use crate::support::log::logged;
use crate::support::site::{DEAD, Site, header};
use crate::support::web::get;
use crate::support::{eventually, until};

fn limited(name: &str, limits: impl FnOnce(Limits) -> Limits) -> Workload {
    let workload = workload(name);
    let retry = tidegate_runtime::config::Retry { max_attempts: 1, ..workload.retry.clone() };
    Workload { limits: limits(workload.limits.clone()), retry, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_publishes_only_where_it_is_granted() {
    let grants = Grants { publish: vec!["out.a".into()], ..Grants::default() };
    let host = Host::start(vec![Workload { grants, ..limited("work", |limits| limits) }]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish("in.work.a", "publish out.a yes").await;
    host.publish("in.work.a", "publish out.a no\npublish out.b no").await;
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!(header(dead, "Tidegate-Cause"), Some("effects"));
    assert!(header(dead, "Tidegate-Reason").unwrap().contains("publication 1: `out.b` is not granted"));
    host.settled("work").await;
    assert_eq!(host.stored("OUT").await.len(), 1);
}

/// Whoever may publish to the stream chooses where the reply goes, and must not speak with the host's rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_only_where_it_is_granted() {
    let host = Host::start(vec![Workload { grants: Grants::default(), ..workload("work") }]).await;
    host.stream("VICTIM", &["victim.>"]).await;
    for inbox in ["victim.a", "$JS.API.STREAM.DELETE.VICTIM", "_INBOX.*", "_INBOX.a b"] {
        host.publish_with("in.work.a", &[("Nats-Reply", inbox)], "reply boo").await;
    }
    host.settled("work").await;
    assert_eq!(host.stored("VICTIM").await.len(), 0);
    assert_eq!(host.request("in.work.a", "reply fine").await, "fine");
    logged(&["no reply where its requester wants it", "victim.a", "grants.reply"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_in_an_answer_is_a_fault_that_names_the_limit() {
    let few = |limits| Limits { publications: 2, response: 64 << 10, ..limits };
    let host = Host::start(vec![limited("work", few)]).await;
    host.stream("OUT", &["out.>"]).await;
    for (index, (script, reason)) in [
        (
            "publish out.a 1\npublish out.a 2\npublish out.a 3",
            "answered with 3 publications, and limits.publications is 2",
        ),
        ("big-reply 65537", "handed over more than the 65536 bytes that limits.response allows"),
    ]
    .into_iter()
    .enumerate()
    {
        host.publish("in.work.a", script).await;
        let dead = &host.stored_count(DEAD, index + 1).await[index];
        assert_eq!(header(dead, "Tidegate-Reason"), Some(reason));
        assert_eq!(header(dead, "Tidegate-Cause"), Some("effects"));
    }
    host.publish("in.work.a", "publish out.a 1\npublish out.a 2").await;
    host.stored_count("OUT", 2).await;
}

/// With two respawns a second: those of the first second are free, the rest has to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_traps_all_the_time_is_made_anew_no_more_often_than_it_may() {
    let site = Site::new().await;
    let workload = workers("work", 4);
    let limits = Limits { respawns: 2, ..workload.limits.clone() };
    let retry = tidegate_runtime::config::Retry { max_attempts: 100, backoff: vec![Duration::ZERO] };
    let config = Config {
        http: Some("127.0.0.1:0".parse().unwrap()),
        workloads: vec![Workload { limits, retry, ..workload }],
        ..site.config()
    };
    let host = Host::run(site, config);
    host.ready(1).await;
    let address = host.events().into_iter().find_map(|event| match event {
        Event::Listening { address } => Some(address.to_string()),
        _ => None,
    });
    let address = address.unwrap();
    host.publish_all("in.work.a", (0..8).map(|_| "trap".to_owned())).await;
    let count = async |name: &str| {
        let (_, metrics) = get(&address, "/metrics").await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    eventually("instances are held back", async || {
        count("tidegate_limit_hits_total{workload=\"work\",limit=\"respawns\"}").await >= 3.0
    })
    .await;
    // What is past the free ones waited, so there cannot be many more traps than that and the workers' first instances.
    let traps = count("tidegate_handler_faults_total{workload=\"work\",kind=\"trap\"}").await;
    let held = count("tidegate_limit_hits_total{workload=\"work\",limit=\"respawns\"}").await;
    assert!(traps <= 3.0 + 4.0 + held, "{traps} traps, {held} held");
    logged(&["\"workload\":\"work\"", "limits.respawns"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_logs_no_more_than_it_may_however_many_workers_it_has() {
    let name = "chatter";
    let workload = workers(name, 4);
    let limits = Limits { log_rate: 1 << 10, ..workload.limits.clone() };
    let host = Host::start(vec![Workload { limits, ..workload }]).await;
    let line = format!("print {}\n", "chatter-".repeat(30));
    host.publish_all("in.chatter.a", (0..40).map(|_| line.repeat(10))).await;
    host.settled(name).await;
    let dropped = until("dropped lines are told", async || {
        let told = crate::support::log::count(&["\"workload\":\"chatter\"", "dropped log lines", "limits.log-rate"]);
        (told > 0).then_some(told)
    });
    let told = dropped.await;
    let logged = crate::support::log::count(&["chatter-chatter-"]);
    // Four lines a second, told once a second: a slow machine may take many.
    assert!(logged < 200 && told < 100, "{logged} of 400 lines, dropping told {told} times");
}

#[tokio::test]
async fn a_process_that_has_no_room_for_any_instance_ends_and_says_why() {
    let plugins = crate::support::host::plugins();
    // Nothing is asked of the server: there is none.
    let arguments =
        ["run", "--server", "nats://127.0.0.1:1", "--stream", "S", "--handler", "probe", "--policy", "fixed"];
    let run = crate::support::cli::tidegate(arguments.iter().chain(&["--plugins", plugins.path().to_str().unwrap()]));
    let mut limited = tokio::process::Command::new("sh");
    // In KiB.
    limited.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]).arg(run.as_std().get_program());
    limited.args(run.as_std().get_args());
    let ended = crate::support::cli::Running::start(limited).end().await;
    ended.failed_with(1, &["an instance takes", "of address space", "this process may have", "ulimit -v"]);
}
