//! As probe-messaging, in the asynchronous form: each line of the payload is a step.

use std::cell::{Cell, RefCell};
use std::task::Poll;

use futures_util::future::{join, join_all};
use futures_util::poll;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: ["wit", "../probe-async/wit", "../../../wit/deps/config"],
        inline: "
            package probe:messaging;
            world probe {
                import wasi:clocks/monotonic-clock@0.3.0;
                import wasi:config/store@0.2.0-rc.1;
                import wasmcloud:messaging/consumer@0.3.0;
                export wasmcloud:messaging/handler@0.3.0;
            }
        ",
        world: "probe:messaging/probe",
        generate_all,
    });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::wasmcloud::messaging::handler::Guest;
use bindings::wasi::clocks::monotonic_clock::wait_for;
use bindings::wasi::config::store;
use bindings::wasmcloud::messaging::consumer;
use bindings::wasmcloud::messaging::types::{BrokerMessage, Error, HandleMessageError};
use bindings::wit_stream;
use wit_bindgen::spawn_local;

struct Handler;

thread_local! {
    /// Messages that this instance was given.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Calls that run now.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// What came of what a call has left when it ended.
    static LEFT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// An answer that a call has left unread.
    static UNREAD: RefCell<Option<BrokerMessage>> = const { RefCell::new(None) };
}

/// What a step needs of its message.
struct Call {
    subject: String,
    reply_to: Option<String>,
    body: Vec<u8>,
}

impl Guest for Handler {
    async fn handle_message(message: BrokerMessage) -> Result<(), HandleMessageError> {
        COUNT.set(COUNT.get() + 1);
        RUNNING.set(RUNNING.get() + 1);
        let BrokerMessage { subject, body, reply_to } = message;
        let call = Call { subject, reply_to, body: body.collect().await };
        let handled = handle(&call).await;
        RUNNING.set(RUNNING.get() - 1);
        handled
    }
}

async fn handle(call: &Call) -> Result<(), HandleMessageError> {
    let script = String::from_utf8(call.body.clone()).map_err(|_| HandleMessageError::Reject)?;
    for line in script.lines() {
        step(call, line).await?;
    }
    Ok(())
}

