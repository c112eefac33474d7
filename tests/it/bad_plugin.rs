//! Plugin files and plugin directories that cannot be used. `check` fails on them; `run` says so and waits.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_artifacts::{policies, workers};
use tidegate_nats_server::Server;
use tidegate_test_artifacts::probes;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::host::{install, plugins};
use crate::support::nats::{client, nats};

/// A handler, as far as its exports go, whose start function traps.
const TRAPS_AT_ITS_START: &str = r#"(component
  (core module $m (func $start unreachable) (start $start) (func (export "handle")))
  (core instance $i (instantiate $m))
  (func $handle (canon lift (core func $i "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "tidegate:plugin/handler@0.1.0" (instance $handler)))"#;

const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Files that are no handler, and what is said of each.
fn no_handlers() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let half = &probes::WORKER_V1[..probes::WORKER_V1.len() / 2];
    vec![
        ("text", b"fn main() {}".to_vec(), &["it is text, not a component", "build it for wasm32-wasip2"]),
        ("empty", Vec::new(), &["it is empty", "write a component to it"]),
        ("other", b"\x7fELF\x02\x01\x01\0".to_vec(), &["it is not WebAssembly", "build it for wasm32-wasip2"]),
        ("core", CORE_MODULE.to_vec(), &["it is a core module, not a component", "build it for wasm32-wasip2"]),
        ("half", half.to_vec(), &["it ends in the middle", "copy it again"]),
        (
            "world",
            EMPTY_COMPONENT.to_vec(),
            &[
                "it exports neither tidegate:plugin/handler nor",
                "the world `worker`, `batch-worker`, `async-worker` or `policy`",
            ],
        ),
        (
            "version",
            probes::OTHER_VERSION.to_vec(),
            &["it was built for tidegate:plugin@0.2.0", "speaks tidegate:plugin@0.1.3"],
        ),
        (
            "import",
            probes::UNKNOWN_IMPORT.to_vec(),
            &["it imports probe:unknown/secrets@1.0.0", "this host does not have"],
        ),
        (
            "start",
            wat::parse_str(TRAPS_AT_ITS_START).unwrap(),
            &["did not start: trapped", "correct what it does at its start"],
        ),
        ("kind", policies::STEP.to_vec(), &["it is a policy, and is used as a handler", "name a handler instead"]),
    ]
}

async fn check(dir: &Path, handler: &str, policy: &str, more: &[&str]) -> Ended {
    let dir = dir.to_str().unwrap();
    let flags = ["check", "--no-cache", "--plugins", dir, "--stream", "S", "--handler", handler, "--policy", policy];
    run(flags.iter().chain(more)).await
}

/// Starts a host on the stream `work`.
fn host(server: &Server, dir: &Path, handler: &str, policy: &str, more: &[&str]) -> Running {
    let flags = ["--stream", "work", "--subjects", "work.>", "--handler", handler, "--policy", policy];
    let place = ["run", "--no-cache", "--expires", "1s", "--rescan", "100ms", "--server", server.url(), "--plugins"];
    Running::start(tidegate(place.iter().chain([&dir.to_str().unwrap()]).chain(&flags).chain(more)))
}

async fn drains(host: Running) {
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Awaits that a request is handled.
async fn replies(server: &Server) {
    let client = client(server).await;
    let replied = async || client.request("work.now", "attempt".into()).await.is_ok();
    // The PubAck is the reply to the request itself.
    assert!(replied().await);
    let ended = run(["request", "work.a", "attempt", "--timeout", "20s", "--server", server.url()]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "1"), "{}", ended.stderr);
}

#[tokio::test]
async fn check_names_the_file_what_is_wrong_with_it_and_the_remedy() {
    let plugins = plugins();
    for (name, bytes, said) in no_handlers() {
        install(plugins.path(), name, &bytes);
        let ended = check(plugins.path(), name, "fixed", &[]).await;
        ended.failed_with(1, &[&format!("workload {name}: "), &format!("/{name}.wasm: ")]);
        ended.failed_with(1, said);
        assert!(ended.stdout.contains("handler cannot run, policy fixed "), "{}", ended.stdout);
        assert!(ended.stdout.ends_with("1 problem\n"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn check_names_what_is_there_where_a_plugin_is_missing() {
    let plugins = plugins();
    let ended = check(plugins.path(), "prob", "fixed", &[]).await;
    ended.failed_with(
        1,
        &[
            "/prob.wasm: there is no such file; copy the component there",
            "has backlog, fixed, probe, probe-batch, probe-policy, step",
        ],
    );
    std::fs::create_dir(plugins.path().join("nest.wasm")).unwrap();
    check(plugins.path(), "nest", "fixed", &[]).await.failed_with(1, &["/nest.wasm: it is not a file"]);
    symlink("/nowhere", plugins.path().join("link.wasm")).unwrap();
    check(plugins.path(), "link", "fixed", &[]).await.failed_with(1, &["/link.wasm: it is a link that leads nowhere"]);
    check(plugins.path(), "probe", "probe-policy.wasm", &[])
        .await
        .failed_with(1, &["--policy: ", "without .wasm: \"probe-policy\""]);
}

#[tokio::test]
async fn check_names_a_plugin_directory_that_cannot_be_read_once() {
    let dir = TempDir::new().unwrap();
    let ended = check(&dir.path().join("plugins"), "probe", "fixed", &[]).await;
    ended.failed_with(
        1,
        &["the plugin directory", "No such file or directory", "create it, or name another with --plugins"],
    );
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    // Root reads whatever its permissions say, so what cannot be read here is what is no directory.
    check(&file, "probe", "fixed", &[])
        .await
        .failed_with(1, &["the plugin directory", "cannot be read: Not a directory"]);
    let ended = check(dir.path(), "probe", "probe-policy", &[]).await;
    assert_eq!(ended.stdout.matches("the directory has no plugins").count(), 2, "{}", ended.stdout);
}

#[tokio::test]
async fn check_tells_a_policy_that_traps_from_one_that_refuses_its_settings() {
    let plugins = plugins();
    let with = async |policy: &str, setting: &str| {
        check(plugins.path(), "probe", policy, &["--policy-setting", setting]).await
    };
    let ended = with("probe-policy", "mode=trap-in-init").await;
    ended.failed_with(1, &["/probe-policy.wasm: its init trapped: ", "correct the policy"]);
    let ended = with("probe-policy", "mode=refuse").await;
    ended.failed_with(1, &["/probe-policy.wasm: it refuses its settings: mode = \"refuse\"", "policy-settings"]);
    let ended = with("step", "pace=1").await;
    ended.failed_with(1, &["/step.wasm: it refuses its settings: pace = \"1\": there is no such setting"]);
    let ended = check(plugins.path(), "probe", "fixed", &["--limit-memory", "64KiB"]).await;
    ended.failed_with(
        1,
        &[
            "/probe.wasm: a trial instance needed more than the 65536 bytes of memory that limits.memory allows",
            "raise the workload's limits",
        ],
    );
}

/// A handler, as far as its exports go, that takes some seconds and hundreds of megabytes to compile.
fn slow_to_compile() -> Vec<u8> {
    let step = "(local.set 0 (i64.mul (local.get 0) (i64.const 3)))".repeat(140_000);
    // Few and large ones, for each is compiled as a whole: they need their memory however many threads there are.
    let functions = format!("(func (param i64) (result i64) {step} (local.get 0))").repeat(3);
    let text = TRAPS_AT_ITS_START.replace("(func $start unreachable) (start $start)", &functions);
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_file_that_costs_too_much_is_refused_with_the_setting_that_bounds_it() {
    let plugins = plugins();
    let bytes = slow_to_compile();
    install(plugins.path(), "slow", &bytes);
    let refused = async |more: &[&str], said: &[&str]| {
        let ended = check(plugins.path(), "slow", "fixed", more).await;
        ended.failed_with(1, &["/slow.wasm: "]);
        ended.failed_with(1, said);
    };
    let too_large = ["it has ", "more than 1MiB", "raise plugins.max-size"];
    refused(&["--max-plugin-size", "1MiB"], &too_large).await;
    let too_long = ["compiling it took more than 1s; raise plugins.compile-time or make it smaller"];
    refused(&["--compile-time", "1s"], &too_long).await;
    let too_much = ["compiling it took more than 128MiB of memory; raise plugins.compile-memory or make it smaller"];
    refused(&["--compile-memory", "128MiB"], &too_much).await;
}

/// A component of some megabytes: with a section that says nothing.
fn large(component: &[u8], bytes: usize) -> Vec<u8> {
    let name = b"\x07padding";
    let mut length = u32::try_from(name.len() + bytes).unwrap();
    let mut section = vec![0];
    while length >= 0x80 {
        section.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    section.push(u8::try_from(length).unwrap());
    [component, &section, name, &vec![0; bytes]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_slowly_is_told_as_loaded_when_it_is_whole() {
    let (server, plugins) = (nats().await, plugins());
    let whole = large(probes::WORKER_V1, 3 << 20);
    let (half, rest) = whole.split_at(2 << 20);
    install(plugins.path(), "slow", half);
    let mut host = host(&server, plugins.path(), "slow", "fixed", &[]);
    // A half that stays is refused, and one that grows is waited for.
    host.line_with("it ends in the middle").await;
    let path = plugins.path().join("slow.wasm");
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(rest).unwrap();
    drop(file);
    host.line_with(&format!("loaded {}", path.display())).await;
    host.signal(Signal::TERM);
    let ended = host.end().await;
    let told = ended.stderr.matches("compiling it may take some seconds").count();
    assert_eq!((ended.code, told), (Some(0), 1), "{}", ended.stderr);
}

#[tokio::test]
async fn a_cache_that_cannot_keep_what_is_compiled_is_told() {
    let (plugins, cache) = (plugins(), TempDir::new().unwrap());
    // Where the compiled code would go there is a file.
    std::fs::write(cache.path().join("modules"), "").unwrap();
    let (dir, cache) = (plugins.path().to_str().unwrap(), cache.path().to_str().unwrap());
    let flags =
        ["check", "--plugins", dir, "--stream", "S", "--handler", "probe", "--policy", "fixed", "--cache-dir", cache];
    let ended = run(flags).await;
    ended.failed_with(1, &["/probe.wasm: its compiled code cannot be kept in ", "see that there is room"]);
}

#[tokio::test]
async fn compiled_code_that_the_system_lets_nobody_write_is_told_and_is_no_fault_of_the_plugin() {
    let (plugins, cache) = (plugins(), TempDir::new().unwrap());
    let (dir, cache) = (plugins.path().to_str().unwrap(), cache.path().to_str().unwrap());
    let flags =
        ["check", "--plugins", dir, "--stream", "S", "--handler", "probe", "--policy", "fixed", "--cache-dir", cache];
    let check = tidegate(flags);
    let mut limited = tokio::process::Command::new("sh");
    // Some KiB, by whichever unit the shell has.
    limited.args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""]).arg(check.as_std().get_program());
    limited.args(check.as_std().get_args());
    let ended = Running::start(limited).end().await;
    ended.failed_with(1, &["/probe.wasm: its compiled code cannot be kept in ", "that `ulimit -f` lets it write"]);
}

#[tokio::test]
async fn a_host_refuses_a_bad_file_waits_and_starts_with_a_good_one() {
    let (server, plugins) = (nats().await, plugins());
    for (name, bytes, said) in no_handlers() {
        install(plugins.path(), name, &bytes);
        let mut host = host(&server, plugins.path(), name, "fixed", &["--consumer", "all", "--filter", "work.a"]);
        let line = host.line_with("refused ").await;
        for part in said.iter().chain(&["its workloads wait for another one", &*format!("{name}.wasm")]) {
            assert!(line.contains(part), "no `{part}` in {line}");
        }
        install(plugins.path(), name, probes::WORKER_V1);
        host.line_with("ready").await;
        drains(host).await;
    }
}

#[tokio::test]
async fn a_host_waits_for_a_plugin_that_is_not_there_and_starts_when_it_is_dropped_in() {
    let (server, dir) = (nats().await, TempDir::new().unwrap());
    install(dir.path(), "fixed", policies::FIXED);
    let mut host = host(&server, dir.path(), "probe", "fixed", &["--filter", "work.a"]);
    let line = host.line_with("waiting for ").await;
    assert!(
        line.contains("probe.wasm: there is no such file; copy the component there; the directory has fixed"),
        "{line}"
    );
    install(dir.path(), "probe", probes::WORKER_V1);
    host.line_with("ready").await;
    replies(&server).await;
    drains(host).await;
}

#[tokio::test]
async fn a_host_that_waits_for_a_plugin_can_be_stopped() {
    let (server, dir) = (nats().await, TempDir::new().unwrap());
    let mut host = host(&server, &dir.path().join("missing"), "probe", "fixed", &[]);
    let line = host.line_with("the plugin directory cannot be read").await;
    assert!(line.contains("create it, or name another with --plugins"), "{line}");
    drains(host).await;
}

#[tokio::test]
async fn a_host_without_a_usable_policy_says_so_and_keeps_the_fewest_workers() {
    let (server, plugins) = (nats().await, plugins());
    for (mode, said) in [("trap-in-init", "trapped: "), ("refuse", "it refuses its settings: ")] {
        let mode = format!("mode={mode}");
        let more = ["--policy-setting", &mode, "--min", "1", "--filter", "work.a"];
        let mut host = host(&server, plugins.path(), "probe", "probe-policy", &more);
        let line = host.line_with("policy not used").await;
        assert!(line.contains(said) && line.contains("policy-settings"), "{line}");
        assert!(line.contains("workload=probe") && line.contains("mend probe-policy (generation "), "{line}");
        replies(&server).await;
        drains(host).await;
    }
}

#[tokio::test]
async fn a_plugin_directory_that_vanishes_while_a_host_runs_takes_nothing_with_it() {
    let (server, plugins) = (nats().await, plugins());
    let dir = plugins.path().join("plugins");
    let elsewhere = plugins.path().join("elsewhere");
    std::fs::create_dir(&dir).unwrap();
    install(&dir, "probe", probes::WORKER_V1);
    install(&dir, "fixed", policies::FIXED);
    let mut host = host(&server, &dir, "probe", "fixed", &["--filter", "work.a"]);
    host.line_with("policy in use").await;
    std::fs::rename(&dir, &elsewhere).unwrap();
    let line = host.line_with("the plugin directory cannot be read").await;
    assert!(line.contains("what is loaded stays"), "{line}");
    replies(&server).await;
    install(&elsewhere, "probe", workers::ECHO);
    std::fs::rename(&elsewhere, &dir).unwrap();
    host.line_with("the plugin directory is there").await;
    host.line_with("loaded ").await;
    let ended = run(["request", "work.a", "echoed", "--timeout", "20s", "--server", server.url()]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "echoed"), "{}", ended.stderr);
    drains(host).await;
}

#[tokio::test]
async fn a_bad_file_in_the_place_of_a_good_one_leaves_that_in_use() {
    let (server, plugins) = (nats().await, plugins());
    let mut host = host(&server, plugins.path(), "probe", "fixed", &["--filter", "work.a"]);
    host.line_with("policy in use").await;
    for (name, bytes, said) in no_handlers() {
        // Each content is refused once, so it is told apart by what is said of it.
        install(plugins.path(), "probe", &bytes);
        let line = host.line_with(said[0]).await;
        assert!(line.contains("stays in use"), "{name}: {line}");
    }
    std::fs::remove_file(plugins.path().join("probe.wasm")).unwrap();
    let line = host.line_with("there is no such file").await;
    assert!(line.contains("the generation in use stays"), "{line}");
    replies(&server).await;
    drains(host).await;
}
