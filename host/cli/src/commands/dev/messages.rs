//! Sends messages to what runs, and prints what it replies.

use std::convert::Infallible;
use std::io::{BufRead as _, Write};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
    pub(super) text: Option<String>,
}

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
                let payload = Bytes::copy_from_slice(text.as_bytes());
                match client.request(subject, payload, &[], &RequestOptions::default()).await {
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
fn lines() -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
