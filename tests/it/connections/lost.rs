//! Servers that go away and come back, and what may have changed meanwhile.

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context};
use rustix::process::Signal;
use tidegate_nats_server::Server;

use super::{Way, configured};
use crate::support::cli::Running;
use crate::support::host::plugins;
use crate::support::tls::Authority;
use crate::support::until;

fn user(password: &str) -> String {
    format!("authorization {{ user: ada, password: {password} }}")
}

/// The server as its user sees it.
async fn ada(server: &Server, authority: Option<&Authority>) -> Context {
    let mut options = ConnectOptions::with_user_and_password("ada".into(), "love-lace".into());
    if let Some(authority) = authority {
        options = options.add_root_certificates(authority.file().into());
    }
    jetstream::new(options.connect(server.url()).await.unwrap())
}

/// Publishes a message, and awaits that the host has settled it.
async fn handles(context: &Context) {
    let sequence = context.publish("work.a", "ok".into()).await.unwrap().await.unwrap().sequence;
    let stream = context.get_stream("work").await.unwrap();
    until("the message is handled", async || {
        let info = stream.consumer_info("probe-workers").await.unwrap();
        (info.ack_floor.stream_sequence == sequence).then_some(())
    })
    .await;
}

fn times(host: &Running, part: &str) -> usize {
    host.seen().iter().filter(|line| line.contains(part)).count()
}

/// The server of a running host crashes and comes back with the same store.
async fn outlives(mut server: Server, way: Way, authority: Option<&Authority>) {
    let plugins = plugins();
    let mut host = way.host(plugins.path());
    host.line_with("ready").await;
    handles(&ada(&server, authority).await).await;
    server.kill();
    host.line_with("lost the NATS server").await;
    host.line_with("the NATS server cannot be reached; trying again").await;
    server.restart().await.unwrap();
    host.line_with("the NATS server is back").await;
    handles(&ada(&server, authority).await).await;
    assert_eq!(times(&host, "cannot be reached"), 1, "the same reason is told again: {:#?}", host.seen());
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0));
    way.kept(&ended);
}

#[tokio::test]
async fn a_running_host_outlives_its_server_and_goes_on_when_it_is_back() {
    let server = configured(user("love-lace")).await;
    let way = Way::to(&server, &["--user", "ada", "--password", "love-lace"]).secret("love-lace");
    outlives(server, way, None).await;
}

#[tokio::test]
async fn a_running_host_outlives_its_server_with_tls_too() {
    let authority = Authority::new();
    let server = configured(format!("{}\n{}", authority.server(true), user("love-lace"))).await;
    let mine = authority.sign("host");
    let files = ["--tlsca", &authority.file(), "--tlscert", &mine.cert, "--tlskey", &mine.key];
    let way = Way::to(&server, &[&["--user", "ada", "--password", "love-lace"][..], &files].concat());
    // The client of the test has no certificate.
    let mut server = server;
    server.configure(&format!("{}\n{}", authority.server(false), user("love-lace")));
    server.restart().await.unwrap();
    outlives(server, way.secret("love-lace"), Some(&authority)).await;
}

#[tokio::test]
async fn a_host_that_is_not_let_in_any_more_says_so_once_and_goes_on_trying() {
    let mut server = configured(user("love-lace")).await;
    let way = Way::to(&server, &["--user", "ada", "--password", "love-lace"]).secret("love-lace");
    let plugins = plugins();
    let mut host = way.loud().host(plugins.path());
    host.line_with("ready").await;

    // The password changes while the server is away.
    server.kill();
    server.configure(&user("by-ron"));
    server.restart().await.unwrap();
    host.line_with("it refuses the credentials of this client").await;
    // It was refused again since.
    for _ in 0..3 {
        host.line_with("authorization violation").await;
    }
    server.configure(&user("love-lace"));
    server.reload().unwrap();
    host.line_with("the NATS server is back").await;
    assert_eq!(times(&host, "it refuses the credentials"), 1, "{:#?}", host.seen());
    handles(&ada(&server, None).await).await;

    // It changes while the host is connected.
    server.configure(&user("by-ron"));
    server.reload().unwrap();
    host.line_with("lost the NATS server").await;
    host.line_with("it refuses the credentials of this client").await;
    server.configure(&user("love-lace"));
    server.reload().unwrap();
    host.line_with("the NATS server is back").await;
    handles(&ada(&server, None).await).await;
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0));
    way.kept(&ended);
}
