//! Servers that are not there, too old, closed to this client, or without JetStream.

use std::path::Path;

use rustix::process::Signal;
use tidegate::server::{Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::host::plugins;
use crate::support::nats::{jetstream, nats, nats_with};
use crate::support::until;

/// A workload of flags alone.
const WORKLOAD: [&str; 8] = ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed"];

async fn run_at(server: &str, more: &[&str]) -> Ended {
    run(["run", "--server", server, "--no-cache"].iter().chain(&WORKLOAD).chain(more)).await
}

async fn configured(config: &str) -> Server {
    nats_with(Options { config: config.into(), ..Options::default() }).await
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/fixtures").join(name).display().to_string()
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
async fn where_nobody_listens_it_ends_and_names_the_server() {
    let ended = run_at("nats://127.0.0.1:1", &[]).await;
    ended.failed_with(
        1,
        &["no NATS server answers at nats://127.0.0.1:1: Connection refused", "nats-server -js", "--server"],
    );
    let ended = run(["request", "a.b", "--server", "nats://127.0.0.1:1"]).await;
    ended.failed_with(1, &["no NATS server answers at nats://127.0.0.1:1: Connection refused"]);
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
async fn a_password_in_a_url_is_not_repeated() {
    let ended = run_at("nats://ada:lovelace@127.0.0.1:1", &[]).await;
    ended.failed_with(1, &["no NATS server answers at nats://127.0.0.1:1"]);
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
async fn wrong_credentials_are_refused_with_their_kind_and_without_their_words() {
    let user = configured("authorization { user: ada, password: lovelace }").await;
    let refused = "refuses this client, which offers";
    run_at(user.url(), &[]).await.failed_with(1, &[user.url(), &format!("{refused} no credentials"), "--creds"]);
    let ended = run_at(user.url(), &["--user", "ada", "--password", "byron"]).await;
    ended.failed_with(1, &[user.url(), &format!("{refused} a user and a password"), "NATS_* variables"]);
    assert!(!ended.said().contains("byron"), "{}", ended.said());
    let in_url = user.url().replace("nats://", "nats://ada:byron@");
    run_at(&in_url, &[]).await.failed_with(1, &[user.url(), &format!("{refused} what its URL holds")]);

    let token = configured("authorization { token: s3cret }").await;
    let mut command = tidegate(["run", "--server", token.url(), "--no-cache"].iter().chain(&WORKLOAD));
    command.env("NATS_TOKEN", "guessed");
    let ended = Running::start(command).end().await;
    ended.failed_with(1, &[token.url(), &format!("{refused} a token")]);
    assert!(!ended.said().contains("guessed"), "{}", ended.said());
}

/// The seed of nobody: no server knows it.
const SEED: &str = "SUABTMSYK3Q4CUGKQNGP7SFVTMR23PIOYA4J4WHLEKZ3MR3IBGGQAKZ6PU";

#[tokio::test]
async fn an_nkey_that_the_server_does_not_know_is_refused() {
    let known = "authorization { users: [ { nkey: UBZJ27LDRTXRWR3MTLI5LUTV3SI7YJJ2AJXASJGULOEZLPHYFCYBW5HU } ] }";
    let server = configured(known).await;
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("user.nk");
    std::fs::write(&seed, SEED).unwrap();
    let ended = run_at(server.url(), &["--nkey", seed.to_str().unwrap()]).await;
    ended.failed_with(1, &[server.url(), "refuses this client, which offers an nkey"]);
    // One letter off: a seed has a checksum.
    std::fs::write(&seed, SEED.replace('3', "4")).unwrap();
    let ended = run_at(server.url(), &["--nkey", seed.to_str().unwrap()]).await;
    ended.failed_with(1, &[seed.to_str().unwrap(), "as an nkey seed", "begins with SU"]);
}

#[tokio::test]
async fn files_for_the_connection_that_are_missing_or_something_else_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, "something else").unwrap();
    let other = other.to_str().unwrap();
    // No server: the files come first.
    for (flag, file, said) in [
        ("--creds", "/nowhere/user.creds", "cannot use /nowhere/user.creds as credentials: No such file"),
        ("--nkey", "/nowhere/user.nk", "cannot use /nowhere/user.nk as an nkey seed: No such file"),
        ("--tlsca", "/nowhere/ca.pem", "cannot use /nowhere/ca.pem as certificate authorities: No such file"),
        ("--creds", other, "as credentials: cannot parse"),
        ("--nkey", other, "as an nkey seed: it holds something else"),
    ] {
        run_at("nats://127.0.0.1:1", &[flag, file]).await.failed_with(1, &[file, said, "Give the path of"]);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let server = nats().await;
    let ended = run_at(&server.url().replace("nats://", "tls://"), &[]).await;
    ended.failed_with(1, &["TLS with", "--tlsca"]);
}

#[tokio::test]
async fn jetstream_that_is_off_is_told_for_the_server_and_for_the_account() {
    let off = nats_with(Options { jetstream: false, ..Options::default() }).await;
    let ended = run_at(off.url(), &[]).await;
    ended.failed_with(1, &[off.url(), "JetStream does not answer", "not enabled in the server", "-js"]);
    let accounts = configured("accounts { A { users: [ { user: ada, password: lovelace } ] } }").await;
    let ended = run_at(accounts.url(), &["--user", "ada", "--password", "lovelace"]).await;
    ended.failed_with(1, &[accounts.url(), "JetStream not enabled for account", "enable JetStream for this account"]);
}

#[tokio::test]
async fn a_user_who_may_not_use_jetstream_is_told_so_at_once() {
    let permissions = "permissions: { publish: \"work.>\", subscribe: \">\" }";
    let config = format!("authorization {{ users: [ {{ user: ada, password: lovelace, {permissions} }} ] }}");
    let server = configured(&config).await;
    let ended = run_at(server.url(), &["--user", "ada", "--password", "lovelace", "--log", "off"]).await;
    ended.failed_with(1, &[server.url(), "Permissions Violation for Publish to \"$JS.API.INFO\"", "`_INBOX.>`"]);
}

#[tokio::test]
async fn a_running_host_outlives_its_server_and_goes_on_when_it_is_back() {
    let mut server = nats().await;
    let plugins = plugins();
    let dir = plugins.path().to_str().unwrap().to_owned();
    let arguments = ["run", "--server", server.url(), "--no-cache", "--plugins", &dir, "--expires", "1s"];
    let mut host = Running::start(tidegate(arguments.iter().chain(&WORKLOAD)));
    host.line_with("ready").await;
    server.kill();
    host.line_with("lost the NATS server").await;
    host.line_with("the NATS server cannot be reached; trying again").await;
    server.restart().await.unwrap();
    host.line_with("the NATS server is back").await;

    let context = jetstream(&server).await;
    let sequence = context.publish("work.a", "ok".into()).await.unwrap().await.unwrap().sequence;
    let stream = context.get_stream("work").await.unwrap();
    until("the message is handled", async || {
        let info = stream.consumer_info("probe-workers").await.unwrap();
        (info.ack_floor.stream_sequence == sequence).then_some(())
    })
    .await;
    let attempts = host.seen().iter().filter(|line| line.contains("cannot be reached")).count();
    assert_eq!(attempts, 1, "an attempt that fails like the one before is told again: {:#?}", host.seen());
    host.signal(Signal::TERM);
    assert_eq!(host.end().await.code, Some(0));
}
