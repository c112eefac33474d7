//! Letters as a table, and as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};

use tidegate_lab::text_table::{aligned, cut};
use tidegate_runtime::dead_letter::{Headers, Letter};
use tidegate_runtime::duration::{rfc3339_millis, rfc3339_seconds};
use tidegate_runtime::text::plain;

type Row = [String; 8];
/// The widest cell in a terminal, in columns: a subject can have thousands, and the cause stands behind it.
const WIDEST: usize = 40;

const HEAD: [&str; 8] = ["TIME", "WORKLOAD", "LETTER", "SUBJECT", "TRIES", "CAUSE", "HANDLER", "REASON"];

/// Lines for a terminal that is so many columns wide; without a width nothing is cut.
pub(super) fn table(letters: &[(Letter, usize)], width: Option<usize>) -> String {
    let widest = width.map_or(usize::MAX, |_| WIDEST);
    let rows = std::iter::once(HEAD.map(str::to_owned)).chain(letters.iter().map(|(letter, _)| row(letter, widest)));
    let (sequence, attempts) = (2, 4);
    let lines = aligned(rows, &[sequence, attempts]);
    lines.lines().map(|line| cut(line, width.unwrap_or(usize::MAX)) + "\n").collect()
}

fn row(letter: &Letter, widest: usize) -> Row {
    let handler = match letter.plugin.as_str() {
        "" => "-".to_owned(),
        plugin => format!("{plugin}@{}", letter.generation.chars().take(12).collect::<String>()),
    };
    let [cells @ .., reason] = [
        seconds(letter.time),
        letter.workload.clone(),
        letter.sequence.to_string(),
        letter.subject.clone(),
        letter.attempts.map_or_else(|| "-".to_owned(), |attempts| attempts.to_string()),
        letter.cause.clone(),
        handler,
        letter.reason.clone(),
    ]
    .map(|cell| plain(&cell));
    let [time, workload, sequence, subject, attempts, cause, handler] = cells.map(|cell| cut(&cell, widest));
    [time, workload, sequence, subject, attempts, cause, handler, reason]
}

/// A time as RFC 3339 has it, to the second.
pub(in crate::commands) fn seconds(time: SystemTime) -> String {
    rfc3339_seconds(time).unwrap_or_else(|| "-".to_owned())
}

/// What a program is told of a letter.
pub(in crate::commands) fn object(letter: &Letter, payload: usize) -> Value {
    json!({
        "sequence": letter.sequence,
        "time": rfc3339_millis(letter.time),
        "workload": letter.workload,
        "subject": letter.subject,
        "stream": letter.stream,
        "stream_sequence": letter.stream_sequence,
        "published": letter.published.and_then(rfc3339_millis),
        "attempts": letter.attempts,
        "cause": letter.cause,
        "reason": letter.reason,
        "stderr": letter.stderr,
        "plugin": letter.plugin,
        "generation": letter.generation,
        "host": letter.host,
        "redrives": letter.redrives,
        "first": { "stream": letter.first.0, "stream_sequence": letter.first.1 },
        "payload_bytes": payload,
    })
}

/// Headers as a list of pairs.
pub(super) fn pairs(headers: &Headers) -> Value {
    headers.iter().map(|(name, value)| json!([name, value])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use std::time::{Duration, SystemTime};

    use tidegate_runtime::dead_letter::Content;

    use super::*;

    fn letter(sequence: u64, subject: &str, reason: &str) -> Letter {
        Letter {
            sequence,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800),
            workload: "orders".into(),
            subject: subject.into(),
            stream: "ORDERS".into(),
            stream_sequence: 7,
            published: None,
            attempts: Some(5),
            cause: "rejected".into(),
            reason: reason.into(),
            stderr: String::new(),
            plugin: "receipts".into(),
            generation: "2ea221eb71d2".into(),
            host: "here:1".into(),
            redrives: 0,
            first: ("ORDERS".into(), 7),
            content: Content::Here(vec![]),
        }
    }

    #[test]
    fn a_table_is_aligned_and_cut_at_the_width() {
        let letters = [(letter(9, "orders.größe", "no"), 0), (letter(10, "o", "no such customer"), 0)];
        let expected = "\
TIME                  WORKLOAD  LETTER  SUBJECT       TRIES  CAUSE     HANDLER                REASON
2026-01-31T12:00:00Z  orders         9  orders.größe      5  rejected  receipts@2ea221eb71d2  no
2026-01-31T12:00:00Z  orders        10  o                 5  rejected  receipts@2ea221eb71d2  no such customer
";
        assert_eq!(table(&letters, None), expected);
        let cut = table(&letters, Some(104));
        assert!(cut.ends_with("  no such c…\n"), "{cut}");
        assert_eq!(cut.lines().last().unwrap().width(), 104);
    }

    #[test]
    fn a_time_that_has_no_form_is_left_out() {
        let (before, after) = (Duration::from_secs(1), Duration::from_millis(u64::MAX));
        for time in [SystemTime::UNIX_EPOCH - before, SystemTime::UNIX_EPOCH + after] {
            let letter = Letter { time, published: Some(time), ..letter(1, "a", "b") };
            let told = object(&letter, 0);
            assert_eq!((&told["time"], &told["published"]), (&Value::Null, &Value::Null));
            assert!(table(&[(letter, 0)], None).lines().last().unwrap().starts_with("-  "));
        }
    }

    #[test]
    fn what_a_terminal_would_act_upon_is_not_printed() {
        let text = table(&[(letter(1, "a\u{1b}[2J", "b\u{202e}c"), 0)], None);
        assert!(text.contains("a\u{fffd}[2J") && text.contains("b\u{fffd}c"), "{text}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(reason in ".*", width in 1usize..200) {
            let text = table(&[(letter(1, "a.b", &reason), 0)], Some(width));
            prop_assert_eq!(text.lines().count(), 2);
            prop_assert!(text.lines().all(|line| line.width() <= width));
        }
    }
}
