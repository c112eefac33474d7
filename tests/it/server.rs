//! A nats-server of its own: found, started, ended.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::stream;
use rustix::process::Signal;
use tidegate_nats_server::{Origin, Server, ServerError, ServerOptions};
use tokio::process::Command;

use crate::support::cli::Running;
use crate::support::eventually;
use crate::support::nats::{greeting, jetstream, listens, nats, nats_with};

fn orders() -> stream::Config {
    stream::Config { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..Default::default() }
}

async fn start_error(options: ServerOptions) -> ServerError {
    Server::start(options).await.expect_err("it started")
}

async fn binary_error(path: impl AsRef<Path>) -> ServerError {
    start_error(ServerOptions { binary: Some(path.as_ref().to_owned()), ..ServerOptions::default() }).await
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/fixtures").join(name)
}

#[tokio::test]
async fn a_server_of_its_own_has_jetstream_and_a_directory_of_its_own() {
    let server = nats().await;
    jetstream(&server).await.create_stream(orders()).await.unwrap();
    assert!(server.store_dir().join("jetstream").is_dir());
    assert!(server.version().to_string().starts_with("2."));
}

#[tokio::test]
async fn servers_of_their_own_do_not_meet() {
    let (one, other) = tokio::join!(nats(), nats());
    assert_ne!(one.port(), other.port());
    assert_ne!(one.store_dir(), other.store_dir());
}

#[tokio::test]
async fn a_stopped_server_is_gone_with_its_directory() {
    let server = nats().await;
    let (port, store) = (server.port(), server.store_dir().to_owned());
    server.stop().await;
    assert!(!listens(port).await);
    assert!(!store.exists());
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_directory() {
    let server = nats().await;
    let (port, store) = (server.port(), server.store_dir().to_owned());
    drop(server);
    assert!(!listens(port).await);
    assert!(!store.exists());
}

#[tokio::test]
async fn a_named_store_directory_outlives_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions { store_dir: Some(dir.path().to_owned()), ..ServerOptions::default() };
    let first = nats_with(options.clone()).await;
    jetstream(&first).await.create_stream(orders()).await.unwrap();
    first.stop().await;
    let second = nats_with(options).await;
    jetstream(&second).await.get_stream("ORDERS").await.unwrap();
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_streams() {
    let mut server = nats().await;
    let port = server.port();
    jetstream(&server).await.create_stream(orders()).await.unwrap();
    server.kill();
    assert!(!server.is_running());
    assert!(!listens(port).await);
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    jetstream(&server).await.get_stream("ORDERS").await.unwrap();
}

#[tokio::test]
async fn a_running_server_restarts_on_its_port_with_its_streams() {
    let mut server = nats().await;
    let port = server.port();
    jetstream(&server).await.create_stream(orders()).await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    jetstream(&server).await.get_stream("ORDERS").await.unwrap();
}

#[tokio::test]
async fn a_paused_server_answers_only_once_it_is_resumed() {
    let mut server = nats().await;
    server.pause().await.unwrap();
    // However long one waited, there would be no answer.
    tokio::time::timeout(Duration::from_millis(50), greeting(server.port())).await.unwrap_err();
    assert!(server.is_running());
    server.resume().unwrap();
    assert_eq!(&greeting(server.port()).await, b"INFO");
}

#[tokio::test]
async fn a_paused_server_can_be_stopped() {
    let mut server = nats().await;
    let port = server.port();
    server.pause().await.unwrap();
    server.stop().await;
    assert!(!listens(port).await);
}

#[tokio::test]
async fn a_server_that_ended_can_be_neither_paused_nor_resumed() {
    let mut server = nats().await;
    server.kill();
    assert!(matches!(server.pause().await, Err(ServerError::Io { .. })));
    assert!(matches!(server.resume(), Err(ServerError::Io { .. })));
}

#[tokio::test]
async fn jetstream_can_be_off() {
    let server = nats_with(ServerOptions { jetstream: false, ..ServerOptions::default() }).await;
    jetstream(&server).await.query_account().await.unwrap_err();
}

#[tokio::test]
async fn more_configuration_reaches_the_server() {
    let config = "max_payload: 2048\nauthorization { user: ada, password: lovelace }".to_owned();
    let server = nats_with(ServerOptions { config, ..ServerOptions::default() }).await;
    async_nats::connect(server.url()).await.unwrap_err();
    let options = async_nats::ConnectOptions::with_user_and_password("ada".into(), "lovelace".into());
    let client = options.connect(server.url()).await.unwrap();
    assert_eq!(client.server_info().max_payload, 2048);
}

#[tokio::test]
async fn a_configuration_that_the_server_refuses_is_an_error_with_its_words() {
    let error = start_error(ServerOptions { config: "max_payload: lots".into(), ..ServerOptions::default() }).await;
    assert!(matches!(error, ServerError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("server.conf:1:"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_with_the_servers_words() {
    let server = nats().await;
    let error = start_error(ServerOptions { port: Some(server.port()), ..ServerOptions::default() }).await;
    assert!(matches!(error, ServerError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("address already in use"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_an_error_with_its_words() {
    let options = ServerOptions {
        binary: Some(fixture("nats-server-that-hangs")),
        ready_within: Duration::from_millis(300),
        ..ServerOptions::default()
    };
    let error = start_error(options).await;
    assert!(matches!(error, ServerError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("not listening"), "{error}");
}

#[tokio::test]
async fn each_unusable_binary_has_an_error_of_its_own_that_says_where_to_get_another() {
    let errors = [
        binary_error("/nowhere/nats-server").await,
        binary_error(fixture("not-executable")).await,
        binary_error("/bin/ls").await,
        binary_error(fixture("nats-server-2.9.25")).await,
    ];
    assert!(matches!(errors[0], ServerError::Missing { origin: Origin::Flag, .. }), "{}", errors[0]);
    assert!(matches!(errors[1], ServerError::NotExecutable { .. }), "{}", errors[1]);
    assert!(matches!(errors[2], ServerError::NotNatsServer { .. }), "{}", errors[2]);
    assert!(matches!(errors[3], ServerError::TooOld { .. }), "{}", errors[3]);
    assert!(errors[3].to_string().contains("2.9.25"), "{}", errors[3]);
    for error in errors {
        assert!(error.to_string().contains("https://nats.io/download"), "{error}");
        assert!(error.to_string().contains("make setup"), "{error}");
    }
}

/// Set for the process that starts a server and is killed.
const HOLDER: &str = "TIDEGATE_TEST_HOLDER";

#[tokio::test]
async fn a_server_ends_with_its_process_even_when_that_is_killed() {
    if std::env::var_os(HOLDER).is_some() {
        let server = nats().await;
        writeln!(std::io::stderr(), "holds {} {}", server.port(), server.store_dir().display()).unwrap();
        return std::future::pending().await;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.env(HOLDER, "1").args(["--exact", "--nocapture"]);
    holder.arg("server::a_server_ends_with_its_process_even_when_that_is_killed");
    let mut holder = Running::start(holder);
    let line = holder.line_with("holds ").await;
    let mut words = line.split(' ').skip(1);
    let port = words.next().unwrap().parse().unwrap();
    let store = Path::new(words.next().unwrap());
    assert!(listens(port).await);
    assert!(store.exists());

    holder.signal(Signal::KILL);
    assert_eq!(holder.end().await.code, None);
    eventually("the server of a killed process is gone", async || !listens(port).await).await;
}
