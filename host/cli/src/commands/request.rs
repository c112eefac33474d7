//! `tidegate request`.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde_json::json;

use super::connect::connect;
use super::flags::ConnectionFlags;
use super::output::{Output, json_line};
use super::{error_output, positive};
use tidegate_runtime::config::{Nats, process_environment};
use tidegate_runtime::dead_letter::refusal::Refusal;
use tidegate_runtime::duration::micros;
use tidegate_runtime::jetstream::{FileUse, Reply, RequestError, RequestOptions};
use tidegate_runtime::text::escaped;

/// The request was sent, and the PubAck or the reply did not come in time.
const NO_REPLY: u8 = 3;
/// The message is a dead letter, or whoever handles it says that it failed.
const DEAD: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  tidegate request orders.new '{\"item\": \"tea\"}'
  tidegate request orders.new - --timeout 30s --output json < order.json";

/// Publishes a request into a stream and prints the reply of the worker that handles it.
///
/// Exit code 0: a reply came. 1: the request could not be sent. 2: wrong usage. 3: no PubAck or no reply within the
/// time-out; the message is then deleted from the stream if it is still there, unless an earlier request with the same
/// id stored it. 4: the message was not handled and is a dead letter now.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RequestArgs {
    /// The subject to publish on; a stream must take it
    pub subject: String,
    /// The payload; `-` reads it from standard input
    #[arg(default_value = "")]
    pub payload: String,
    /// A header to send along; may be given more than once
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// The message id, by which a stream tells duplicates [default: a new one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// How long to wait for the PubAck and the reply together
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive)]
    pub timeout: Duration,
    /// How the reply is printed: the payload as it is, or an object that has headers and position too
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

/// Connects, sends the request and prints the reply to `out`.
///
/// # Errors
/// When the payload cannot be read, there is no connection, the request cannot be sent or the reply cannot be written.
/// With JSON output an error is the answer, so only the first and the last of these.
pub async fn run(args: &RequestArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let payload = payload(&args.payload)?;
    let connected = async {
        let nats = Nats::load(&args.connection.0, None, &process_environment())?;
        connect(&nats, FileUse::Never).await
    };
    let client = match connected.await {
        Ok(client) => client,
        Err(error) if args.output == Output::Text => return Err(error),
        Err(error) => {
            let answer = json!({ "error": error.to_string(), "missing": null, "deleted": false });
            json_line(out, &answer)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let options = RequestOptions { timeout: args.timeout, message_id: args.id.clone() };
    let start = Instant::now();
    let answer = client.request(&args.subject, payload, &args.headers, &options).await;
    let code = code(&answer);
    match args.output {
        Output::Json => json_line(out, &object(&answer, start.elapsed()))?,
        Output::Text => match answer {
            Ok(reply) if std::io::stdout().is_terminal() => writeln!(out, "{}", shown(&reply.payload))?,
            // A file or a pipe gets exactly the payload.
            Ok(reply) => out.write_all(&reply.payload)?,
            Err(error) if [NO_REPLY, DEAD].contains(&code) => error_output::write(&error.to_string()),
            Err(error) => return Err(error.into()),
        },
    }
    out.flush()?;
    Ok(ExitCode::from(code))
}

/// A payload on a terminal, without the end of its last line: what would act upon the terminal is shown and not done.
fn shown(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload).replace("\r\n", "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            _ => shown.push_str(&escaped(c.encode_utf8(&mut [0; 4]))),
        }
    }
    shown
}

