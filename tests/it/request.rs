//! Request-reply through a stream.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, stream};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use serde_json::Value;
use tidegate_nats_server::Server;
use tidegate_runtime::config::Nats;
use tidegate_runtime::jetstream::{Client, ConnectError, Reply, RequestError, RequestOptions};

use crate::support::cli::{Ended, run};
use crate::support::nats::{jetstream, nats};
use crate::support::until;

/// Short, for the tests that wait for it to pass.
const SOON: Duration = Duration::from_millis(200);

struct RequestSite {
    server: Server,
    context: jetstream::Context,
    consumer: PullConsumer,
    client: Client,
}

async fn connect(server: &Server) -> Result<Client, ConnectError> {
    let servers = vec![server.url().to_owned()];
    Client::connect(&Nats { servers, ..Nats::default() }).await
}

/// A stream TEST on `test.*` that keeps what its consumer has not acknowledged.
async fn bench() -> RequestSite {
    let server = nats().await;
    let context = jetstream(&server).await;
    let retention = stream::RetentionPolicy::Interest;
    let config =
        stream::Config { name: "TEST".into(), subjects: vec!["test.*".into()], retention, ..Default::default() };
    let stream = context.create_stream(config).await.unwrap();
    let durable_name = Some("PROCESSOR".into());
    let config = pull::Config { durable_name, ack_policy: AckPolicy::Explicit, ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let client = connect(&server).await.unwrap();
    RequestSite { server, context, consumer, client }
}

impl RequestSite {
    /// Replies to each message with its payload, and then acknowledges it.
    fn respond(&self) -> tokio::task::JoinHandle<()> {
        let (consumer, context) = (self.consumer.clone(), self.context.clone());
        tokio::spawn(async move {
            let mut messages = consumer.messages().await.unwrap();
            while let Some(message) = messages.next().await {
                let message = message.unwrap();
                reply(&context, &message).await;
                message.ack().await.unwrap();
            }
        })
    }

    async fn next(&self) -> jetstream::Message {
        let fetch = async || self.consumer.fetch().max_messages(1).messages().await.unwrap().next().await;
        until("a message", fetch).await.unwrap()
    }

    async fn stored(&self) -> u64 {
        self.context.get_stream("TEST").await.unwrap().cached_info().state.messages
    }

    async fn request(&self, payload: &'static str, options: &RequestOptions) -> Result<Reply, RequestError> {
        self.client.request("test.foo", Bytes::from_static(payload.as_bytes()), &[], options).await
    }
}

async fn reply(context: &jetstream::Context, message: &jetstream::Message) {
    let to = message.headers.as_ref().unwrap().get("Nats-Reply").unwrap().to_string();
    let mut headers = HeaderMap::new();
    headers.insert("Echo", "yes");
    context.client().publish_with_headers(to, headers, message.payload.clone()).await.unwrap();
}

fn within(timeout: Duration) -> RequestOptions {
    RequestOptions { timeout, message_id: None }
}

fn patient() -> RequestOptions {
    within(crate::support::PATIENCE)
}

fn with_id(options: RequestOptions, id: &str) -> RequestOptions {
    RequestOptions { message_id: Some(id.to_owned()), ..options }
}

#[tokio::test]
async fn a_reply_arrives_with_its_headers_and_the_place_of_the_request() {
    let bench = bench().await;
    let responder = bench.respond();
    let reply = bench.request("hello", &patient()).await.unwrap();
    assert_eq!(reply.payload, "hello");
    assert_eq!(reply.headers, [("Echo".to_owned(), "yes".to_owned())]);
    let stored = reply.stored.unwrap();
    assert_eq!((stored.stream.as_str(), stored.sequence, stored.duplicate), ("TEST", 1, false));
    responder.abort();
}

#[tokio::test]
async fn requests_at_the_same_time_get_their_own_replies() {
    let bench = bench().await;
    let responder = bench.respond();
    let options = patient();
    let replies = join_all((0..200).map(|n: u32| {
        let (client, options) = (bench.client.clone(), &options);
        async move {
            let payload = n.to_string();
            let reply = client.request("test.foo", payload.clone().into(), &[], options).await.unwrap();
            assert_eq!(reply.payload, payload);
        }
    }));
    assert_eq!(replies.await.len(), 200);
    responder.abort();
}

#[tokio::test]
async fn a_request_carries_its_headers_an_inbox_and_a_message_id() {
    let bench = bench().await;
    let headers = [("Tint".to_owned(), "blue".to_owned())];
    let options = with_id(patient(), "one");
    let request = bench.client.request("test.foo", Bytes::new(), &headers, &options);
    let handler = async {
        let message = bench.next().await;
        reply(&bench.context, &message).await;
        message.headers.clone().unwrap()
    };
    let (answer, sent) = tokio::join!(request, handler);
    answer.unwrap();
    assert_eq!(sent.get("Tint").unwrap().as_str(), "blue");
    assert_eq!(sent.get("Nats-Msg-Id").unwrap().as_str(), "one");
    assert!(sent.get("Nats-Reply").unwrap().as_str().starts_with("_INBOX."));
}

#[tokio::test]
async fn without_a_reply_in_time_the_message_is_deleted_and_the_error_says_so() {
    let bench = bench().await;
    let error = bench.request("x", &within(SOON)).await.unwrap_err();
    let RequestError::NoReply { stored, deleted, .. } = &error else { panic!("{error}") };
    assert_eq!((stored.stream.as_str(), stored.sequence, *deleted), ("TEST", 1, true));
    assert!(error.to_string().contains("stored in TEST at 1, deleted"), "{error}");
    assert_eq!(bench.stored().await, 0);
}

#[tokio::test]
async fn a_message_that_was_handled_without_a_reply_is_reported_as_gone() {
    let bench = bench().await;
    let handler = async { bench.next().await.double_ack().await.unwrap() };
    let options = within(Duration::from_secs(2));
    let (error, ()) = tokio::join!(bench.request("x", &options), handler);
    let error = error.unwrap_err();
    assert!(matches!(error, RequestError::NoReply { deleted: false, .. }), "{error}");
    assert!(error.to_string().contains("no longer there"), "{error}");
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_is_named() {
    let bench = bench().await;
    let error = bench.client.request("other.foo", Bytes::new(), &[], &patient()).await.unwrap_err();
    assert!(matches!(&error, RequestError::NoStream { subject } if subject == "other.foo"), "{error}");
}

#[tokio::test]
async fn somebody_who_swallows_the_message_and_sends_no_pub_ack_is_told_apart() {
    let bench = bench().await;
    // A plain subscriber takes the message, so there is a responder and no stream.
    let _listener = bench.context.client().subscribe("other.foo").await.unwrap();
    // An answer on this connection means that the server has heard of the subscription; a flush does not.
    bench.context.query_account().await.unwrap();
    let error = bench.client.request("other.foo", Bytes::new(), &[], &within(SOON)).await.unwrap_err();
    assert!(matches!(error, RequestError::NoPubAck { .. }), "{error}");
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_with_size_and_limit() {
    let bench = bench().await;
    let limit = bench.context.client().server_info().max_payload;
    let error = bench.client.request("test.foo", vec![0; limit + 1].into(), &[], &patient()).await.unwrap_err();
    assert!(matches!(error, RequestError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
    // The connection is as good as before.
    let responder = bench.respond();
    bench.request("x", &patient()).await.unwrap();
    responder.abort();
}

#[tokio::test]
async fn subjects_that_cannot_be_published_on_are_refused() {
    let bench = bench().await;
    for subject in ["", "test.*", "test.>", "test..foo", "test foo", "test.foo\r\nPUB x 0"] {
        let error = bench.client.request(subject, Bytes::new(), &[], &patient()).await.unwrap_err();
        assert!(matches!(error, RequestError::Subject { .. }), "{subject:?}: {error}");
    }
    assert_eq!(bench.stored().await, 0);
}

#[tokio::test]
async fn what_the_stream_refuses_is_said_in_its_words() {
    let bench = bench().await;
    let mut config = bench.context.get_stream("TEST").await.unwrap().cached_info().config.clone();
    config.max_message_size = 10;
    bench.context.update_stream(config).await.unwrap();
    let error = bench.request("far more than ten bytes", &patient()).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("size"), "{error}");
}

#[tokio::test]
async fn a_request_sent_again_with_the_same_id_hears_the_reply_to_the_first() {
    let bench = bench().await;
    let (first, second) = (with_id(within(SOON), "one"), with_id(patient(), "one"));
    // The message is taken before the first request gives up, and replied to after that.
    let (error, message) = tokio::join!(bench.request("x", &first), bench.next());
    assert!(matches!(error, Err(RequestError::NoReply { .. })), "{error:?}");
    // A late reply that nobody waits for is dropped, so it is sent until somebody does.
    let late = async {
        loop {
            reply(&bench.context, &message).await;
            bench.context.client().flush().await.unwrap();
        }
    };
    let answer = tokio::select! {
        answer = bench.request("x", &second) => answer.unwrap(),
        () = late => unreachable!(),
    };
    assert!(answer.stored.unwrap().duplicate);
}

#[tokio::test]
async fn an_id_whose_message_was_deleted_is_used_up_and_the_error_says_so() {
    let bench = bench().await;
    let options = with_id(within(SOON), "one");
    bench.request("x", &options).await.unwrap_err();
    let responder = bench.respond();
    let error = bench.request("x", &options).await.unwrap_err();
    assert!(error.to_string().contains("an earlier request with this message id"), "{error}");
    responder.abort();
}

#[tokio::test]
async fn a_delivery_that_is_tried_again_still_replies() {
    let bench = bench().await;
    let handler = async {
        bench.next().await.ack_with(AckKind::Nak(None)).await.unwrap();
        let message = bench.next().await;
        reply(&bench.context, &message).await;
    };
    let options = patient();
    let (answer, ()) = tokio::join!(bench.request("x", &options), handler);
    assert_eq!(answer.unwrap().payload, "x");
    drop(bench.server);
}

#[tokio::test]
async fn a_request_that_gives_up_leaves_the_message_of_an_earlier_one_with_the_same_id() {
    let bench = bench().await;
    let first = connect(&bench.server).await.unwrap();
    let (options, patient) = (with_id(within(SOON), "one"), with_id(patient(), "one"));
    let first = first.request("test.foo", "x".into(), &[], &patient);
    let second = async {
        until("the first request is stored", async || (bench.stored().await == 1).then_some(())).await;
        let error = bench.request("y", &options).await.unwrap_err();
        assert!(matches!(&error, RequestError::NoReply { deleted: false, .. }), "{error}");
        assert!(error.to_string().contains("an earlier request with this message id"), "{error}");
        bench.next().await
    };
    let handler = async {
        let message = second.await;
        reply(&bench.context, &message).await;
    };
    let (answer, ()) = tokio::join!(first, handler);
    assert_eq!(answer.unwrap().payload, "x");
}

#[tokio::test]
async fn a_request_that_gives_up_leaves_a_message_that_was_handled_long_ago() {
    let bench = bench().await;
    let config = stream::Config { name: "KEPT".into(), subjects: vec!["kept".into()], ..Default::default() };
    bench.context.create_stream(config).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "one");
    bench.context.publish_with_headers("kept", headers, "x".into()).await.unwrap().await.unwrap();
    let error = bench.client.request("kept", Bytes::new(), &[], &with_id(within(SOON), "one")).await.unwrap_err();
    assert!(matches!(&error, RequestError::NoReply { deleted: false, .. }), "{error}");
    assert_eq!(bench.context.get_stream("KEPT").await.unwrap().cached_info().state.messages, 1);
}

#[tokio::test]
async fn another_services_error_is_no_reply_either() {
    let bench = bench().await;
    let handler = async {
        let message = bench.next().await;
        let to = message.headers.as_ref().unwrap().get("Nats-Reply").unwrap().to_string();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error-Code", "429");
        headers.insert("Nats-Service-Error", "too many");
        bench.context.client().publish_with_headers(to, headers, Bytes::new()).await.unwrap();
    };
    let options = patient();
    let (answer, ()) = tokio::join!(bench.request("x", &options), handler);
    assert_eq!(answer.unwrap_err().to_string(), "the request was answered with error 429: too many");
}

/// `tidegate request` with a server and more arguments.
async fn command(bench: &RequestSite, arguments: &[&str]) -> Ended {
    run(["request", "--server", bench.server.url()].iter().chain(arguments)).await
}

#[tokio::test]
async fn the_command_prints_the_reply_and_nothing_else() {
    let bench = bench().await;
    let responder = bench.respond();
    let ended = command(&bench, &["test.foo", "hello"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "hello"), "{}", ended.stderr);
    let ended = command(&bench, &["test.foo", "hello", "--output", "json", "--header", "Tint: blue"]).await;
    let object: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((object["payload"].as_str(), object["sequence"].as_u64()), (Some("hello"), Some(2)), "{object}");
    responder.abort();
}

#[tokio::test]
async fn the_command_ends_with_3_where_no_reply_came_and_with_1_where_no_stream_is() {
    let bench = bench().await;
    let ended = command(&bench, &["test.foo", "--timeout", "200ms"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("no reply within 200ms"), "{}", ended.stderr);
    let ended = command(&bench, &["test.foo", "--timeout", "200ms", "--output", "json"]).await;
    let object: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(ended.code, Some(3));
    assert_eq!((object["missing"].as_str(), object["deleted"].as_bool()), (Some("reply"), Some(true)), "{object}");
    let ended = command(&bench, &["other.foo"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("no stream takes `other.foo`"), "{}", ended.stderr);
}
