//! Strangers who may ask.

use std::time::Duration;

use futures_util::StreamExt;

use super::{answer, ask, host, refused, service};
use crate::support::host::workers;
use crate::support::log;
use crate::support::raw;
use crate::support::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_should_send_is_refused_or_passed_over_and_the_host_goes_on() {
    let site = Site::new().await;
    let (host, _) = host(site.clone(), service(true), vec![workers("calm", 1)]).await;
    let url = site.nats.servers[0].clone();
    let place = "tidegate.host.one";
    // As large as the server takes.
    let large = vec![b'{'; (1 << 20) - 1];
    for what in ["status", "scale.calm", "pause.calm", "drain", "undrain"] {
        let (code, words) = refused(&site, &format!("{place}.{what}"), large.clone()).await;
        assert_eq!((code, words.as_str()), (413, "the request has more than 4096 bytes"), "{what}");
        let (code, _) = refused(&site, &format!("{place}.{what}"), "\u{0}garbage{").await;
        assert_eq!(code, 400, "{what}");
        // Without a reply subject nobody would hear that it was done: nothing is done.
        site.client.publish(format!("{place}.{what}"), "".into()).await.unwrap();
    }
    assert!(ask(&site, "$SRV.PING", large.clone()).await.is_some(), "what is sent with a ping does not matter");
    assert_eq!(refused(&site, &format!("{place}.explode.calm"), "").await.0, 404);
    let deep = "a".repeat(3000);
    let (_, words) = refused(&site, &format!("{place}.status.{deep}"), "").await;
    assert!(words.len() < 300, "{words}");
    // What would end the client library's connection ends nothing here.
    raw::publish(&url, b"tidegate.host.one.\xff\xfe", b"", b"x").await;
    raw::publish(&url, "tidegate.host.one.status\u{a0}x", b"", b"x").await;
    raw::publish(&url, "$SRV.PING", b"NATS/1.0\r\nno colon\r\n\r\n", b"x").await;
    raw::publish(&url, "tidegate.host.one.status", b"garbage\r\n\r\n", b"x").await;
    assert_eq!(answer(&site, "$SRV.PING.tidegate.one", "").await["metadata"]["drain"], "no");
    assert_eq!(host.request("in.calm.a", "reply done").await, "done");
    assert_eq!(log::count(&["reconnected"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_where_the_host_has_rights_that_who_asks_has_not() {
    let site = Site::new().await;
    let (host, _) = host(site.clone(), service(true), vec![workers("deputy", 1)]).await;
    site.stream("ELSE", &["else.>"]).await;
    for reply in ["$JS.API.STREAM.DELETE.ELSE", "else.orders", "tidegate.host.one.drain", "_INBOX.*"] {
        // As text of the protocol: a client library would not send all of these.
        raw::publish(&site.nats.servers[0], format!("$SRV.PING {reply}"), b"", b"").await;
    }
    // They are answered in order, so all of those are dealt with.
    answer(&site, "$SRV.PING.tidegate.one", "").await;
    let stream = site.js.get_stream("ELSE").await.expect("it is not deleted");
    assert_eq!(stream.cached_info().state.messages, 0);
    assert_eq!(answer(&site, "$SRV.PING.tidegate.one", "").await["metadata"]["drain"], "no");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_not_answered_whole_and_the_workload_goes_on_under_it() {
    let site = Site::new().await;
    let (host, _) = host(site.clone(), service(true), vec![workers("flood", 1)]).await;
    const ASKED: usize = 20_000;
    let inbox = site.client.new_inbox();
    let mut answers = site.client.subscribe(inbox.clone()).await.unwrap();
    let flooding = {
        let client = site.client.clone();
        tokio::spawn(async move {
            for _ in 0..ASKED {
                client.publish_with_reply("$SRV.STATS", inbox.clone(), "x".repeat(100).into()).await.unwrap();
            }
            client.flush().await.unwrap();
        })
    };
    for _ in 0..20 {
        assert_eq!(host.request("in.flood.a", "reply done").await, "done");
    }
    flooding.await.unwrap();
    log::logged(&["more is asked of this host by NATS than it answers"]).await;
    // What was asked within its bounds is answered again, after a while.
    crate::support::until("it answers", async || {
        let asked = ask(&site, "$SRV.PING.tidegate.one", "");
        tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten()
    })
    .await;
    let mut answered = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(100), answers.next()).await {
        answered += 1;
    }
    assert!((1..ASKED).contains(&answered), "{answered}");
}
