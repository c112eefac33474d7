//! The socket of the second connection, and what is read from and written to it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_nats::ServerAddr;
use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;

use super::dial::{Socket, dial};
use super::frame::{Frame, Raw, next};
use crate::config::Nats;

#[derive(Debug)]
pub(super) struct Connection {
    socket: Box<dyn Socket>,
    came: BytesMut,
    goes: BytesMut,
}

/// What the server sends.
#[derive(Debug)]
pub(super) enum Received {
    /// A message, with the number of its subscription.
    Message(usize, Raw),
    /// The answer to a ping.
    Pong,
    /// The server's error, in its words.
    Error(String),
    /// The connection is lost.
    Lost,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(super) async fn new(nats: &Nats, servers: &[ServerAddr]) -> anyhow::Result<Self> {
        let (socket, came) = dial(nats, servers).await?;
        Ok(Self { socket, came, goes: BytesMut::new() })
    }

    /// Subscribes when the connection is polled next.
    pub(super) fn subscribe(&mut self, subject: &str, subscription: usize) {
        self.goes.extend_from_slice(format!("SUB {subject} {subscription}\r\n").as_bytes());
    }

    /// Ends a subscription when the connection is polled next.
    pub(super) fn unsubscribe(&mut self, subscription: usize) {
        self.goes.extend_from_slice(format!("UNSUB {subscription}\r\n").as_bytes());
    }

    /// Publishes a message when the connection is polled next.
    pub(super) fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        self.goes.extend_from_slice(format!("PUB {subject} {reply} {}\r\n", payload.len()).as_bytes());
        self.goes.extend_from_slice(payload);
        self.goes.extend_from_slice(b"\r\n");
    }

    /// Publishes a message without a reply subject when the connection is polled next, with a header block or without.
    pub(super) fn say(&mut self, subject: &str, block: Option<&str>, payload: &[u8]) {
        let block = block.unwrap_or_default().as_bytes();
        let size = block.len() + payload.len();
        let line = match block.len() {
            0 => format!("PUB {subject} {size}\r\n"),
            head => format!("HPUB {subject} {head} {size}\r\n"),
        };
        for part in [line.as_bytes(), block, payload, b"\r\n"] {
            self.goes.extend_from_slice(part);
        }
    }

    /// Asks for a [`Received::Pong`] when the connection is polled next.
    pub(super) fn ping(&mut self) {
        self.goes.extend_from_slice(b"PING\r\n");
    }

    /// Waits for what comes next. After [`Received::Lost`] nothing comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            match next(&mut self.came) {
                Ok(Some(Frame::Message(subscription, raw))) => {
                    return Poll::Ready(Received::Message(subscription, raw));
                }
                Ok(Some(Frame::Error(words))) => return Poll::Ready(Received::Error(words)),
                Ok(Some(Frame::Pong)) => return Poll::Ready(Received::Pong),
                Ok(Some(Frame::Ping)) => self.goes.extend_from_slice(b"PONG\r\n"),
                Ok(Some(_)) => {}
                Ok(None) => match self.poll_io(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "the second connection is lost");
                        return Poll::Ready(Received::Lost);
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => {
                    tracing::warn!(%error, "the second connection");
                    return Poll::Ready(Received::Lost);
                }
            }
        }
    }

    /// Writes what has to be sent, and reads until something has come.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_write(cx)?;
        let read = self.socket.read_buf(&mut self.came);
        let read = ready!(Future::poll(std::pin::pin!(read), cx))?;
        Poll::Ready(if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }

    /// Writes what can be written now.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !self.goes.is_empty() {
            match Pin::new(&mut *self.socket).poll_write(cx, &self.goes) {
                Poll::Ready(Ok(written)) => self.goes.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        match Pin::new(&mut *self.socket).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}
