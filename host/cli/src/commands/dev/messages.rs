//! Sends messages to what runs, and prints what it replies.

use std::convert::Infallible;
use std::io::{self, BufRead, Read as _, Write};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel};

use crate::commands::error_output;
use tidegate_runtime::config::Nats;
use tidegate_runtime::jetstream::{Client, RequestOptions};
use tidegate_runtime::text::plain;

/// What is sent, and where.
pub(super) struct Messages {
    pub(super) nats: Nats,
    /// `None` if nobody knows one.
    pub(super) subject: Option<String>,
    /// What is sent when new code is in use.
    pub(super) text: Option<Bytes>,
}

/// The most bytes of a line that is sent: servers take no more, unless they are told to.
const MOST: usize = 1 << 20;
/// Lines that wait while one is sent. The rest waits where it comes from.
const WAITING: usize = 16;

impl Messages {
    /// Sends the text each time that `in_use` tells of new code, and each line of standard input at once, without end.
    ///
    /// # Errors
    /// If a reply cannot be written to `out`.
    pub(super) async fn run(mut self, mut in_use: UnboundedReceiver<()>, out: &mut impl Write) -> anyhow::Result<()> {
        let (mut typed, mut client) = (lines(), None);
        loop {
            tokio::select! {
                Some(()) = in_use.recv() => {}
                Some(line) = typed.recv() => self.text = Some(line),
                else => match std::future::pending::<Infallible>().await {},
            }
            let Self { nats, subject: Some(subject), text: Some(text) } = &self else { continue };
            if client.is_none() {
                client = Client::connect(nats).await.map_err(|error| tell(&error)).ok();
            }
            if let Some(client) = &client {
                match client.request(subject, text.clone(), &[], &RequestOptions::default()).await {
                    Ok(reply) => {
                        writeln!(out, "{}", plain(&String::from_utf8_lossy(&reply.payload)))?;
                        out.flush()?;
                    }
                    Err(error) => tell(&error),
                }
            }
        }
    }
}

fn tell(error: &dyn std::error::Error) {
    error_output::write(&error.to_string());
}

/// The lines of standard input, as they come. The thread that reads them ends with the process.
fn lines() -> Receiver<Bytes> {
    let (sender, lines) = channel(WAITING);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            match next(&mut input, MOST) {
                Ok(Typed::Line(line)) => {
                    if sender.blocking_send(line).is_err() {
                        break;
                    }
                }
                Ok(Typed::TooLong) => error_output::write(&format!("a line of more than {MOST} bytes is not sent")),
                Ok(Typed::End) => break,
                Err(error) => {
                    error_output::write(&format!("standard input cannot be read: {error}; nothing more is sent of it"));
                    break;
                }
            }
        }
    });
    lines
}

/// What comes next on an input.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    /// A line without its end, whatever bytes it has.
    Line(Bytes),
    /// A line that is longer than one may be. It was skipped.
    TooLong,
    End,
}

fn next(input: &mut impl BufRead, most: usize) -> io::Result<Typed> {
    let mut line = Vec::new();
    // With the two characters that may end it.
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(2);
    input.by_ref().take(bound).read_until(b'\n', &mut line)?;
    let is_whole = line.pop_if(|last| *last == b'\n').is_some();
    if line.is_empty() && !is_whole {
        return Ok(Typed::End);
    }
    if is_whole {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() > most {
        input.skip_until(b'\n')?;
    }
    Ok(if line.len() > most { Typed::TooLong } else { Typed::Line(line.into()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_taken_whatever_bytes_it_has_and_one_that_is_too_long_is_skipped() {
        let mut input = &b"one\n\xff\xfe\r\n\n12345\r\n1234567890\nlast"[..];
        let mut next = || super::next(&mut input, 5).unwrap();
        let line = |bytes: &'static [u8]| Typed::Line(Bytes::from_static(bytes));
        assert_eq!([next(), next(), next(), next()], [line(b"one"), line(b"\xff\xfe"), line(b""), line(b"12345")]);
        assert_eq!([next(), next(), next(), next()], [Typed::TooLong, line(b"last"), Typed::End, Typed::End]);
        let mut long = &b"123456\n123456\r\n1234567"[..];
        let mut next = || super::next(&mut long, 5).unwrap();
        assert_eq!([next(), next(), next(), next()], [Typed::TooLong, Typed::TooLong, Typed::TooLong, Typed::End]);
    }
}
