//! Does the steps.

use serde_json::json;
use std::time::{Duration, SystemTime};

use crate::bindings::wasi::config::store;
use crate::bindings::wasi::logging::logging::{Level, log};
use crate::faults;
use crate::key_value;
use crate::script::{Question, Step};
use crate::types::{Delivery, Failure, Publication, Response};

#[allow(clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "the host makes log lines of it")]
pub(crate) fn take(step: Step, delivery: &Delivery, response: &mut Response) -> Result<(), Failure> {
    match step {
        Step::Ok => {}
        Step::Silent => response.reply = None,
        Step::Echo => response.reply = Some(delivery.payload.clone()),
        Step::Reply(text) => response.reply = Some(text.into_bytes()),
        Step::BigReply(bytes) => response.reply = Some(vec![b'x'; bytes]),
        Step::Answer(question) => response.reply = Some(answer(&question, delivery).into_bytes()),
        Step::Publish { subject, headers, payload } => {
            response.publications.push(Publication { subject, headers, payload: payload.into_bytes() });
        }
        Step::BigPublication { subject, bytes } => {
            response.publications.push(Publication { subject, headers: Vec::new(), payload: vec![b'x'; bytes] });
        }
        Step::Ledger { subject, id } => response.publications.push(entry(&subject, &id, delivery)),
        Step::Record { subject, id, bytes } => {
            let mut payload = format!("{id} {} {}", delivery.attempt, crate::VERSION).into_bytes();
            payload.resize(payload.len().max(bytes), b' ');
            response.publications.push(Publication { subject, headers: Vec::new(), payload });
        }
        Step::Retry(delay) => return Err(Failure::Retry(delay)),
        Step::Reject(reason) => return Err(Failure::Reject(reason)),
        Step::Trap => std::process::abort(),
        Step::Spin => faults::spin(),
        Step::Grow => faults::grow(),
        Step::Overflow => response.reply = Some(faults::overflow(0).to_le_bytes().to_vec()),
        Step::Panic(text) => panic!("{text}"),
        Step::Storm(storm) => faults::storm(storm),
        Step::Flood(bytes) => faults::flood(bytes),
        Step::Many { subject, count } => {
            let empty = Publication { subject, headers: Vec::new(), payload: Vec::new() };
            response.publications.resize(response.publications.len() + count, empty);
        }
        Step::Sleep(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Step::Print(text) => println!("{text}"),
        Step::Eprint(text) => eprintln!("{text}"),
        Step::KeyValue(words) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            response.reply = Some(key_value::answer(&words)?.into_bytes());
        }
        Step::Log { level, text } => log(level_of(&level)?, "probe", &text),
    }
    Ok(())
}

/// A publication on `SUBJECT.ID` that says who handled the message, so that a test can count each exactly once.
fn entry(subject: &str, id: &str, delivery: &Delivery) -> Publication {
    let entry = json!({
        "id": id,
        "version": crate::VERSION,
        "count": crate::HANDLED.get(),
        "attempt": delivery.attempt,
        "stream_sequence": delivery.stream_sequence,
    });
    Publication { subject: format!("{subject}.{id}"), headers: Vec::new(), payload: entry.to_string().into_bytes() }
}

fn answer(question: &Question, delivery: &Delivery) -> String {
    match question {
        Question::Attempt => delivery.attempt.to_string(),
        Question::Clock => match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_millis().to_string(),
            Err(error) => format!("error: {error}"),
        },
        Question::Config(key) => match store::get(key) {
            Ok(Some(value)) => value,
            Ok(None) => "none".to_owned(),
            Err(error) => format!("error: {error}"),
        },
        Question::Connect(address) => match std::net::TcpStream::connect(address) {
            Ok(_) => "connected".to_owned(),
            Err(error) => format!("error: {error}"),
        },
        Question::Batch => crate::BATCH.get().to_string(),
        Question::Count => crate::HANDLED.get().to_string(),
        Question::Delivery => json!({
            "subject": delivery.subject,
            "headers": delivery.headers,
            "payload": String::from_utf8_lossy(&delivery.payload),
            "stream_sequence": delivery.stream_sequence,
            "attempt": delivery.attempt,
            "published_at_ms": delivery.published_at_ms,
            "expects_reply": delivery.expects_reply,
        })
        .to_string(),
        Question::Environment => json!({
            "arguments": std::env::args().collect::<Vec<_>>(),
            "variables": std::env::vars().collect::<Vec<_>>(),
        })
        .to_string(),
        Question::Open(path) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        },
        Question::Version => crate::VERSION.to_owned(),
    }
}

fn level_of(name: &str) -> Result<Level, Failure> {
    Ok(match name {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => return Err(Failure::Reject(format!("not a level: {name}"))),
    })
}
