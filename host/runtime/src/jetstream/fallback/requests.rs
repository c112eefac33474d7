//! What a host is asked as a NATS service, on a connection for nothing else: whatever strangers send there, in whatever
//! amount, the workloads' connection does not notice. Nothing is buffered here: what is not read yet waits at the
//! server.

use std::future::poll_fn;

use async_nats::ServerAddr;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::ALIVE;
use super::connection::{Connection, Received};
use crate::config::Nats;
use crate::permissions::Denial;

/// A connection on which requests are heard.
#[derive(Debug)]
pub(crate) struct Requests {
    connection: Connection,
    subjects: Vec<String>,
    alive: tokio::time::Interval,
    answered: bool,
    most: usize,
}

/// What is heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Somebody asks.
    Asked(Asked),
    /// The server does not let this user listen, or answer.
    Denied(Denial),
    /// The server says something else, in its words.
    Error(String),
    /// The connection is lost.
    Lost,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) subject: String,
    /// Where the answer goes.
    pub(crate) reply: String,
    pub(crate) payload: Bytes,
}

/// An answer that is none: a code as HTTP has them, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) why: String,
}

impl Requests {
    /// Hears requests on these subjects, which may have wildcards. An answer has `most` bytes at most.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(in crate::jetstream) async fn open(
        nats: &Nats,
        servers: &[ServerAddr],
        subjects: Vec<String>,
        most: usize,
    ) -> anyhow::Result<Self> {
        let connection = Connection::new(nats, servers).await?;
        let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Self { connection, subjects, alive, answered: true, most };
        requests.listen(|_| true);
        Ok(requests)
    }

    /// Subscribes, also to what was denied before.
    pub(crate) fn listen(&mut self, which: impl Fn(&str) -> bool) {
        for (number, subject) in self.subjects.iter().enumerate().filter(|(_, subject)| which(subject)) {
            self.connection.unsubscribe(number);
            self.connection.subscribe(subject, number);
        }
    }

    /// Waits for what comes next. After [`Heard::Lost`] nothing comes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            let received = tokio::select! {
                // An answer that has come is read before the time for it is judged.
                biased;
                received = poll_fn(|cx| self.connection.poll(cx)) => received,
                _ = self.alive.tick() => {
                    if !std::mem::take(&mut self.answered) {
                        return Heard::Lost;
                    }
                    self.connection.ping();
                    continue;
                }
            };
            match received {
                // What names nowhere to answer to, or nothing that could be asked, asks nothing.
                Received::Message(_, raw) => {
                    let subject = std::str::from_utf8(&raw.subject).ok().map(str::to_owned);
                    if let (Some(subject), Some(reply)) = (subject, raw.reply().map(str::to_owned)) {
                        return Heard::Asked(Asked { subject, reply, payload: raw.payload });
                    }
                }
                Received::Pong => self.answered = true,
                Received::Error(words) => {
                    return Denial::parse(&words).map_or(Heard::Error(words), Heard::Denied);
                }
                Received::Lost => return Heard::Lost,
            }
        }
    }

    /// The most bytes of an answer.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Answers to a literal subject. What is too large for the server is refused instead.
    pub(crate) fn answer(&mut self, to: &str, answer: &Result<Vec<u8>, Refusal>) {
        match answer {
            Ok(payload) if payload.len() <= self.most => self.connection.say(to, None, payload),
            Ok(_) => self.refuse(to, &Refusal { code: 413, why: "the answer is larger than a message".to_owned() }),
            Err(refusal) => self.refuse(to, refusal),
        }
    }

    fn refuse(&mut self, to: &str, Refusal { code, why }: &Refusal) {
        // As the service framework has it; the text stands in the payload too, for who looks there.
        let line: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let head = format!("NATS/1.0\r\nNats-Service-Error: {line}\r\nNats-Service-Error-Code: {code}\r\n\r\n");
        let body = serde_json::json!({ "error": { "code": code, "description": why } });
        self.connection.say(to, Some(&head), body.to_string().as_bytes());
    }
}
