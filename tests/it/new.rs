//! `tidegate new`: what it makes builds, passes its tests, and can be run.

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::printed::of_readme;
use crate::support::cli::{Ended, Running, run, tidegate, without_nats};

/// Runs `tidegate new` in `dir`.
async fn new(dir: &Path, what: &str, name: &str) -> Ended {
    let mut command = tidegate(["new", what, name]);
    command.current_dir(dir);
    Running::start(command).end().await
}

/// Runs cargo in `dir` without a network, on the versions that this repository was built with.
async fn cargo(dir: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(dir).args(arguments).arg("--offline");
    // How this test was built says nothing of how the crate is.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"].contains(&&*name) || name.contains("WRAPPER")
        {
            command.env_remove(&*name);
        }
    }
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new"));
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a crate, tests it, builds it, and copies the component to where its README says.
pub(crate) async fn made(dir: &Path, what: &str, name: &str) {
    let ended = new(dir, what, name).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let copy = format!("cp target/wasm32-wasip2/release/{}.wasm plugins/{name}.wasm", name.replace('-', "_"));
    assert!(ended.stdout.contains(&copy), "{}", ended.stdout);

    let made = dir.join(name);
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    std::fs::copy(lock, made.join("Cargo.lock")).unwrap();
    cargo(&made, &["test"]).await;
    cargo(&made, &["build", "--release", "--target", "wasm32-wasip2"]).await;
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new/wasm32-wasip2/release");
    let component = built.join(format!("{}.wasm", name.replace('-', "_")));
    std::fs::copy(component, made.join("plugins").join(format!("{name}.wasm"))).unwrap();
}

async fn can_run(dir: &Path, handler: &str, policy: &str) {
    let plugins = dir.join("plugins");
    let plugins = plugins.to_str().unwrap();
    let ended = run(["check", "--plugins", plugins, "--stream", "S", "--handler", handler, "--policy", policy]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[tokio::test]
async fn a_new_policy_and_a_new_handler_build_pass_their_tests_and_can_run() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    made(dir.path(), "policy", "queue-age").await;
    let policy = dir.path().join("queue-age");
    can_run(&policy, "echo", "queue-age").await;
    made(dir.path(), "handler", "shout").await;
    let handler = dir.path().join("shout");
    can_run(&handler, "shout", "step").await;
    the_handler_does_what_the_readme_says(&handler).await;
    let mut host = as_printed(&policy, &of_readme("--policy queue-age"), &[]);
    let line = host.line_with("policy in use").await;
    assert!(line.contains("queue-age"), "{line}");
    ends(host).await;
}

/// Runs a command in `dir` as README prints it.
fn as_printed(dir: &Path, command: &str, variables: &[(&str, &str)]) -> Running {
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let mut shell = without_nats(Command::new("sh"));
    // So that a signal is the program's.
    let exec = if command.starts_with("tidegate run") { "exec " } else { "" };
    shell.args(["-c", &format!("{exec}{command}")]).current_dir(dir).envs(variables.iter().copied());
    shell.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    shell.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("printed-cache"));
    Running::start(shell)
}

async fn ends(host: Running) {
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

async fn the_handler_does_what_the_readme_says(dir: &Path) {
    let mut host = as_printed(dir, &of_readme("--handler shout"), &[]);
    let line = host.line_with("nats://").await;
    let url = &line[line.find("nats://").unwrap()..];
    let url = url.split(|c: char| c.is_whitespace() || c == '"').next().unwrap();
    host.line_with("ready").await;
    // It has all the time that a busy machine needs.
    let request = format!("{} --timeout 30s", of_readme("shout.in.1"));
    let ended = as_printed(dir, &request, &[("NATS_URL", url)]).end().await;
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "HELLO TIDE"), "{}", ended.said());
    let ended = as_printed(dir, &of_readme("echo garbage"), &[]).end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.line_with("refused plugins/shout.wasm: it is text, not a component").await;
    ends(host).await;
}

#[tokio::test]
async fn new_touches_nothing_that_is_there_and_refuses_what_is_no_name() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("shout")).unwrap();
    new(dir.path(), "handler", "shout").await.failed_with(1, &["shout is there already", "choose another name"]);
    new(dir.path(), "policy", "QueueAge").await.failed_with(2, &["\"QueueAge\" holds 'Q'", "as in queue-age"]);
    new(dir.path(), "policy", "../up").await.failed_with(2, &["\"../up\" is a path"]);
    new(dir.path(), "polcy", "x").await.failed_with(2, &["unrecognized subcommand 'polcy'", "'policy'"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(dir.path().join("shout")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_configuration_to_begin_with_is_read_as_it_is_and_what_is_there_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let new = async |more: &[&str]| {
        let mut command = tidegate(["new", "config"].iter().chain(more));
        command.current_dir(dir.path());
        Running::start(command).end().await
    };
    let made = new(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.contains("tidegate check --config tidegate.toml --connect"), "{}", made.stdout);
    let file = dir.path().join("tidegate.toml");
    let config = tidegate_runtime::config::Config::from_file(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.workloads[0].name.as_str(), config.workloads[0].scale.max), ("orders", 16));
    // Each line that is commented out is right as it stands, too.
    let text = std::fs::read_to_string(&file).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = ")) {
        let written = text.replace(&format!("# {line}"), line);
        tidegate_runtime::config::Config::from_toml(&written).unwrap_or_else(|errors| panic!("{line}: {errors}"));
    }
    std::fs::write(&file, "mine").unwrap();
    new(&[]).await.failed_with(1, &["tidegate.toml is there already and was not touched"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(new(&["other.toml"]).await.code, Some(0));
    new(&["nowhere/tidegate.toml"]).await.failed_with(1, &["cannot write nowhere/tidegate.toml"]);
}

#[tokio::test]
async fn a_handler_is_begun_in_other_languages_and_a_policy_only_in_rust() {
    let dir = TempDir::new().unwrap();
    let new = async |arguments: &[&str]| {
        let mut command = tidegate(["new"].iter().chain(arguments));
        command.current_dir(dir.path());
        Running::start(command).end().await
    };
    for (language, build, source) in [
        ("javascript", "npm run build", "handler.js"),
        ("python", "make build", "src/app.py"),
        ("c", "make build", "handler.c"),
    ] {
        let name = format!("in-{language}");
        let ended = new(&["handler", &name, "--language", language]).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains(build), "{}", ended.stdout);
        assert!(dir.path().join(&name).join(source).is_file());
    }
    new(&["policy", "p", "--language", "c"]).await.failed_with(1, &["no policy", "leave --language out"]);
    assert!(!dir.path().join("p").exists());
}

#[tokio::test]
async fn the_contract_alone_is_written_for_a_project_that_there_is_and_touches_nothing() {
    let dir = TempDir::new().unwrap();
    let ended = new(dir.path(), "wit", "contract").await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let files = ["README.md", "world.wit", "handler.wit", "async.wit", "batch.wit", "scaling.wit"];
    for file in files.into_iter().chain(["deps/keyvalue/keyvalue.wit"]) {
        let written = std::fs::read_to_string(dir.path().join("contract").join(file)).unwrap();
        assert_eq!(written, std::fs::read_to_string(ours.join(file)).unwrap(), "{file}");
    }
    std::fs::remove_file(dir.path().join("contract/world.wit")).unwrap();
    new(dir.path(), "wit", "contract").await.failed_with(1, &["contract is there already and was not touched"]);
    assert!(!dir.path().join("contract/world.wit").exists());
}
