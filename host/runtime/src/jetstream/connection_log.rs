use std::collections::HashSet;

use async_nats::{ClientError, Event, ServerError};

use super::connection_users::ConnectionUsers;

/// The server's words when it ends a connection because the client's credentials have expired.
const EXPIRED: &str = "User Authentication Expired";

/// How many reasons why no connection can be made are logged while the server is away.
const MOST: usize = 10;

/// Logs what happens to the connection: once that it is lost, each reason why it cannot be made again once, and that it
/// is back.
#[derive(Debug, Default)]
pub(super) struct ConnectionLog {
    users: ConnectionUsers,
    lost: bool,
    /// The server has ended the connection because the credentials have expired, as credentials that are renewed do.
    expired: bool,
    problems: HashSet<String>,
}

impl ConnectionLog {
    pub(super) fn new(users: ConnectionUsers) -> Self {
        Self { users, ..Self::default() }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let workloads = self.users.names();
        match event {
            Event::Connected if self.lost => {
                let renewed = self.expired;
                *self = Self::new(self.users.clone());
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
            Event::Disconnected if self.expired => self.lost = true,
            Event::Disconnected => {
                self.lost = true;
                tracing::warn!(
                    workloads,
                    "lost the NATS server; trying to reach it until it is back, and deliveries go on then"
                );
            }
            Event::ClientError(error) if self.lost => {
                // Each server may have a problem of its own, and they are tried in turn.
                let problem = problem(error);
                if self.problems.len() < MOST && self.problems.insert(problem.clone()) {
                    tracing::warn!(workloads, problem, "the NATS server cannot be reached; trying again");
                }
            }
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
}

/// Why an attempt to connect again failed, and what to do where waiting alone does not help.
fn problem(error: &ClientError) -> String {
    let words = error.to_string();
    let words = words.strip_prefix("nats: ").unwrap_or(&words);
    match words {
        "authorization violation" => {
            "it refuses the credentials of this client: give the user its rights back, put new \
            credentials into the file, or start again with others"
                .to_owned()
        }
        "failed signing nonce" => {
            "the file with the credentials cannot be used: put a good one in its place".to_owned()
        }
        "TLS error" => "TLS failed: check the files with the certificates".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_are_renewed_are_no_loss() {
        let mut told = ConnectionLog::default();
        told.tell(&Event::ServerError(ServerError::Other("User Authentication Expired".to_owned())));
        told.tell(&Event::Disconnected);
        assert!(told.lost && told.expired);
        told.tell(&Event::Connected);
        assert!(!told.lost && !told.expired);
    }

    #[test]
    fn what_waiting_does_not_mend_is_told_with_what_does() {
        let said = |words: &str| problem(&ClientError::Other(words.to_owned()));
        assert!(said("authorization violation").contains("new credentials"));
        assert!(said("failed signing nonce").contains("the file"));
        assert_eq!(said("timed out"), "timed out");
    }
}
