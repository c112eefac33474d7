//! What one call has come to so far. Pure.

use std::sync::Arc;

use tokio::sync::watch;

use super::access::MessagingAccess;
use super::body::OpenBodies;
use super::held_bytes::HeldBytes;
use super::refused::Refused;
use crate::contract::{Delivery, Publication, Response};
use crate::delivery::hops;

/// What one call has come to so far.
#[derive(Debug)]
pub(super) struct Call {
    /// Where the requester waits.
    requester: Option<String>,
    /// The hop count that its requests carry.
    pub(super) hops: String,
    requests: u32,
    /// What it wants sent when it has ended well.
    pub(super) response: Response,
    /// Bytes of it, and what else the host holds for the call.
    pub(super) bytes: Arc<HeldBytes>,
    /// The bodies that it reads and writes.
    pub(super) bodies: OpenBodies,
    /// Closed when it has ended: what it waits for is not waited for any longer.
    pub(super) ended: watch::Sender<()>,
}

impl Call {
    pub(super) fn new(delivery: &Delivery, access: &MessagingAccess) -> Self {
        Self {
            requester: delivery.reply_to.clone(),
            hops: hops::next(delivery, &access.workload),
            requests: 0,
            response: Response::default(),
            bytes: HeldBytes::new(access.limits.response),
            bodies: OpenBodies::default(),
            ended: watch::Sender::default(),
        }
    }

    /// Whether one more may be published, on this subject.
    pub(super) fn admit(&self, access: &MessagingAccess, subject: &str, has_reply_to: bool) -> Result<(), Refused> {
        let limit = access.limits.publications;
        if has_reply_to {
            let why = "a publication is stored in a stream and can have no reply-to; ask with `request`";
            return Err(Refused::Other(why.to_owned()));
        }
        if self.is_reply(subject) {
            let why = "the requester has its reply already: there is one a message";
            return if self.response.reply.is_some() { Err(Refused::Other(why.to_owned())) } else { Ok(()) };
        }
        access.check_publication(subject)?;
        if self.response.publications.len() >= limit {
            let why = format!("more than the {limit} publications in one call that limits.publications allows");
            return Err(Refused::TooMany(why));
        }
        Ok(())
    }

    /// Notes what was admitted.
    pub(super) fn note(&mut self, subject: String, payload: Vec<u8>) {
        if self.is_reply(&subject) {
            self.response.reply = Some(payload);
        } else {
            self.response.publications.push(Publication { subject, headers: Vec::new(), payload });
        }
    }

    fn is_reply(&self, subject: &str) -> bool {
        self.requester.as_deref() == Some(subject)
    }

    /// Counts one more request, on this subject.
    pub(super) fn admit_request(&mut self, access: &MessagingAccess, subject: &str) -> Result<(), Refused> {
        let limit = access.limits.requests;
        if self.requests >= limit {
            let why = format!("more than the {limit} requests in one call that limits.requests allows");
            return Err(Refused::TooMany(why));
        }
        self.requests += 1;
        access.check_request(subject)
    }
}
