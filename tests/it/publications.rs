//! Streams that do not store what handlers publish, or do not say so: the cause is named with what mends it.

use async_nats::jetstream::stream::{Config, DiscardPolicy};

use crate::support::host::{Host, workload};
use crate::support::log;

fn out(config: Config) -> Config {
    Config { name: "OUT".to_owned(), subjects: vec!["out.>".to_owned()], ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_acknowledges_nothing_is_told_with_the_setting() {
    let host = Host::start(vec![workload("unacked")]).await;
    host.js.create_stream(out(Config { no_ack: true, ..Config::default() })).await.unwrap();
    host.publish("in.unacked.a", "publish out.a one").await;
    host.stored_count("OUT", 1).await;
    // The next attempt is acknowledged.
    host.js.update_stream(out(Config::default())).await.unwrap();
    let said = "the publication on `out.a` was not acknowledged within 5s";
    log::logged(&["\"ERROR\"", "\"unacked\"", "\"effects\"", said, "`nats stream edit NAME --ack`"]).await;
    host.settled("unacked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_full_is_told_with_what_makes_room() {
    let host = Host::start(vec![workload("outfull")]).await;
    let full = Config { max_messages: 1, discard: DiscardPolicy::New, ..Config::default() };
    host.js.create_stream(out(full)).await.unwrap();
    host.publish_all("in.outfull.a", ["publish out.a one".to_owned(), "publish out.b two".to_owned()]).await;
    log::logged(&["\"ERROR\"", "\"outfull\"", "\"effects\"", "was not stored: ", "`nats stream purge`"]).await;
    host.js.get_stream("OUT").await.unwrap().purge().await.unwrap();
    host.settled("outfull").await;
}
