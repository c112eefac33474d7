//! What one instance does with messages: those of the call that runs.

use std::sync::Arc;
use std::time::Duration;

use super::access::MessagingAccess;
use super::consumer::Host;
use super::types::{self, BrokerMessage};
use crate::contract::{Delivery, Publication, Response};
use crate::delivery::hops;
use crate::ports::GuestRequest;

/// What of an instance's store `wasmcloud:messaging` works on.
#[derive(Default)]
pub(crate) struct MessagingState {
    access: Arc<MessagingAccess>,
    /// The call that runs, if one does.
    call: Option<Call>,
}

/// What one call has come to so far.
#[derive(Debug)]
struct Call {
    /// Where the requester waits.
    requester: Option<String>,
    /// The hop count that its requests carry.
    hops: String,
    requests: u32,
    /// What it wants sent when it has ended well.
    response: Response,
    /// Bytes of it.
    size: usize,
}

impl MessagingState {
    pub(crate) fn new(access: Arc<MessagingAccess>) -> Self {
        Self { access, call: None }
    }

    /// Begins the call for a delivery.
    pub(crate) fn begin_call(&mut self, delivery: &Delivery) {
        self.call = Some(Call {
            requester: delivery.reply_to.clone(),
            hops: hops::next(delivery, &self.access.workload),
            requests: 0,
            response: Response::default(),
            size: 0,
        });
    }

    /// Ends the call. Gives what it wants sent.
    pub(crate) fn end_call(&mut self) -> Response {
        self.call.take().map(|call| call.response).unwrap_or_default()
    }

    /// Notes what is to be sent.
    fn note(&mut self, message: BrokerMessage) -> Result<(), String> {
        let BrokerMessage { subject, body, reply_to } = message;
        let limits = &self.access.limits;
        let call = self.call.as_mut().ok_or("nothing can be published while no message is handled")?;
        if reply_to.is_some() {
            return Err("a publication is stored in a stream and can have no reply-to; ask with `request`".to_owned());
        }
        call.size = call.size.saturating_add(subject.len()).saturating_add(body.len());
        if call.size > limits.response {
            let limit = limits.response;
            return Err(format!("more than the {limit} bytes in one call that limits.response allows"));
        }
        if call.requester.as_ref() == Some(&subject) {
            if call.response.reply.is_some() {
                return Err("the requester has its reply already: there is one a message".to_owned());
            }
            call.response.reply = Some(body);
            return Ok(());
        }
        self.access.check_publication(&subject)?;
        if call.response.publications.len() >= limits.publications {
            let limit = limits.publications;
            return Err(format!("more than the {limit} publications in one call that limits.publications allows"));
        }
        call.response.publications.push(Publication { subject, headers: Vec::new(), payload: body });
        Ok(())
    }

    async fn ask(&mut self, subject: String, body: Vec<u8>, timeout_ms: u32) -> Result<BrokerMessage, String> {
        let limit = self.access.limits.requests;
        let call = self.call.as_mut().ok_or("nothing can be asked while no message is handled")?;
        if call.requests >= limit {
            return Err(format!("more than the {limit} requests in one call that limits.requests allows"));
        }
        call.requests += 1;
        self.access.check_request(&subject)?;
        let within = Duration::from_millis(timeout_ms.into());
        let request = GuestRequest { subject, payload: body.into(), hops: call.hops.clone(), within };
        let answer = self.access.requester()?.request(request).await?;
        Ok(BrokerMessage { subject: answer.subject, body: answer.payload.into(), reply_to: answer.reply_to })
    }
}

impl types::Host for MessagingState {}

impl Host for MessagingState {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<BrokerMessage, String>> {
        Ok(self.ask(subject, body, timeout_ms).await)
    }

    async fn publish(&mut self, message: BrokerMessage) -> wasmtime::Result<Result<(), String>> {
        Ok(self.note(message))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{Config, Workload};

    fn workload(more: &str) -> Workload {
        let text = format!(
            "[workload.work]\nstream = \"S\"\nhandler = \"h\"\npolicy = \"p\"\n\
             grants.publish = [\"out.>\"]\ngrants.request = [\"prices.*\"]\n{more}"
        );
        Config::from_toml(&text).unwrap().workloads.remove(0)
    }

    fn calling(more: &str) -> MessagingState {
        let mut state = MessagingState::new(MessagingAccess::new(&workload(more)));
        state.begin_call(&Delivery { reply_to: Some("_INBOX.a".into()), ..Delivery::default() });
        state
    }

    fn message(subject: &str, body: &str) -> BrokerMessage {
        BrokerMessage { subject: subject.into(), body: body.into(), reply_to: None }
    }

    #[test]
    fn what_goes_to_the_requester_is_the_reply_and_the_rest_are_publications_in_order() {
        let mut state = calling("");
        for (subject, body) in [("out.b", "1"), ("_INBOX.a", "reply"), ("out.a", "2")] {
            assert_eq!(state.note(message(subject, body)), Ok(()));
        }
        assert!(state.note(message("_INBOX.a", "again")).unwrap_err().contains("one a message"));
        let response = state.end_call();
        assert_eq!(response.reply.as_deref(), Some(&b"reply"[..]));
        let sent: Vec<_> = response.publications.iter().map(|one| (one.subject.as_str(), &*one.payload)).collect();
        assert_eq!(sent, [("out.b", &b"1"[..]), ("out.a", b"2")]);
    }

    #[test]
    fn what_is_not_granted_or_cannot_be_sent_is_refused_at_once() {
        let mut state = calling("");
        for subject in ["orders.new", "_INBOX.b", "out", "$JS.API.STREAM.DELETE.S"] {
            let refused = state.note(message(subject, "")).unwrap_err();
            assert!(refused.contains("grants.publish"), "{refused}");
        }
        for subject in ["", "out.*", "out.a b", "out.a\r\nPUB x"] {
            assert!(state.note(message(subject, "")).is_err(), "{subject:?}");
        }
        let with_reply = BrokerMessage { reply_to: Some("out.b".into()), ..message("out.a", "") };
        assert!(state.note(with_reply).unwrap_err().contains("no reply-to"));
        assert_eq!(state.end_call(), Response::default());
    }

    #[test]
    fn a_call_collects_no_more_than_its_limits() {
        let mut state = calling("limits.publications = 2\nlimits.response = \"64KiB\"\n");
        for _ in 0..2 {
            assert_eq!(state.note(message("out.a", "")), Ok(()));
        }
        assert!(state.note(message("out.a", "")).unwrap_err().contains("limits.publications"));
        let mut state = calling("limits.response = \"64KiB\"\n");
        assert_eq!(state.note(message("out.a", &"x".repeat(65_000))), Ok(()));
        assert!(state.note(message("out.a", &"x".repeat(1_000))).unwrap_err().contains("limits.response"));
        assert_eq!(state.end_call().publications.len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_sent_outside_of_a_call_nor_asked_without_a_grant_or_beyond_the_limit() {
        let mut state = calling("limits.requests = 2\n");
        for expected in ["grants.request", "grants.request", "limits.requests"] {
            let refused = state.ask("orders.new".into(), vec![], 1_000).await.unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        state.end_call();
        assert!(state.note(message("out.a", "")).is_err());
        assert!(state.ask("prices.a".into(), vec![], 1_000).await.is_err());
    }
}
