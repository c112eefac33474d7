//! `tidegate new`: what it makes builds, passes its tests, and can be run.

use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::cli::{Ended, Running, run, tidegate};

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
async fn made(dir: &Path, what: &str, name: &str) {
    let ended = new(dir, what, name).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let copy = format!("cp target/wasm32-wasip2/release/{}.wasm plugins/{name}.wasm", name.replace('-', "_"));
    assert!(ended.stdout.contains(&copy), "{}", ended.stdout);

    let made = dir.join(name);
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
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
    can_run(&dir.path().join("queue-age"), "echo", "queue-age").await;
    made(dir.path(), "handler", "shout").await;
    can_run(&dir.path().join("shout"), "shout", "step").await;
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
