//! What was compiled for an earlier run of a host.

use rustix::process::Signal;
use tidegate_artifacts::{policies, workers};

use crate::support::cli::{Running, tidegate};
use crate::support::nats::nats;

#[tokio::test]
async fn a_host_that_starts_again_compiles_only_what_its_cache_does_not_have() {
    let (server, dir) = (nats().await, tempfile::tempdir().unwrap());
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::write(plugins.join("fixed.wasm"), policies::FIXED).unwrap();
    std::fs::write(plugins.join("reply.wasm"), workers::REPLY).unwrap();
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
    // The handler is loaded then too.
    first.line_with("policy in use").await;
    first.signal(Signal::TERM);
    assert_eq!(first.end().await.code, Some(0));
    // Nothing can be compiled with so little.
    let mut second = run("128MiB");
    second.line_with("policy in use").await;
    std::fs::write(plugins.join("new.wasm"), workers::ECHO).unwrap();
    std::fs::rename(plugins.join("new.wasm"), plugins.join("reply.wasm")).unwrap();
    let refused = second.line_with("refused ").await;
    assert!(refused.contains("compile-memory"), "{refused}");
    second.signal(Signal::TERM);
    assert_eq!(second.end().await.code, Some(0));
}
