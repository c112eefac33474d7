//! A connection that no message can break.
//!
//! The client library gives up its connection over a message that it cannot read: a subject that is not UTF-8 or has
//! Unicode white space in it, or a malformed header block. Everything on its way is then lost, for every workload, and
//! the server delivers the message again after its ack wait, with the same result. Anybody who may publish to the
//! stream can cause that. So after such a loss a puller asks for a while on a connection of its own. That connection
//! speaks only as much of the protocol as pulls need, and a message is just bytes until it has arrived.

mod dial;
mod frame;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_nats::ServerAddr;
use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;

use self::dial::{Socket, dial};
use self::frame::{Frame, next};
use crate::config::Nats;

pub(super) use self::frame::Raw;

/// The connection, with one subscription.
#[derive(Debug)]
pub(super) struct Careful {
    socket: Box<dyn Socket>,
    came: BytesMut,
    goes: BytesMut,
}

/// What comes on the connection.
#[derive(Debug)]
pub(super) enum Came {
    Message(Raw),
    /// The server's error, in its words.
    Error(String),
    /// The connection is lost.
    Lost,
}

impl Careful {
    /// Connects, and subscribes.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(super) async fn new(nats: &Nats, servers: &[ServerAddr], subject: &str) -> anyhow::Result<Self> {
        let (socket, came) = dial(nats, servers).await?;
        Ok(Self { socket, came, goes: BytesMut::from(format!("SUB {subject} 1\r\n").as_bytes()) })
    }

    /// Publishes a message when the connection is polled next.
    pub(super) fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        self.goes.extend_from_slice(format!("PUB {subject} {reply} {}\r\n", payload.len()).as_bytes());
        self.goes.extend_from_slice(payload);
        self.goes.extend_from_slice(b"\r\n");
    }

    /// Waits for what comes next. After [`Came::Lost`] nothing comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        loop {
            match next(&mut self.came) {
                Ok(Some(Frame::Message(raw))) => return Poll::Ready(Came::Message(raw)),
                Ok(Some(Frame::Error(words))) => return Poll::Ready(Came::Error(words)),
                Ok(Some(Frame::Ping)) => self.goes.extend_from_slice(b"PONG\r\n"),
                Ok(Some(_)) => {}
                Ok(None) => match self.poll_io(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "the second connection is lost");
                        return Poll::Ready(Came::Lost);
                    }
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => {
                    tracing::warn!(%error, "the second connection");
                    return Poll::Ready(Came::Lost);
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