fn payload(argument: &str) -> anyhow::Result<Bytes> {
    if argument != "-" {
        return Ok(Bytes::copy_from_slice(argument.as_bytes()));
    }
    let mut payload = Vec::new();
    std::io::stdin().lock().read_to_end(&mut payload).context("cannot read the payload from standard input")?;
    Ok(payload.into())
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn code(answer: &Result<Reply, RequestError>) -> u8 {
    match answer {
        Ok(_) => 0,
        Err(RequestError::NoPubAck { .. } | RequestError::NoReply { .. }) => NO_REPLY,
        Err(RequestError::Dead { .. }) => DEAD,
        Err(_) => 1,
    }
}

/// A reply or an error as one object. A payload that is no UTF-8 is a list of bytes.
fn object(answer: &Result<Reply, RequestError>, elapsed: Duration) -> serde_json::Value {
    match answer {
        Ok(reply) => {
            let stored = reply.stored.as_ref();
            json!({
                "payload": match std::str::from_utf8(&reply.payload) {
                    Ok(text) => json!(text),
                    Err(_) => json!(&reply.payload[..]),
                },
                "headers": reply.headers,
                "stream": stored.map(|stored| &stored.stream),
                "sequence": stored.map(|stored| stored.sequence),
                "duplicate": stored.is_some_and(|stored| stored.duplicate),
                "elapsed_us": micros(elapsed),
            })
        }
        Err(error) => {
            let missing = match error {
                RequestError::NoPubAck { .. } => Some("pub-ack"),
                RequestError::NoReply { .. } => Some("reply"),
                _ => None,
            };
            let deleted = matches!(error, RequestError::NoReply { deleted: true, .. });
            let mut object = json!({ "error": error.to_string(), "missing": missing, "deleted": deleted });
            if let RequestError::Dead { refusal, .. } = error
                && let Some(fields) = object.as_object_mut()
            {
                let Refusal { code, reason, cause, letter } = &**refusal;
                fields.insert("code".to_owned(), json!(code));
                fields.insert("reason".to_owned(), json!(reason));
                fields.insert("cause".to_owned(), json!(cause));
                fields.insert("dead_letter".to_owned(), json!(letter));
            }
            object
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_runtime::jetstream::StoredAt;

    fn no_reply() -> RequestError {
        let stored = StoredAt { stream: "TEST".to_owned(), sequence: 4, duplicate: false };
        RequestError::NoReply { stored, deleted: true, timeout: Duration::from_secs(1) }
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        assert_eq!(parse_header("a: b:c ").unwrap(), ("a".to_owned(), "b:c".to_owned()));
        assert!(parse_header("a").is_err());
    }

    #[test]
    fn a_reply_does_nothing_to_a_terminal() {
        assert_eq!(shown(b"{\n\t\"a\": 1\r\n}\n"), "{\n\t\"a\": 1\n}");
        assert_eq!(shown("tide, Überfluß".as_bytes()), "tide, Überfluß");
        assert_eq!(shown(b"a\x1b[2J\rb\xff\n\n"), "a\\u{1b}[2J\\rb\u{fffd}\n");
        assert_eq!(shown(b""), "");
    }

    #[test]
    fn exit_codes_tell_no_reply_from_not_sent() {
        assert_eq!(code(&Err(no_reply())), 3);
        assert_eq!(code(&Err(RequestError::NoPubAck { subject: "a".to_owned(), timeout: Duration::ZERO })), 3);
        assert_eq!(code(&Err(RequestError::NoStream { subject: "a".to_owned() })), 1);
    }

    #[test]
    fn an_object_says_what_was_missing() {
        let object = object(&Err(no_reply()), Duration::ZERO);
        assert_eq!(object["missing"], "reply");
        assert_eq!(object["deleted"], true);
    }

    #[test]
    fn an_object_says_why_a_request_is_a_dead_letter() {
        let cause = Some("rejected".to_owned());
        let refusal = Refusal { code: "400".to_owned(), reason: "no".to_owned(), cause, letter: Some(7) };
        let dead = Err(RequestError::Dead { stored: None, refusal: Box::new(refusal) });
        assert_eq!(code(&dead), 4);
        let object = object(&dead, Duration::ZERO);
        assert_eq!((&object["cause"], &object["dead_letter"]), (&json!("rejected"), &json!(7)));
        assert!(object["error"].as_str().unwrap().contains("dead letter 7, with the cause rejected: no"), "{object}");
    }

    #[test]
    fn a_payload_is_text_where_it_can_be() {
        let reply = |payload: &'static [u8]| Reply { payload: payload.into(), headers: vec![], stored: None };
        assert_eq!(object(&Ok(reply(b"hi")), Duration::ZERO)["payload"], "hi");
        assert_eq!(object(&Ok(reply(b"\xff")), Duration::ZERO)["payload"], json!([255]));
    }
}
