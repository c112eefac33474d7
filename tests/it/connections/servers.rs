//! Several servers, and servers that go away on purpose.

use rustix::process::Signal;
use tidegate_nats_server::Server;

use super::{Way, configured};
use crate::support::cli::Running;
use crate::support::host::plugins;
use crate::support::nats::{jetstream, nats};
use crate::support::until;

/// Lame duck mode, as short as a server takes it.
const HASTY: &str = "lame_duck_grace_period: 1s, lame_duck_duration: 30s";

/// Publishes a message, and awaits that the host has settled it.
async fn handles(server: &Server) {
    let context = jetstream(server).await;
    until("the stream is there", async || context.get_stream("work").await.ok()).await;
    let sequence = context.publish("work.a", "ok".into()).await.unwrap().await.unwrap().sequence;
    let stream = context.get_stream("work").await.unwrap();
    until("the message is handled", async || {
        let info = stream.consumer_info("probe-workers").await.ok()?;
        (info.ack_floor.stream_sequence == sequence).then_some(())
    })
    .await;
}

async fn stopped(host: Running) {
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_is_dead_is_passed_over_in_a_list() {
    let server = nats().await;
    Way::flags(["--server", &format!("nats://127.0.0.1:1,{}", server.url())]).works().await;
    Way::default().variable("NATS_URL", format!("{},nats://127.0.0.1:1", server.url())).works().await;
    let dead = "no NATS server answers at nats://127.0.0.1:1, nats://127.0.0.1:2: Connection refused";
    Way::flags(["--server", "nats://ada:love-lace@127.0.0.1:1,nats://127.0.0.1:2"])
        .secret("love-lace")
        .waits(&[dead, "--server"])
        .await;
}

/// Starts a host with two servers, and tells which of them it has found.
async fn with_two(config: &str) -> (Running, Server, Server, tempfile::TempDir) {
    let (one, two) = (configured(config).await, configured(config).await);
    let plugins = plugins();
    let mut host = Way::flags(["--server", &format!("{},{}", one.url(), two.url())]).host(plugins.path());
    host.line_with("ready").await;
    // It makes its stream where it is.
    let is_one = jetstream(&one).await.get_stream("work").await.is_ok();
    let (found, other) = if is_one { (one, two) } else { (two, one) };
    handles(&found).await;
    (host, found, other, plugins)
}

#[tokio::test]
async fn a_host_whose_server_dies_goes_on_at_the_other_one() {
    let (mut host, mut found, other, _plugins) = with_two("").await;
    found.kill();
    host.line_with("lost the NATS server").await;
    host.line_with("the NATS server is back").await;
    handles(&other).await;
    stopped(host).await;
}

#[tokio::test]
async fn a_server_that_was_away_at_the_start_is_gone_to_later() {
    let (mut one, mut other) = (configured("").await, configured("").await);
    other.kill();
    // It takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = format!("nats://{},{},{}", silent.local_addr().unwrap(), other.url(), one.url());
    let plugins = plugins();
    let mut host = Way::flags(["--server", &urls]).host(plugins.path());
    host.line_with("ready").await;
    handles(&one).await;
    other.restart().await.unwrap();
    drop(silent);
    one.kill();
    host.line_with("the NATS server is back").await;
    handles(&other).await;
    stopped(host).await;
}

#[tokio::test]
async fn a_host_whose_server_retires_goes_on_at_the_other_one() {
    let (mut host, mut found, other, _plugins) = with_two(HASTY).await;
    found.retire().unwrap();
    host.line_with("the NATS server is about to shut down").await;
    host.line_with("the NATS server is back").await;
    handles(&other).await;
    stopped(host).await;
}

#[tokio::test]
async fn a_host_whose_only_server_retires_waits_for_it() {
    let mut server = configured(HASTY).await;
    let plugins = plugins();
    let mut host = Way::to(&server, &[]).host(plugins.path());
    host.line_with("ready").await;
    handles(&server).await;
    server.retire().unwrap();
    host.line_with("the NATS server is about to shut down").await;
    host.line_with("the NATS server cannot be reached; trying again").await;
    server.restart().await.unwrap();
    host.line_with("the NATS server is back").await;
    handles(&server).await;
    stopped(host).await;
}
