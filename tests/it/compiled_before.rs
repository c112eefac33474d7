//! What was compiled for an earlier run of a host.

use std::process::Stdio;

use rustix::process::Signal;
use tidegate_artifacts::{policies, workers};

use crate::support::cli::{Running, tidegate};
use crate::support::eventually;
use crate::support::nats::nats;

/// The handler that replies, with a core module that nothing uses and that takes hundreds of megabytes to compile.
fn large(times: u8) -> Vec<u8> {
    let step = format!("(local.set 0 (i64.mul (local.get 0) (i64.const {times})))").repeat(100_000);
    let functions = format!("(func (param i64) (result i64) {step} (local.get 0))").repeat(2);
    let module = wat::parse_str(format!("(module {functions})")).unwrap();
    let mut component = workers::REPLY.to_vec();
    // A section of a component: its kind, its length in groups of seven bits, its bytes.
    component.push(1);
    let mut left = module.len();
    while left > 0x7f {
        component.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    component.push(left as u8);
    component.extend(module);
    component
}

#[tokio::test]
async fn a_host_that_starts_again_compiles_only_what_its_cache_does_not_have() {
    let (server, dir) = (nats().await, tempfile::tempdir().unwrap());
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::write(plugins.join("fixed.wasm"), policies::FIXED).unwrap();
    std::fs::write(plugins.join("reply.wasm"), large(3)).unwrap();
    let run = |memory: &str| {
        let file = dir.path().join("tidegate.toml");
        let config = format!(
            "plugins = {{ dir = {plugins:?}, cache = {:?}, compile-memory = \"{memory}\" }}\n[workload.a]\nstream = \
             \"A\"\nsubjects = [\"a\"]\nmanage = \"create\"\nhandler = \"reply\"\npolicy = \"fixed\"\n",
            dir.path().join("cache")
        );
        std::fs::write(&file, config).unwrap();
        Running::start(tidegate(["run", "--server", server.url(), "--config", file.to_str().unwrap()]))
    };
    let mut first = run("2GiB");
    first.line_with("worker started").await;
    first.signal(Signal::TERM);
    assert_eq!(first.end().await.code, Some(0));
    // Nothing can be compiled with so little.
    let mut second = run("128MiB");
    second.line_with("worker started").await;
    std::fs::write(plugins.join("new.wasm"), large(5)).unwrap();
    std::fs::rename(plugins.join("new.wasm"), plugins.join("reply.wasm")).unwrap();
    let refused = second.line_with("refused ").await;
    assert!(refused.contains("compile-memory"), "{refused}");
    second.signal(Signal::TERM);
    assert_eq!(second.end().await.code, Some(0));
}

#[tokio::test]
async fn the_process_that_compiles_is_the_first_that_a_system_without_memory_ends() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().to_str().unwrap();
    let bounds = ["--memory", "1073741824", "--cpu-seconds", "60"];
    let mut command = tidegate(["compile", "--handler", "--cache-dir", cache].iter().chain(&bounds));
    // It waits for the component.
    let process = command.stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let score = format!("/proc/{}/oom_score_adj", process.id().unwrap());
    eventually("it says so", async || std::fs::read_to_string(&score).unwrap().trim() == "1000").await;
}
