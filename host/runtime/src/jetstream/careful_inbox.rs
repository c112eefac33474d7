//! An inbox on the connection that no message can break, for what the client library might not be able to read.

use std::future::poll_fn;

use super::connect::Client;
use super::fallback::{Came, Careful, Raw};
use crate::permissions::Denial;

/// An inbox on the second connection.
#[derive(Debug)]
pub(super) struct CarefulInbox {
    connection: Careful,
    subject: String,
}

/// Where a delivery stands in its stream, and how many come after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) pending: u64,
}

impl Place {
    /// `None` of what is no delivery, but a status.
    pub(super) fn of(raw: &Raw) -> Option<Self> {
        Self::parse(raw.reply()?)
    }

    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form that
    /// has `<domain>.<account hash>` before the stream and may go on after pending.
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let delivered = match tokens.len() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let number = |at: usize| tokens.get(delivered + at)?.parse().ok();
        Some(Self { sequence: number(1)?, pending: number(4)? })
    }
}

impl CarefulInbox {
    /// Connects if there is no second connection yet.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(super) async fn open(client: &Client) -> anyhow::Result<Self> {
        let subject = client.nats.new_inbox();
        // A consumer that delivers by itself takes no subscription with a wildcard for interest.
        let connection = subscribe(client, subject.clone()).await?;
        Ok(Self { connection, subject })
    }

    /// The subject on which things are to come.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// Asks for something to come.
    pub(super) fn ask(&self, subject: &str, payload: &[u8]) {
        self.connection.publish(subject, &self.subject, payload);
    }

    /// Waits for what comes next. Cancel-safe.
    ///
    /// # Errors
    /// If nothing more comes: the connection is lost, or the server does not let this user ask for `asked`.
    pub(super) async fn next(&mut self, asked: &str) -> Result<Raw, String> {
        loop {
            match poll_fn(|cx| self.connection.poll(cx)).await {
                Came::Message(raw) => return Ok(raw),
                Came::Error(words) => {
                    let denial = Denial::parse(&words);
                    if let Some(denial) = denial.filter(|denial| concerns(denial, asked, &self.subject)) {
                        return Err(format!(
                            "the NATS server does not let this user {} to `{}`; allow it (`tidegate permissions` \
                             prints all)",
                            denial.verb, denial.subject
                        ));
                    }
                }
                Came::Lost => return Err("the second connection is lost".to_owned()),
            }
        }
    }
}

/// Whether a denial is about what was asked, or about the inbox. The connection has other users.
fn concerns(denial: &Denial, asked: &str, inbox: &str) -> bool {
    denial.subject == asked || denial.subject == inbox
}

/// Subscribes on the second connection.
pub(super) async fn subscribe(client: &Client, subject: String) -> anyhow::Result<Careful> {
    let mut pool = client.nats.server_pool().await?;
    pool.sort_by_key(|server| (!server.did_connect, server.failed_attempts));
    let servers: Vec<_> = pool.into_iter().map(|server| server.addr).collect();
    client.fallback.subscribe(&client.config, &servers, subject).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_where_it_stands_and_how_many_come_after_it() {
        let place = Some(Place { sequence: 7, pending: 3 });
        assert_eq!(Place::parse("$JS.ACK.KV_b.c.1.7.2.1700000000.3"), place);
        assert_eq!(Place::parse("$JS.ACK._.hash.KV_b.c.1.7.2.1700000000.3"), place);
        assert_eq!(Place::parse("$JS.ACK.hub.hash.KV_b.c.1.7.2.1700000000.3.random"), place);
        for other in ["", "_INBOX.x.1", "$JS.ACK.KV_b.c.1.7.2.3", "$JS.ACK.KV_b.c.1.x.2.1700000000.3"] {
            assert_eq!(Place::parse(other), None, "{other}");
        }
    }
}
