//! What a user sees of answers that cannot be carried out. `dead_letters` has what becomes of them.

use tidegate_nats_server::ServerOptions;

use crate::support::cli::{Running, run, tidegate};
use crate::support::host::plugins;
use crate::support::nats::nats_with;

#[tokio::test]
async fn the_log_names_the_message_the_plugin_and_what_is_wrong_with_its_answer() {
    let server = nats_with(ServerOptions { config: "max_payload: 2048".into(), ..ServerOptions::default() }).await;
    let plugins = plugins();
    let dir = plugins.path().to_str().unwrap();
    let flags =
        ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed", "--expires", "1s"];
    let grants = ["--grant-publish", "work.out"];
    let place =
        ["run", "--no-cache", "--server", server.url(), "--plugins", dir, "--max-attempts", "2", "--backoff", "10ms"];
    let mut host = Running::start(tidegate(place.iter().chain(&flags).chain(&grants)));
    host.line_with("policy in use").await;
    let request = async |script: &str, timeout: &str| {
        run(["request", "work.a", script, "--timeout", timeout, "--server", server.url()]).await
    };
    for (sequence, (script, problem)) in [
        ("big-reply 3000", "a reply of 3000 bytes, and the server takes 2048"),
        ("big-publication work.out 3000", "publication 0: 3424 bytes, and the server takes 2048"),
        ("bad-header work.out", "publication 0: `Not A: Name` is not a legal header name"),
        ("nats-header work.out", "publication 0: the header `Nats-Msg-Id` belongs to the host"),
        (
            "publish work.a x",
            "publication 0: `work.a` is not granted: grants.publish of its workload has no subject that matches",
        ),
        ("bad-subject text", "publication 0: `no.*.literal` is not a literal subject"),
    ]
    .iter()
    .enumerate()
    {
        request(script, "30s").await.failed_with(4, &["it is dead letter ", "with the cause effects"]);
        for told in ["to be tried again", "dead letter"] {
            let line = host.line_with(told).await;
            let message = format!("stream_sequence={}", sequence + 1);
            for part in ["workload=probe", "worker=", "plugin=probe", "generation=", &message, problem] {
                assert!(line.contains(part), "no `{part}` in {line}");
            }
        }
    }
    let ended = request("reply fine", "20s").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "fine"), "{}", ended.stderr);
}
