//! What one instance does with messages: those of the call that runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::GuestTaskId;

use super::access::MessagingAccess;
use super::call::Call;
use super::consumer::Host;
use super::refused::Refused;
use super::types::{self, BrokerMessage};
use crate::contract::{Delivery, Response};
use crate::ports::GuestRequest;

/// What of an instance's store `wasmcloud:messaging` works on.
#[derive(Default)]
pub(crate) struct MessagingState {
    pub(super) access: Arc<MessagingAccess>,
    /// The call that runs, if one does.
    call: Option<Call>,
    /// The calls that run, where several may, by the task of each.
    pub(super) calls: HashMap<GuestTaskId, Call>,
}

impl MessagingState {
    pub(crate) fn new(access: Arc<MessagingAccess>) -> Self {
        Self { access, ..Self::default() }
    }

    /// Begins the call for a delivery.
    pub(crate) fn begin_call(&mut self, delivery: &Delivery) {
        self.call = Some(Call::new(delivery, &self.access));
    }

    /// Ends the call. Gives what it wants sent.
    pub(crate) fn end_call(&mut self) -> Response {
        self.call.take().map(|call| call.response).unwrap_or_default()
    }

    /// Notes what is to be sent.
    fn note(&mut self, message: BrokerMessage) -> Result<(), Refused> {
        let BrokerMessage { subject, body, reply_to } = message;
        let call = self.call.as_mut().ok_or_else(|| no_call("published"))?;
        call.admit(&self.access, &subject, reply_to.is_some())?;
        call.bytes.part(subject.len().saturating_add(body.len()))?.keep();
        call.note(subject, body);
        Ok(())
    }

    async fn ask(&mut self, subject: String, body: Vec<u8>, timeout_ms: u32) -> Result<BrokerMessage, Refused> {
        let call = self.call.as_mut().ok_or_else(|| no_call("asked"))?;
        call.admit_request(&self.access, &subject)?;
        let within = Duration::from_millis(timeout_ms.into());
        let request = GuestRequest { subject, payload: body.into(), hops: call.hops.clone(), within };
        let answer = self.access.requester()?.request(request).await?;
        Ok(BrokerMessage { subject: answer.subject, body: answer.payload.into(), reply_to: answer.reply_to })
    }
}

pub(super) fn no_call(what: &str) -> Refused {
    Refused::Other(format!("nothing can be {what} while no message is handled"))
}

impl types::Host for MessagingState {}

impl Host for MessagingState {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<BrokerMessage, String>> {
        Ok(self.ask(subject, body, timeout_ms).await.map_err(|refused| refused.to_string()))
    }

    async fn publish(&mut self, message: BrokerMessage) -> wasmtime::Result<Result<(), String>> {
        Ok(self.note(message).map_err(|refused| refused.to_string()))
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
        assert!(state.note(message("_INBOX.a", "again")).unwrap_err().to_string().contains("one a message"));
        let response = state.end_call();
        assert_eq!(response.reply.as_deref(), Some(&b"reply"[..]));
        let sent: Vec<_> = response.publications.iter().map(|one| (one.subject.as_str(), &*one.payload)).collect();
        assert_eq!(sent, [("out.b", &b"1"[..]), ("out.a", b"2")]);
    }

    #[test]
    fn what_is_not_granted_or_cannot_be_sent_is_refused_at_once() {
        let mut state = calling("");
        for subject in ["orders.new", "_INBOX.b", "out", "$JS.API.STREAM.DELETE.S"] {
            let refused = state.note(message(subject, "")).unwrap_err().to_string();
            assert!(refused.contains("grants.publish"), "{refused}");
        }
        for subject in ["", "out.*", "out.a b", "out.a\r\nPUB x"] {
            assert!(state.note(message(subject, "")).is_err(), "{subject:?}");
        }
        let with_reply = BrokerMessage { reply_to: Some("out.b".into()), ..message("out.a", "") };
        assert!(state.note(with_reply).unwrap_err().to_string().contains("no reply-to"));
        assert_eq!(state.end_call(), Response::default());
    }

    #[test]
    fn a_call_collects_no_more_than_its_limits() {
        let mut state = calling("limits.publications = 2\nlimits.response = \"64KiB\"\n");
        for _ in 0..2 {
            assert_eq!(state.note(message("out.a", "")), Ok(()));
        }
        assert!(state.note(message("out.a", "")).unwrap_err().to_string().contains("limits.publications"));
        let mut state = calling("limits.response = \"64KiB\"\n");
        assert_eq!(state.note(message("out.a", &"x".repeat(65_000))), Ok(()));
        assert!(state.note(message("out.a", &"x".repeat(1_000))).unwrap_err().to_string().contains("limits.response"));
        assert_eq!(state.end_call().publications.len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_sent_outside_of_a_call_nor_asked_without_a_grant_or_beyond_the_limit() {
        let mut state = calling("limits.requests = 2\n");
        for expected in ["grants.request", "grants.request", "limits.requests"] {
            let refused = state.ask("orders.new".into(), vec![], 1_000).await.unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
        state.end_call();
        assert!(state.note(message("out.a", "")).is_err());
        assert!(state.ask("prices.a".into(), vec![], 1_000).await.is_err());
    }
}
