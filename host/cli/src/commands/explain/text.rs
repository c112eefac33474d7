//! What is known of a message, for a person.

use std::fmt::Write as _;

use super::decisions::Decided;
use super::fate::Fate;
use super::known::Known;
use crate::commands::dead::seconds;
use tidegate_runtime::dead_letter::Letter;
use tidegate_runtime::jetstream::Progress;
use tidegate_runtime::text::{one_line, plain};

/// All of it, in lines.
pub(super) fn of(known: &Known) -> String {
    let queue = &known.workload.queue;
    let mut text = format!("message {} of {}, workload {}\n", known.sequence, queue.stream, known.workload.name);
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<9} {}", plain(value));
    };
    if let Some(message) = &known.found.message {
        line("stored", &format!("{}, {} bytes on {}", seconds(message.time), message.size, message.subject));
    }
    line("fate", &fate(known));
    if let Some(at) = &known.found.consumer {
        line("consumer", &consumer(&queue.consumer, at));
    }
    for letter in &known.letters {
        line("dead", &dead(letter));
        let whose = known.workload.nats.as_ref().map(|_| format!(" --workload {}", known.workload.name));
        let whose = whose.unwrap_or_default();
        line("", &format!("`tidegate dead show {} -c {}{whose}` shows it", letter.sequence, known.file));
    }
    if let Some(problem) = &known.letters_problem {
        line("dead", &one_line(problem));
    }
    for decided in &known.around.decisions {
        line("decision", &decision(decided));
    }
    if known.around.left_out > 0 {
        line("", &format!("and {} more; `tidegate journal` prints them", known.around.left_out));
    }
    if let Some(problem) = &known.around.problem {
        line("journal", &one_line(problem));
    }
    text
}

fn fate(known: &Known) -> String {
    let consumer = known.found.consumer.clone().unwrap_or_default();
    match known.fate {
        Fate::NotStored => format!("not stored: the last message of the stream is {}", known.found.last),
        Fate::Dead => "dead: it is not tried again unless it is redriven".to_owned(),
        Fate::Deleted if known.found.deletes_settled => {
            "not in the stream any more, which deletes what is settled, and what a limit or somebody has it delete"
                .to_owned()
        }
        Fate::Deleted => "not in the stream any more: a limit of the stream or somebody has deleted it".to_owned(),
        Fate::NoConsumer => {
            format!("not delivered: there is no consumer {}; a host makes it", known.workload.queue.consumer)
        }
        Fate::NotTaken => "never delivered: the consumer's filter does not take its subject".to_owned(),
        Fate::NotDelivered if consumer.paused => {
            format!("not delivered yet: the workload is paused; `tidegate resume {}` ends that", known.workload.name)
        }
        Fate::NotDelivered => {
            let before = known.sequence.saturating_sub(consumer.delivered).saturating_sub(1);
            format!("not delivered yet: at most {before} messages are delivered before it")
        }
        Fate::Settled if consumer.begins_later => {
            "settled, or passed over: the consumer was made to begin later than the stream".to_owned()
        }
        Fate::Settled => "settled: it is not delivered again".to_owned(),
        Fate::Unsettled => unsettled(known),
        Fate::SettledOrNot => format!(
            "delivered; of messages {} to {}, {} are not settled, and the server does not tell which",
            consumer.settled.saturating_add(1),
            consumer.delivered,
            consumer.unsettled
        ),
    }
}

fn unsettled(known: &Known) -> String {
    let (queue, retry) = (&known.workload.queue, &known.workload.retry);
    format!(
        "delivered and not settled: a worker or a host has it, or it waits for the delay of another try; \
         without a word from a host for {} it is delivered again; max-attempts is {}",
        humantime::format_duration(queue.ack_wait),
        retry.max_attempts
    )
}

fn consumer(name: &str, at: &Progress) -> String {
    let Progress { delivered, settled, unsettled, .. } = at;
    let paused = if at.paused { ", paused" } else { "" };
    format!(
        "{name}: delivered up to {delivered}, settled up to {settled}, {unsettled} delivered and not settled{paused}"
    )
}

fn dead(letter: &Letter) -> String {
    let attempts = match letter.attempts {
        None => String::new(),
        Some(1) => " after 1 delivery".to_owned(),
        Some(attempts) => format!(" after {attempts} deliveries"),
    };
    let handler = match letter.plugin.as_str() {
        "" => String::new(),
        plugin => format!(", handler {plugin}@{}", letter.generation.chars().take(12).collect::<String>()),
    };
    format!("{}{attempts}, {}: {}{handler}, host {}", seconds(letter.time), letter.cause, letter.reason, letter.host)
}

fn decision(decided: &Decided) -> String {
    let workers = match decided.workers {
        Some(change) if change.from == change.to => format!("{} workers", change.to),
        Some(change) => format!("{} to {} workers", change.from, change.to),
        None => "no decision".to_owned(),
    };
    format!("{} {workers}: {} ({})", decided.time, decided.reason, decided.host)
}
