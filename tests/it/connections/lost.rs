//! Servers that go away and come back, and what may have changed meanwhile.

use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context};
use rustix::process::Signal;
use tidegate_nats_server::Server;
use tidegate_runtime::config::{Config, Nats, Workload};
use tokio::sync::Mutex;

use super::permissions::{guarded, site};
use super::{Way, configured};
use crate::support::cli::Running;
use crate::support::host::{Host, plugins, workload};
use crate::support::site::Site;
use crate::support::tls::Authority;
use crate::support::web::get;
use crate::support::{eventually, log, until};

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

/// A site whose server has certificates of this authority.
async fn encrypted(server: Server, authority: &Authority) -> Arc<Site> {
    log::collect();
    let client = ConnectOptions::new().add_root_certificates(authority.file().into());
    let client = client.connect(server.url()).await.unwrap();
    let ca = Some(authority.file().into());
    let nats = Nats { servers: vec![server.url().to_owned()], ca, ..Nats::default() };
    let js = jetstream::new(client.clone());
    Arc::new(Site { server: Arc::new(Mutex::new(server)), nats, plugins: plugins(), client, js })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_another_certificate_is_not_taken_for_one_that_is_away() {
    let authority = Authority::new();
    let site = encrypted(configured(authority.server(false)).await, &authority).await;
    let url = site.nats.servers[0].clone();
    let own = Nats { inbox_prefix: Some("_INBOX_own".to_owned()), ..site.nats.clone() };
    let workloads = vec![workload("shared"), Workload { nats: Some(own), ..workload("alone") }];
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads, ..site.config() });
    let address = host.address().await;
    host.ready(2).await;

    site.server.lock().await.kill();
    authority.sign_expired("127.0.0.1");
    site.server.lock().await.restart().await.unwrap();
    let why = format!("TLS with {url} failed: the server's certificate has expired at 2021-01-01T00:00:00Z");
    let shared = format!("the NATS server is away: {why}. Give the server another one");
    let alone = format!("workload alone: connection: the NATS server of its own account is away ({url}): {why}");
    for said in [&shared, &alone] {
        eventually(said, async || get(&address, "/readyz").await.1.contains(said)).await;
    }
    assert!(get(&address, "/status").await.1.contains(&shared));
    let told = ["cannot be reached", &why];
    log::logged(&[&told[..], &["\"workloads\":\"alone\""]].concat()).await;
    assert_eq!(log::count(&told), 2, "once for each connection");
    assert_eq!(log::count(&["\"part\":\"connection\"", &url]), 1, "it is one problem, whatever its reason is");

    authority.sign("127.0.0.1");
    site.server.lock().await.restart().await.unwrap();
    eventually("it is ready again", async || get(&address, "/readyz").await == (200, "ok\n".to_owned())).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_let_in_any_more_is_told_from_one_whose_server_is_away_over_http_too() {
    let site = site("", None).await;
    let (host, address) = Host::over_http(site.clone(), workload("refused")).await;
    host.ready(1).await;
    let accept = async |config: &str| {
        let mut server = site.server.lock().await;
        server.configure(config);
        server.reload().unwrap();
    };
    accept(&guarded("").replace("password: some", "password: another")).await;
    let said = "the NATS server is away: it refuses the credentials of this client: give the user its rights back";
    eventually(said, async || get(&address, "/readyz").await.1.contains(said)).await;
    assert!(get(&address, "/status").await.1.contains(said));
    accept(&guarded("")).await;
    eventually("it is ready again", async || get(&address, "/readyz").await.0 == 200).await;
    host.stop().await;
}