async fn step(call: &Call, line: &str) -> Result<(), HandleMessageError> {
    match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        ["ok"] => Ok(()),
        ["echo"] => reply(call, &call.body).await,
        ["delivery"] => reply(call, format!("{} {:?}", call.subject, call.reply_to.is_some()).as_bytes()).await,
        ["count"] => reply(call, COUNT.get().to_string().as_bytes()).await,
        ["running"] => reply(call, RUNNING.get().to_string().as_bytes()).await,
        ["config", key] => {
            let value = store::get(key).map_err(|error| HandleMessageError::Other(format!("{error:?}")))?;
            reply(call, value.unwrap_or_else(|| "none".to_owned()).as_bytes()).await
        }
        ["sleep", ms] => {
            wait_for(number(ms)? * 1_000_000).await;
            Ok(())
        }
        ["publish", subject, text] => publish(subject, text.as_bytes()).await.map_err(failed),
        // The reply says what came of it.
        ["try-publish", subject, text] => {
            let said = publish(subject, text.as_bytes()).await;
            reply(call, format!("{said:?}").as_bytes()).await
        }
        ["try-publish-bytes", subject, bytes] => {
            let bytes = vec![b'x'; usize::try_from(number(bytes)?).map_err(|_| HandleMessageError::Reject)?];
            let said = publish(subject, &bytes).await;
            reply(call, format!("{said:?}").as_bytes()).await
        }
        ["request", subject, ms, text] => {
            let said = request(subject, text.as_bytes(), Some(number(ms)?.try_into().unwrap_or(u32::MAX))).await;
            reply(call, said.as_bytes()).await
        }
        // So many at once.
        ["together", subject, count] => {
            let asked = (0..number(count)?).map(async |n| request(subject, n.to_string().as_bytes(), None).await);
            reply(call, join_all(asked).await.join("|").as_bytes()).await
        }
        // As often as it is let, and never reads an answer.
        ["hoard", subject] => {
            let mut kept = 0;
            let error = loop {
                match ask(subject, b"", None).await {
                    Ok(answer) => std::mem::forget(answer),
                    Err(error) => break error,
                }
                kept += 1;
            };
            reply(call, format!("{kept} {error:?}").as_bytes()).await
        }
        // It is under way when the call ends.
        ["leave-request", subject] => {
            let subject = (*subject).to_owned();
            leave(async move { request(&subject, b"", Some(u32::MAX)).await }).await;
            Ok(())
        }
        ["leave-publication", subject] => {
            let (writer, body) = wit_stream::new();
            std::mem::forget(writer);
            let message = BrokerMessage { subject: (*subject).to_owned(), body, reply_to: None };
            leave(async move { format!("{:?}", consumer::publish(message).await) }).await;
            Ok(())
        }
        ["leave-answer", subject] => {
            let answer = ask(subject, b"", None).await.map_err(failed)?;
            UNREAD.set(Some(answer));
            Ok(())
        }
        // What came of so many, once it is known.
        ["left", count] => {
            let count = usize::try_from(number(count)?).map_err(|_| HandleMessageError::Reject)?;
            while LEFT.with_borrow(Vec::len) < count {
                wait_for(1_000_000).await;
            }
            reply(call, LEFT.take().join("|").as_bytes()).await
        }
        ["left-answer"] => {
            let answer = UNREAD.take().ok_or(HandleMessageError::Reject)?;
            reply(call, format!("{} bytes", answer.body.collect().await.len()).as_bytes()).await
        }
        ["publications", subject] => {
            let mut noted = 0;
            let error = loop {
                match publish(subject, &[b'x'; 1_000]).await {
                    Ok(()) => noted += 1,
                    Err(error) => break error,
                }
            };
            Err(HandleMessageError::Other(format!("{noted} {error:?}")))
        }
        ["first-retry"] if COUNT.get() == 1 => Err(HandleMessageError::Retry),
        ["first-retry"] => Ok(()),
        ["retry"] => Err(HandleMessageError::Retry),
        ["reject"] => Err(HandleMessageError::Reject),
        ["other", ..] => Err(HandleMessageError::Other(line.trim_start_matches("other ").to_owned())),
        ["trap"] => std::process::abort(),
        _ => Err(HandleMessageError::Other(format!("what is {line:?}?"))),
    }
}

/// Begins something that is not awaited, and notes what comes of it.
async fn leave(what: impl Future<Output = String> + 'static) {
    let mut what = Box::pin(what);
    let begun = poll!(&mut what);
    spawn_local(async move {
        let came = match begun {
            Poll::Ready(came) => came,
            Poll::Pending => what.await,
        };
        LEFT.with_borrow_mut(|left| left.push(came));
    });
}

fn number(text: &str) -> Result<u64, HandleMessageError> {
    text.parse().map_err(|_| HandleMessageError::Reject)
}

fn failed(error: Error) -> HandleMessageError {
    HandleMessageError::Other(format!("{error:?}"))
}

/// Calls with a body, which is written while the host reads it.
async fn publish(subject: &str, body: &[u8]) -> Result<(), Error> {
    let (mut writer, reader) = wit_stream::new();
    let message = BrokerMessage { subject: subject.to_owned(), body: reader, reply_to: None };
    let body = body.to_vec();
    let written = async move { drop(writer.write_all(body).await) };
    join(consumer::publish(message), written).await.0
}

async fn ask(subject: &str, body: &[u8], ms: Option<u32>) -> Result<BrokerMessage, Error> {
    let (mut writer, reader) = wit_stream::new();
    let body = body.to_vec();
    let written = async move { drop(writer.write_all(body).await) };
    join(consumer::request(subject.to_owned(), reader, ms), written).await.0
}

async fn request(subject: &str, body: &[u8], ms: Option<u32>) -> String {
    match ask(subject, body, ms).await {
        Ok(answer) => format!("answer: {}", String::from_utf8_lossy(&answer.body.collect().await)),
        Err(error) => format!("error: {error:?}"),
    }
}

async fn reply(call: &Call, body: &[u8]) -> Result<(), HandleMessageError> {
    let nobody = || HandleMessageError::Other("nobody waits for a reply".to_owned());
    let to = call.reply_to.as_deref().ok_or_else(nobody)?;
    publish(to, body).await.map_err(failed)
}
