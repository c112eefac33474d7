//! Requests of a workload's handler by core NATS.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::Client;
use super::request_window::RequestWindow;
use crate::delivery::hops::HOPS;
use crate::ports::{EffectError, GuestRequest, RequestAnswer, RequestFailed, RequestFuture, Requester};
use crate::subject::shown;

/// Requests of a workload that may wait for their answers.
const AT_ONCE: usize = 1_000;
/// How much later the window of requests would give up a wait.
const LONGER: Duration = Duration::from_secs(60);

/// Sends what the handler of one workload asks.
pub(crate) struct GuestRequests(RequestWindow);

impl GuestRequests {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self(RequestWindow::new(client, AT_ONCE, "who answers there, or the server,")))
    }
}

impl Requester for GuestRequests {
    fn request(&self, request: GuestRequest) -> RequestFuture<'_> {
        Box::pin(async move {
            let GuestRequest { subject, payload, hops, within } = request;
            let mut headers = HeaderMap::new();
            headers.insert(HOPS, hops);
            // The wait for room counts too. The window's own time is longer, so that this one always ends it.
            let longer = within.saturating_add(LONGER);
            let asked = timeout(within, self.0.ask(subject.clone(), headers, payload, longer)).await;
            let Ok(answer) = asked else {
                let late = format!("`{}` was not answered within {within:?}", shown(&subject));
                return Err(RequestFailed::Late(late));
            };
            let answer = answer.map_err(failed)?;
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return Err(RequestFailed::Other(format!("nobody listens on `{}`", shown(&subject))));
            }
            let reply_to = answer.reply.map(|reply| reply.to_string());
            Ok(RequestAnswer { subject: answer.subject.to_string(), payload: answer.payload, reply_to })
        })
    }
}

fn failed(error: EffectError) -> RequestFailed {
    match error {
        EffectError::Refused(why) => RequestFailed::TooLarge(why),
        EffectError::Unavailable(why) => RequestFailed::Unavailable(why),
        EffectError::Conflict(why) | EffectError::Denied(why) => RequestFailed::Other(why),
    }
}

impl std::fmt::Debug for GuestRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestRequests").finish_non_exhaustive()
    }
}
