//! A component that was written for wasmCloud, steered by its payload: each line is a step.

use std::cell::Cell;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package probe:messaging;
            world probe {
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
                import wasmcloud:messaging/consumer@0.2.0;
                export wasmcloud:messaging/handler@0.2.0;
            }
        ",
        world: "probe:messaging/probe",
        generate_all,
    });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::wasmcloud::messaging::handler::Guest;
use bindings::wasi::config::store;
use bindings::wasi::logging::logging::{Level, log};
use bindings::wasmcloud::messaging::consumer::{publish, request};
use bindings::wasmcloud::messaging::types::BrokerMessage;

struct Handler;

thread_local! {
    /// Messages that this instance was given.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

impl Guest for Handler {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        COUNT.set(COUNT.get() + 1);
        let script = String::from_utf8(message.body.clone()).map_err(|error| error.to_string())?;
        script.lines().try_for_each(|line| step(&message, line))
    }
}

fn step(message: &BrokerMessage, line: &str) -> Result<(), String> {
    match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        ["ok"] => Ok(()),
        ["echo"] => reply(message, &message.body),
        ["delivery"] => reply(message, format!("{} {:?}", message.subject, message.reply_to.is_some()).as_bytes()),
        ["count"] => reply(message, COUNT.get().to_string().as_bytes()),
        ["config", key] => {
            let value = store::get(key).map_err(|error| format!("{error:?}"))?;
            reply(message, value.unwrap_or_else(|| "none".to_owned()).as_bytes())
        }
        ["log", text] => {
            log(Level::Warn, "probe", text);
            Ok(())
        }
        ["publish", subject, text] => publish(&broker_message(subject, text.as_bytes())),
        // The reply says what came of it.
        ["try-publish", subject, text] => {
            let said = publish(&broker_message(subject, text.as_bytes()));
            reply(message, format!("{said:?}").as_bytes())
        }
        ["request", subject, ms, text] => {
            let ms = ms.parse().map_err(|error| format!("{error}"))?;
            let said = match request(subject, text.as_bytes(), ms) {
                Ok(answer) => format!("answer: {}", String::from_utf8_lossy(&answer.body)),
                Err(error) => format!("error: {error}"),
            };
            reply(message, said.as_bytes())
        }
        // As often as it is let.
        ["requests", subject] => {
            let mut answered = 0;
            let error = loop {
                match request(subject, b"", 5_000) {
                    Ok(_) => answered += 1,
                    Err(error) => break error,
                }
            };
            reply(message, format!("{answered} {error}").as_bytes())
        }
        ["publications", subject] => {
            let mut noted = 0;
            let error = loop {
                match publish(&broker_message(subject, &[b'x'; 1_000])) {
                    Ok(()) => noted += 1,
                    Err(error) => break error,
                }
            };
            Err(format!("{noted} {error}"))
        }
        ["first-fail", text] if COUNT.get() == 1 => Err((*text).to_owned()),
        ["first-fail", _] => Ok(()),
        ["fail", ..] => Err(line.trim_start_matches("fail ").to_owned()),
        ["trap"] => std::process::abort(),
        _ => Err(format!("what is {line:?}?")),
    }
}

fn broker_message(subject: &str, body: &[u8]) -> BrokerMessage {
    BrokerMessage { subject: subject.to_owned(), body: body.to_vec(), reply_to: None }
}

fn reply(message: &BrokerMessage, body: &[u8]) -> Result<(), String> {
    let to = message.reply_to.as_deref().ok_or("nobody waits for a reply")?;
    publish(&broker_message(to, body))
}
