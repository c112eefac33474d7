//! A connection that no message can break.
//!
//! The client library gives up its connection over a message that it cannot read: a subject that is not UTF-8 or has
//! Unicode white space in it, or a malformed header block. Everything on its way is then lost, for every workload, and
//! the server delivers the message again after its ack wait, with the same result. Anybody who may publish to the
//! stream can cause that. So after such a loss pullers ask for a while on a second connection. It speaks only as
//! much of the protocol as pulls need, and a message is just bytes until it has arrived. All pullers of a client share
//! one: a short cut, which looks the same, would otherwise cost the server a connection for each busy workload.

mod connection;
mod dial;
mod frame;
mod requests;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::ServerAddr;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, WeakUnboundedSender};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use self::connection::{Connection, Received};
use crate::config::Nats;

pub(super) use self::frame::Raw;
pub(crate) use self::requests::{Asked, Heard, Refusal, Requests};

/// How many messages may wait for one puller: as many as the client library holds for a subscription. Pullers ask for
/// fewer, so only somebody who publishes to an inbox can reach it.
const MOST: usize = 65_536;

/// How often the server is asked whether it is still there. It has as long to answer.
const ALIVE: Duration = Duration::from_secs(10);

/// The second connection of a client, open as long as a puller needs it.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    open: Mutex<Option<WeakUnboundedSender<Command>>>,
    subscriptions: AtomicUsize,
}

/// A subscription on the second connection.
#[derive(Debug)]
pub(super) struct Careful {
    commands: UnboundedSender<Command>,
    came: Receiver<Came>,
    subscription: usize,
}

/// What comes on a subscription.
#[derive(Debug)]
pub(super) enum Came {
    Message(Raw),
    /// The server's error, in its words. It may concern another subscription.
    Error(String),
    /// The connection is lost.
    Lost,
}

/// What a subscription wants of the connection.
#[derive(Debug)]
enum Command {
    Subscribe { subject: String, subscription: usize, to: Sender<Came> },
    Unsubscribe { subscription: usize },
    Publish { subject: String, reply: String, payload: Vec<u8> },
}

impl Fallback {
    /// Subscribes, and connects before if there is no connection.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(super) async fn subscribe(
        &self,
        nats: &Nats,
        servers: &[ServerAddr],
        subject: String,
    ) -> anyhow::Result<Careful> {
        // Locked while it connects: others want the same connection.
        let mut open = self.open.lock().await;
        let current = open.as_ref().and_then(WeakUnboundedSender::upgrade).filter(|commands| !commands.is_closed());
        let commands = match current {
            Some(commands) => commands,
            None => {
                let connection = Connection::new(nats, servers).await?;
                let (commands, wanted) = mpsc::unbounded_channel();
                *open = Some(commands.downgrade());
                tokio::spawn(serve(connection, wanted));
                commands
            }
        };
        let (to, came) = mpsc::channel(MOST);
        let subscription = self.subscriptions.fetch_add(1, Relaxed);
        let careful = Careful { commands, came, subscription };
        careful.tell(Command::Subscribe { subject, subscription, to });
        Ok(careful)
    }
}

impl Careful {
    /// Publishes a message.
    pub(super) fn publish(&self, subject: &str, reply: &str, payload: &[u8]) {
        let (subject, reply) = (subject.to_owned(), reply.to_owned());
        self.tell(Command::Publish { subject, reply, payload: payload.to_owned() });
    }

    /// Waits for what comes next. After [`Came::Lost`] nothing comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        self.came.poll_recv(cx).map(|came| came.unwrap_or(Came::Lost))
    }

    fn tell(&self, command: Command) {
        // A connection that is lost is told by `poll`.
        let _ = self.commands.send(command);
    }
}

impl Drop for Careful {
    fn drop(&mut self) {
        self.tell(Command::Unsubscribe { subscription: self.subscription });
    }
}

/// Serves the subscriptions until the connection is lost or nobody has one.
async fn serve(mut connection: Connection, mut wanted: UnboundedReceiver<Command>) {
    let mut subscribers = HashMap::new();
    let mut alive = interval(ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = true;
    loop {
        tokio::select! {
            // An answer that has come is read before the time for it is judged.
            biased;
            command = wanted.recv() => match command {
                Some(command) => obey(command, &mut connection, &mut subscribers),
                None => return,
            },
            received = poll_fn(|cx| connection.poll(cx)) => match received {
                Received::Message(subscription, raw) => pass(subscription, raw, &mut subscribers),
                Received::Error(words) => {
                    subscribers.retain(|_, to| to.try_send(Came::Error(words.clone())).is_ok());
                }
                Received::Pong => answered = true,
                Received::Lost => return,
            },
            _ = alive.tick() => {
                if !answered {
                    tracing::debug!("the second connection is lost: the server does not answer");
                    return;
                }
                answered = false;
                connection.ping();
            }
        }
    }
}

fn obey(command: Command, connection: &mut Connection, subscribers: &mut HashMap<usize, Sender<Came>>) {
    match command {
        Command::Subscribe { subject, subscription, to } => {
            connection.subscribe(&subject, subscription);
            subscribers.insert(subscription, to);
        }
        Command::Unsubscribe { subscription } => {
            connection.unsubscribe(subscription);
            subscribers.remove(&subscription);
        }
        Command::Publish { subject, reply, payload } => connection.publish(&subject, &reply, &payload),
    }
}

/// Passes a message on. A subscriber that holds too many is taken from the list, which it sees as a lost connection.
fn pass(subscription: usize, raw: Raw, subscribers: &mut HashMap<usize, Sender<Came>>) {
    let Some(to) = subscribers.get(&subscription) else { return };
    if to.try_send(Came::Message(raw)).is_err() {
        tracing::warn!(most = MOST, "the second connection: more messages came on an inbox than were asked for");
        subscribers.remove(&subscription);
    }
}
