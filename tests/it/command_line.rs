//! The program as a user meets it: help, misspelt flags, logs, signals.

use std::convert::Infallible;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tidegate_nats_server::Server;

use crate::support::cli::{Running, run, tidegate, tidegate_with_signals, without_nats};
use crate::support::host::plugins;
use crate::support::nats::{jetstream, nats};
use crate::support::until;

/// Starts a host on the stream `work`.
fn host(server: &Server, plugins: &tempfile::TempDir, more: &[&str]) -> Running {
    let dir = plugins.path().to_str().unwrap();
    let flags = ["run", "--no-cache", "--server", server.url(), "--plugins", dir, "--expires", "1s", "--min", "1"];
    let workload = ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed"];
    Running::start(tidegate_with_signals(flags.iter().chain(&workload).chain(more)))
}

async fn publish(server: &Server, script: &str) {
    let context = jetstream(server).await;
    context.publish("work.a", script.to_owned().into()).await.unwrap().await.unwrap();
}

/// A host that has half a second to handle a message.
async fn busy() -> (Server, tempfile::TempDir, Running) {
    let (server, plugins) = (nats().await, plugins());
    let mut host = host(&server, &plugins, &[]);
    host.line_with("worker started").await;
    publish(&server, "print begun\nsleep 500\nprint done").await;
    host.line_with("begun").await;
    (server, plugins, host)
}

#[tokio::test]
async fn every_command_has_a_help_with_its_exit_codes_and_an_example() {
    for (command, codes) in [
        ("run", &["0: drained", "1: it could not start", "130: a second signal"][..]),
        ("check", &["0: all can run", "1:"]),
        ("request", &["0: a reply came", "3: no PubAck or no"]),
        ("demo", &["code 0: every request was replied to", "1: something was lost"]),
        ("bench", &["code 0: measured", "1: something failed"]),
        ("health", &["0: it is ready", "1: it is not, or cannot be asked"]),
        ("new", &["0: it is made", "1: it is not"]),
        ("replay", &["code 0: all is the same, or compared", "1: something decides otherwise", "2: wrong usage"]),
        ("simulate", &["0: simulated", "1:"]),
    ] {
        let help = run([command, "--help"]).await;
        assert_eq!(help.code, Some(0));
        let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in codes.iter().chain(&["Usage: tidegate", "--log <FILTER>"]) {
            assert!(text.contains(part), "no `{part}` in\n{}", help.stdout);
        }
        if !["demo", "bench"].contains(&command) {
            assert!(text.contains(&format!("Examples: tidegate {command}")), "{}", help.stdout);
        }
        assert!(!text.contains("as typed"), "a note to programmers in\n{}", help.stdout);
    }
    assert!(run(["--help"]).await.stdout.contains("tidegate demo"));
}

#[tokio::test]
async fn a_misspelt_command_flag_or_value_is_told_with_what_may_be_meant() {
    run(["chekc"]).await.failed_with(2, &["unrecognized subcommand 'chekc'", "'check'"]);
    run(["run", "--steam", "X"]).await.failed_with(2, &["unexpected argument '--steam'", "'--stream'"]);
    run(["run", "--manage", "make"]).await.failed_with(2, &["invalid value 'make'", "bind, create"]);
    run(["run", "--local", "--server", "x"]).await.failed_with(2, &["'--local' cannot be used with '--server <URL>'"]);
    run(["request", "a", "--timeout", "3"]).await.failed_with(2, &["\"3\" has no unit", "5s"]);
    run(["request", "a", "-H", "abc"]).await.failed_with(2, &["'abc'", "a header is NAME:VALUE"]);
    run(["check", "--log", "inof"]).await.failed_with(1, &["--log inof", "info, debug, trace"]);
    run(["check", "--log", " "]).await.failed_with(1, &["--log \"\": ", "`off`", "write `debug`"]);
    let mut by_variable = tidegate(["check"]);
    by_variable.env("TIDEGATE_LOG", "inof");
    let ended = Running::start(by_variable).end().await;
    ended.failed_with(1, &["tidegate: TIDEGATE_LOG inof: ", "info, debug, trace"]);
    let mut by_both = tidegate(["check", "--log", "loud"]);
    by_both.env("TIDEGATE_LOG", "inof");
    Running::start(by_both).end().await.failed_with(1, &["tidegate: --log loud: "]);
    for source in [["--trace", "day.csv"], ["--journal", "journal.jsonl"]] {
        let ended = run(["simulate", "--policy", "x.wasm", "--duration", "10s"].into_iter().chain(source)).await;
        ended.failed_with(2, &["'--duration <TIME>' cannot be used with", source[0]]);
    }
    let to_both = ["plugin", "push", "a.wasm", "--to", "oci://r.io/a:1", "--plugin-bucket", "B"];
    run(to_both).await.failed_with(2, &["cannot be used with", "--plugin-bucket <BUCKET>"]);
    assert_eq!(run::<&str>([]).await.code, Some(2));
    run(["scale", "orders", "8"]).await.failed_with(2, &["not \"8\"", "`tidegate scale orders set 8`"]);
}

#[tokio::test]
async fn a_request_with_an_illegal_subject_or_header_is_not_sent() {
    let server = nats().await;
    let request = async |more: &[&str]| run(["request", "--server", server.url()].iter().chain(more)).await;
    request(&["a b"]).await.failed_with(1, &["`a b` is not a subject to publish on"]);
    request(&["a", "-H", "a b:c"]).await.failed_with(1, &["header `a b`", "visible ASCII characters"]);
    request(&["a"]).await.failed_with(1, &["no stream takes `a`"]);
}

