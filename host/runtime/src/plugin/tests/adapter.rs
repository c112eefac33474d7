use std::path::Path;

use tidegate_test_artifacts::probes;

use super::{delivery, host};
use crate::config::{Compile, Config, Plugins, Workload};
use crate::plugin::{Directory, PluginHandlers};
use crate::ports::{Handler, Handlers};

fn workload(secret: &Path) -> Workload {
    let token = format!("settings.token = {{ file = \"{}\" }}", secret.display());
    let text = format!("[workload.orders]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"any\"\n{token}\n");
    Config::from_toml(&text).unwrap().workloads.remove(0)
}

fn plugins(dir: &Path) -> Plugins {
    Plugins {
        dir: dir.to_owned(),
        rescan: std::time::Duration::from_millis(20),
        cache: None,
        compile: Compile::default(),
        origin: Default::default(),
    }
}

async fn token(handlers: &mut PluginHandlers) -> String {
    let mut instance = handlers.instantiate(1).await.unwrap();
    let response = instance.handle(&delivery("config token")).await.unwrap().unwrap();
    String::from_utf8(response.reply.unwrap()).unwrap()
}

#[tokio::test]
async fn an_instance_that_was_made_ahead_is_not_used_with_a_secret_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("token");
    std::fs::write(dir.path().join("probe.wasm"), probes::WORKER_V1).unwrap();
    std::fs::write(&secret, "first").unwrap();
    let directory = Directory::start(host(), &plugins(dir.path()));
    let mut handlers = PluginHandlers::new(&directory, &workload(&secret));
    handlers.loaded().await;
    handlers.prepare().await.unwrap();
    std::fs::write(&secret, "second").unwrap();
    assert_eq!(token(&mut handlers).await, "second");
    handlers.prepare().await.unwrap();
    assert_eq!(token(&mut handlers).await, "second");
}

#[tokio::test]
async fn an_instance_that_cannot_be_made_ahead_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("token");
    std::fs::write(dir.path().join("probe.wasm"), probes::WORKER_V1).unwrap();
    let directory = Directory::start(host(), &plugins(dir.path()));
    let mut handlers = PluginHandlers::new(&directory, &workload(&secret));
    handlers.loaded().await;
    let why = handlers.prepare().await.unwrap_err().to_string();
    assert!(why.contains("cannot read its setting token: ") && why.contains("No such file"), "{why}");
    std::fs::write(&secret, "first").unwrap();
    handlers.prepare().await.unwrap();
}
