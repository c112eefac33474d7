use std::collections::HashSet;
use std::sync::Arc;

use async_nats::{ClientError, Event, ServerError};
use tokio::sync::watch;

use super::connection_users::ConnectionUsers;

/// The server's words when it ends a connection because the client's credentials have expired.
const EXPIRED: &str = "User Authentication Expired";

/// How many reasons why no connection can be made are logged while the server is away.
const MOST: usize = 10;

/// What is known of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LinkState {
    /// It is there, or was not lost yet.
    #[default]
    Up,
    /// It is lost. What the client library said last is why, or it has said nothing yet.
    Lost,
    /// It is lost, and the client library has not said why its last attempt failed.
    Unexplained,
}

/// Logs what happens to the connection: once that it is lost, each reason why it cannot be made again once, and that it
/// is back.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    users: ConnectionUsers,
    lost: bool,
    /// The server has ended the connection because the credentials have expired, as credentials that are renewed do.
    expired: bool,
    problems: HashSet<String>,
    state: watch::Sender<LinkState>,
    /// Why it does not come back, as far as that is known.
    reason: Arc<watch::Sender<Option<String>>>,
}

impl ConnectionLog {
    /// A log, and why the connection does not come back while it is lost, as far as that is known.
    pub(super) fn new(users: ConnectionUsers) -> (Self, watch::Receiver<Option<String>>) {
        let (reason, seen) = watch::channel(None);
        let state = watch::Sender::default();
        let log =
            Self { users, lost: false, expired: false, problems: HashSet::new(), state, reason: Arc::new(reason) };
        (log, seen)
    }

    /// The state of the connection, and what ends when nobody wants to know its reasons any more.
    pub(super) fn followed(&self) -> (watch::Receiver<LinkState>, Arc<watch::Sender<Option<String>>>) {
        (self.state.subscribe(), self.reason.clone())
    }

    /// Whether it is a connection that workloads have for themselves.
    pub(super) fn is_of_workloads(&self) -> bool {
        self.users.names().is_some()
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let workloads = self.users.names();
        match event {
            Event::Connected if self.lost => {
                let renewed = self.expired;
                self.is_back();
                tracing::info!(
                    workloads,
                    "{}",
                    if renewed { "connected again with new credentials" } else { "the NATS server is back" }
                );
            }
            Event::Connected | Event::Closed | Event::Draining => tracing::debug!(%event, "connection"),
            // Expiry is planned and no fault, unless the new credentials are refused too.
            Event::ServerError(ServerError::Other(words)) if words.eq_ignore_ascii_case(EXPIRED) => {
                self.expired = true;
                tracing::info!(
                    workloads,
                    "the credentials have expired; connecting again with those that are there now"
                );
            }
            Event::Disconnected => {
                self.lost = true;
                self.state.send_replace(LinkState::Lost);
                if !self.expired {
                    tracing::warn!(
                        workloads,
                        "lost the NATS server; trying to reach it until it is back, and deliveries go on then"
                    );
                }
            }
            Event::ClientError(error) if self.lost => match problem(error) {
                Some(problem) => {
                    self.state.send_replace(LinkState::Lost);
                    self.explain(problem);
                }
                None => {
                    self.state.send_replace(LinkState::Unexplained);
                }
            },
            Event::LameDuckMode => {
                tracing::warn!(
                    workloads,
                    "the NATS server is about to shut down; deliveries go on with the next one that is reached"
                );
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                tracing::warn!(
                    workloads,
                    "the NATS server does not let this client in any more: its credentials were changed or revoked"
                );
            }
            Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                tracing::warn!(workloads, problem = %event, "the NATS connection");
            }
        }
    }

    /// Why the connection cannot be made again, unless it was meanwhile. Logged if it is new: each server may have a
    /// problem of its own, and they are tried in turn.
    pub(super) fn explain(&mut self, problem: String) {
        if !self.lost {
            return;
        }
        if self.problems.len() < MOST && self.problems.insert(problem.clone()) {
            let workloads = self.users.names();
            tracing::warn!(workloads, problem, "the NATS server cannot be reached; trying again");
        }
        self.reason.send_replace(Some(problem));
    }

    fn is_back(&mut self) {
        (self.lost, self.expired) = (false, false);
        self.problems.clear();
        self.state.send_replace(LinkState::Up);
        self.reason.send_replace(None);
    }
}

/// Why an attempt to connect again failed, and what to do where waiting alone does not help. `None` where the client
/// library does not say.
fn problem(error: &ClientError) -> Option<String> {
    let words = error.to_string();
    let words = words.strip_prefix("nats: ").unwrap_or(&words);
    Some(match words {
        // A socket that refuses, TLS that fails, what else the server says, and a name that does not resolve.
        "IO error" | "TLS error" | "DNS error" => return None,
        "authorization violation" => {
            "it refuses the credentials of this client: give the user its rights back, put new \
            credentials into the file, or start again with others"
                .to_owned()
        }
        "failed signing nonce" => {
            "the file with the credentials cannot be used: put a good one in its place".to_owned()
        }
        other => other.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(words: &str) -> Event {
        Event::ClientError(ClientError::Other(words.to_owned()))
    }

    #[test]
    fn credentials_that_are_renewed_are_no_loss() {
        let (mut told, _) = ConnectionLog::new(ConnectionUsers::default());
        told.tell(&Event::ServerError(ServerError::Other("User Authentication Expired".to_owned())));
        told.tell(&Event::Disconnected);
        assert!(told.lost && told.expired);
        told.tell(&Event::Connected);
        assert!(!told.lost && !told.expired);
    }

    #[test]
    fn what_waiting_does_not_mend_is_told_with_what_does() {
        let said = |words: &str| problem(&ClientError::Other(words.to_owned())).unwrap_or_default();
        assert!(said("authorization violation").contains("new credentials"));
        assert!(said("failed signing nonce").contains("the file"));
        assert_eq!(said("timed out"), "timed out");
        assert_eq!(problem(&ClientError::Other("IO error".to_owned())), None);
    }

    #[test]
    fn the_last_reason_is_kept_until_the_connection_is_back() {
        let (mut told, reason) = ConnectionLog::new(ConnectionUsers::default());
        let (state, _) = told.followed();
        told.explain("too late: it is back".to_owned());
        told.tell(&Event::Disconnected);
        assert_eq!((*state.borrow(), reason.borrow().clone()), (LinkState::Lost, None));
        told.tell(&failed("IO error"));
        assert_eq!((*state.borrow(), reason.borrow().clone()), (LinkState::Unexplained, None));
        told.explain("TLS failed".to_owned());
        assert_eq!(reason.borrow().as_deref(), Some("TLS failed"));
        told.tell(&failed("timed out"));
        assert_eq!((*state.borrow(), reason.borrow().as_deref()), (LinkState::Lost, Some("timed out")));
        told.tell(&failed("IO error"));
        assert_eq!((*state.borrow(), reason.borrow().as_deref()), (LinkState::Unexplained, Some("timed out")));
        told.tell(&Event::Connected);
        assert_eq!((*state.borrow(), reason.borrow().clone()), (LinkState::Up, None));
    }
}
