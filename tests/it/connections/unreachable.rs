//! Servers that are not there, too old, or without JetStream.

use std::path::Path;

use rustix::process::Signal;
use tidegate_nats_server::ServerOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{WORKLOAD, Way, configured};
use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::host::plugins;
use crate::support::nats::nats_with;
use crate::support::until;

async fn run_at(server: &str, more: &[&str]) -> Ended {
    run(["run", "--server", server, "--no-cache"].iter().chain(&WORKLOAD).chain(more)).await
}

/// A host that says `said` in one line, and waits.
async fn waits_at(server: &str, more: &[&str], said: &[&str]) -> Ended {
    let host = tidegate(["run", "--server", server, "--no-cache"].iter().chain(&WORKLOAD).chain(more));
    Running::start(host).waits_with(said).await
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/fixtures").join(name).display().to_string()
}

#[tokio::test]
async fn without_a_nats_server_to_start_it_says_where_to_get_one() {
    let mut command = tidegate(["run", "--local", "--no-cache"].iter().chain(&WORKLOAD));
    command.env_remove("TIDEGATE_NATS_SERVER").env("PATH", "/nowhere");
    let ended = Running::start(command).end().await;
    ended.failed_with(1, &["no nats-server in PATH", "--nats-server", "https://nats.io/download"]);
}

#[tokio::test]
async fn a_nats_server_to_start_that_is_too_old_is_named_with_its_version() {
    let old = fixture("nats-server-2.9.25");
    let ended = run(["run", "--local", "--no-cache", "--nats-server", &old].iter().chain(&WORKLOAD)).await;
    ended.failed_with(1, &[&old, "which is version 2.9.25", "2.10 or newer"]);
    // A context says how to reach another server, and may lead nowhere.
    let mut command = tidegate(["run", "--local", "--no-cache", "--nats-server", &old].iter().chain(&WORKLOAD));
    command.env("NATS_CONTEXT", "nope");
    Running::start(command).end().await.failed_with(1, &[&old, "which is version 2.9.25"]);
    run(["demo", "--nats-server", &old]).await.failed_with(1, &[&old, "which is version 2.9.25"]);
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named_with_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let info =
            r#"{"server_id":"A","version":"2.9.25","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}"#;
        client.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
        // CONNECT and PING come first, in one write or in two.
        let mut said = Vec::new();
        while !said.windows(4).any(|word| word == b"PING") {
            assert_ne!(client.read_buf(&mut said).await.unwrap(), 0);
        }
        client.write_all(b"PONG\r\n").await.unwrap();
        while client.read_buf(&mut said).await.unwrap() > 0 {}
    });
    let ended = run_at(&url, &[]).await;
    ended.failed_with(1, &[&url, "is version 2.9.25", "2.10 or newer", "https://nats.io/download"]);
}

#[tokio::test]
async fn where_nobody_listens_a_host_names_the_server_and_waits_and_a_request_ends() {
    let refused = "no NATS server answers at nats://127.0.0.1:1: Connection refused";
    waits_at("nats://127.0.0.1:1", &[], &[refused, "nats-server -js", "--server", "It is waited for"]).await;
    let ended = run(["request", "a.b", "--server", "nats://127.0.0.1:1"]).await;
    ended.failed_with(1, &["no NATS server answers at nats://127.0.0.1:1: Connection refused"]);
}

#[tokio::test]
async fn a_command_names_the_configuration_only_where_it_reads_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidegate.toml");
    std::fs::write(&file, "nats.url = \"nats://127.0.0.1:1\"\n").unwrap();
    let file = file.to_str().unwrap();
    for (words, named, unnamed) in [
        (&["request", "a.b"][..], "--server or NATS_URL.", "nats.url"),
        (&["journal"][..], "--server or NATS_URL.", "nats.url"),
        (&["dead", "list"][..], "(-c FILE)", "nats.url"),
        (&["drain", "rack-3"][..], "(-c FILE)", "nats.url"),
    ] {
        let mut command = tidegate(words.iter().chain(&["--server", "nats://127.0.0.1:1"]));
        // One that lies there is not read.
        command.current_dir(&dir);
        let ended = Running::start(command).end().await;
        ended.failed_with(1, &["no NATS server answers at nats://127.0.0.1:1", named]);
        assert!(!ended.said().contains(unnamed), "{}", ended.said());
    }
    let ended = run(["drain", "rack-3", "--config", file]).await;
    ended.failed_with(1, &["no NATS server answers at nats://127.0.0.1:1", "nats.url"]);
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_told_as_json_where_that_is_asked_for() {
    let ended = run(["request", "a.b", "--server", "nats://127.0.0.1:1", "--output", "json"]).await;
    assert_eq!(ended.code, Some(1));
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(answer["error"].as_str().unwrap().starts_with("no NATS server answers at nats://127.0.0.1:1"), "{answer}");
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn a_log_variable_with_nothing_in_it_silences_nothing() {
    let host = ["run", "--server", "nats://127.0.0.1:1", "--no-cache"];
    for nothing in ["", ","] {
        let mut command = tidegate(host.iter().chain(&WORKLOAD));
        command.env("TIDEGATE_LOG", nothing);
        Running::start(command).waits_with(&["no NATS server answers"]).await;
    }
}

#[tokio::test]
async fn a_password_in_a_url_is_not_repeated() {
    let said = ["no NATS server answers at nats://127.0.0.1:1"];
    let ended = waits_at("nats://ada:lovelace@127.0.0.1:1", &[], &said).await;
    assert!(!ended.said().contains("lovelace"), "{}", ended.said());
}

#[tokio::test]
async fn a_url_that_is_none_is_told_from_a_server_that_is_not_there() {
    run_at("nats://127.0.0.1:99999", &[])
        .await
        .failed_with(1, &["cannot use the server URL", "invalid port number", "host:port"]);
    run_at("http://127.0.0.1", &[]).await.failed_with(1, &["--server", "the scheme \"http\" is not known"]);
}

#[tokio::test]
async fn jetstream_that_is_off_is_told_for_the_server_and_for_the_account() {
    let off = nats_with(ServerOptions { jetstream: false, ..ServerOptions::default() }).await;
    waits_at(off.url(), &[], &["JetStream does not answer", off.url(), "not enabled in the server", "-js"]).await;
    let accounts = configured("accounts { A { users: [ { user: ada, password: lovelace } ] } }").await;
    let said = ["JetStream not enabled for account", accounts.url(), "enable JetStream for this account"];
    waits_at(accounts.url(), &["--user", "ada", "--password", "lovelace"], &said).await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_told_so_and_waited_for() {
    let server = configured("max_connections: 1").await;
    // The server may still count the one that found it ready.
    let taken = until("the only connection", async || async_nats::connect(server.url()).await.ok()).await;
    let plugins = plugins();
    let mut host = Way::to(&server, &[]).host(plugins.path());
    let full = host.line_with("takes no more connections: maximum connections exceeded").await;
    assert!(full.contains(server.url()) && full.contains("Raise `max_connections`"), "{full}");
    assert!(full.contains("It is waited for") && !full.contains("Start one"), "{full}");
    drop(taken);
    host.line_with("ready").await;
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.code, Some(0));
}
