//! What is known of a message, for a program.

use serde_json::{Value, json};

use super::known::Known;
use crate::commands::dead::object;
use tidegate_runtime::duration::rfc3339_millis;

/// All of it.
pub(super) fn of(known: &Known) -> Value {
    let Known { workload, sequence, found, fate, letters, letters_problem, around, .. } = known;
    let message = found.message.as_ref().map(|message| {
        let (subject, stored, bytes) = (&message.subject, rfc3339_millis(message.time), message.size);
        json!({ "subject": subject, "stored": stored, "payload_bytes": bytes })
    });
    let consumer = found.consumer.as_ref().map(|at| {
        json!({
            "delivered_to": at.delivered,
            "settled_to": at.settled,
            "unsettled": at.unsettled,
            "takes": found.message.as_ref().map(|_| at.takes),
            "paused": at.paused,
        })
    });
    json!({
        "workload": workload.name,
        "stream": workload.queue.stream,
        "sequence": sequence,
        "last": found.last,
        "fate": fate,
        "message": message,
        "consumer": { "name": workload.queue.consumer, "progress": consumer },
        // The size of a payload is not read here.
        "dead_letters": letters.iter().map(|letter| without_size(object(letter, 0))).collect::<Vec<_>>(),
        "dead_letters_problem": letters_problem,
        "journal": around,
    })
}

fn without_size(mut letter: Value) -> Value {
    if let Some(fields) = letter.as_object_mut() {
        fields.remove("payload_bytes");
    }
    letter
}