#[tokio::test]
async fn every_line_of_a_json_log_is_an_object_that_says_whose_it_is() {
    let (server, plugins) = (nats().await, plugins());
    let mut host = host(&server, &plugins, &["--log-format", "json", "--log", "debug", "--max-attempts", "1"]);
    host.line_with("policy in use").await;
    publish(&server, "print said\nreject because \"so\"").await;
    host.line_with("dead letter").await;
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<serde_json::Map<String, serde_json::Value>> = ended.stderr.lines().map(read).collect();
    let line = |message: &str| {
        let found = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)));
        found.unwrap_or_else(|| panic!("no `{message}` in\n{}", ended.stderr))
    };
    for (message, fields) in [
        ("loaded ", &["plugin", "generation"][..]),
        ("ready", &["workload"]),
        ("policy in use", &["workload", "plugin", "generation"]),
        ("worker started", &["workload", "worker"]),
        ("said", &["workload", "worker", "plugin", "generation", "stream_sequence"]),
        ("dead letter", &["workload", "worker", "plugin", "generation", "stream_sequence"]),
        ("worker stopped", &["workload", "worker"]),
    ] {
        for field in fields.iter().chain(&["timestamp", "level", "target"]) {
            assert!(line(message).contains_key(*field), "no {field} in {:?}", line(message));
        }
    }
    assert_eq!(line("dead letter")["workload"], "probe");
    assert_eq!(line("dead letter")["stream_sequence"], 1);
    assert_eq!(line("dead letter")["reason"], "because \"so\"");
}

#[tokio::test]
async fn sigterm_drains_what_is_being_handled_and_exits_0() {
    let (server, _plugins, mut host) = busy().await;
    host.signal(Signal::TERM);
    host.line_with("draining").await;
    host.line_with("done").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let stream = jetstream(&server).await.get_stream("work").await.unwrap();
    until("it is acknowledged", async || {
        let info = stream.consumer_info("probe-workers").await.unwrap();
        (info.ack_floor.stream_sequence == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_that_asks_for_the_end_drains_and_another_is_told() {
    let (server, plugins) = (nats().await, plugins());
    for end in [Signal::TERM, Signal::QUIT] {
        let mut host = host(&server, &plugins, &[]);
        host.line_with("worker started").await;
        for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
            host.signal(signal);
            host.line_with(&format!("{name} means nothing")).await;
        }
        host.signal(Signal::HUP);
        host.line_with("configuration read again (SIGHUP): nothing has changed").await;
        host.signal(Signal::PIPE);
        host.signal(end);
        host.line_with("draining").await;
        assert_eq!(host.end().await.code, Some(0));
    }
}

#[tokio::test]
async fn a_guest_forges_no_line_and_what_is_not_logged_takes_nothing_of_what_may_be() {
    let (server, plugins) = (nats().await, plugins());
    let mut host = host(&server, &plugins, &["--log", "error", "--limit-log-rate", "1KiB"]);
    let flood = "log info nobody wants to know this\n".repeat(100);
    let forged = "log error first\u{2028}second\rERROR forged\u{1b}[2J";
    until("the stream is there", async || jetstream(&server).await.get_stream("work").await.ok()).await;
    publish(&server, &format!("{flood}{forged}")).await;
    let line = host.line_with("first").await;
    assert!(line.contains("second\\rERROR forged") && !line.contains('\u{1b}'), "{line}");
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("dropped log lines"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_is_told_and_one_that_nobody_reads_is_not() {
    let check = || tidegate(["permissions", "--stream", "S", "--handler", "h", "--policy", "p"]);
    let end = async |command: tokio::process::Command, stdout: std::process::Stdio| {
        let mut command = command;
        command.stdout(stdout).stderr(std::process::Stdio::piped());
        command.spawn().unwrap().wait_with_output().await.unwrap()
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = end(check(), full.into()).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("No space left on device"), "{ended:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = end(check(), writer.into()).await;
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(1), b"".as_slice()));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_130() {
    let (server, plugins) = (nats().await, plugins());
    let mut host = host(&server, &plugins, &["--limit-time", "1h"]);
    host.line_with("worker started").await;
    publish(&server, "print begun\nspin").await;
    host.line_with("begun").await;
    host.signal(Signal::TERM);
    host.line_with("draining").await;
    let pid = host.pid();
    tokio::select! {
        _ = host.line_with("second signal") => {}
        never = again_and_again(pid) => match never {},
    }
    assert_eq!(host.end().await.code, Some(130));
}

/// Two signals in one moment are one, so the second one is sent until it comes later than that.
async fn again_and_again(pid: Pid) -> Infallible {
    loop {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_signals_in_one_moment_are_one() {
    let (_server, _plugins, mut host) = busy().await;
    host.signal(Signal::TERM);
    host.signal(Signal::QUIT);
    host.line_with("done").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_signal_that_was_ignored_at_the_start_stays_so_but_that_a_hang_up_still_reloads() {
    let (server, plugins) = (nats().await, plugins());
    let dir = plugins.path().to_str().unwrap();
    let flags = ["run", "--no-cache", "--server", server.url(), "--plugins", dir, "--expires", "1s"];
    let workload = ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed"];
    let mut command = without_nats(tokio::process::Command::new("sh"));
    command.args(["-c", "trap '' INT QUIT HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidegate")]);
    command.args(flags.iter().chain(&workload));
    let mut host = Running::start(command);
    host.line_with("ready").await;
    host.signal(Signal::INT);
    host.signal(Signal::QUIT);
    host.signal(Signal::HUP);
    host.line_with("configuration read again (SIGHUP): nothing has changed").await;
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("SIGTERM: ending"), "{}", ended.stderr);
}
