//! As probe-worker, for the asynchronous form: the same steps, of which those that wait let other calls go on.

#[path = "../../probe-worker/src/faults.rs"]
mod faults;
mod http;
#[path = "../../probe-worker/src/key_value.rs"]
mod key_value;
#[path = "../../probe-worker/src/script.rs"]
mod script;
#[path = "../../probe-worker/src/steps.rs"]
mod steps;
mod storm;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        inline: "
            package probe:all;
            world probe {
                include tidegate:plugin/async-worker@0.1.3;
                include probe:later/reaches;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        world: "probe:all/probe",
        generate_all,
    });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::async_handler::Guest;
use bindings::tidegate::plugin::handler as types;
use bindings::wasi::cli::stdout;
use bindings::wasi::clocks::monotonic_clock::wait_for;
use bindings::wit_stream;
use script::Step;
use std::cell::Cell;
use types::{Delivery, Failure, Response};

/// Told by the steps that say a version.
const VERSION: &str = "v1";

thread_local! {
    static HANDLED: Cell<u64> = const { Cell::new(0) };
    /// Calls that run now.
    static BATCH: Cell<usize> = const { Cell::new(0) };
}

struct Handler;

impl Guest for Handler {
    async fn handle(delivery: Delivery) -> Result<Response, Failure> {
        HANDLED.set(HANDLED.get() + 1);
        BATCH.set(BATCH.get() + 1);
        let answer = answer(&delivery).await;
        BATCH.set(BATCH.get() - 1);
        answer
    }
}

async fn answer(delivery: &Delivery) -> Result<Response, Failure> {
    let mut response = Response { reply: Some(Vec::new()), publications: Vec::new() };
    let text = std::str::from_utf8(&delivery.payload).map_err(|error| Failure::Reject(error.to_string()))?;
    for line in text.lines() {
        if own(line, &mut response).await {
            continue;
        }
        for step in script::parse(line.as_bytes(), delivery.attempt).map_err(Failure::Reject)? {
            match step {
                Step::Sleep(ms) => wait_for(ms * 1_000_000).await,
                step => steps::take(step, delivery, &mut response)?,
            }
        }
    }
    Ok(response)
}

/// Does a step that only this guest has. `false` if the line is none.
async fn own(line: &str, response: &mut Response) -> bool {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("get", url) => response.reply = Some(http::get(url).await.into_bytes()),
        ("takes", bytes) => response.reply = Some(http::takes(bytes.parse().unwrap_or_default()).into_bytes()),
        ("write", text) => {
            let (mut writer, reader) = wit_stream::new();
            let written = stdout::write_via_stream(reader);
            writer.write_all(format!("{text}\n").into_bytes()).await;
            drop(writer);
            if let Err(error) = written.await {
                response.reply = Some(format!("{error:?}").into_bytes());
            }
        }
        ("block", ms) => std::thread::sleep(std::time::Duration::from_millis(ms.parse().unwrap_or_default())),
        ("subtasks", _) => storm::subtasks().await,
        ("streams", _) => storm::streams(),
        _ => return false,
    }
    true
}
