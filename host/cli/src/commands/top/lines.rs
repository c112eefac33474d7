//! Lines of a terminal, and short forms of numbers.

use std::time::{Duration, SystemTime};

use tidegate_lab::text_table::cut;
use tidegate_runtime::text::plain;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A line, and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) look: Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Bold,
    /// Dark on light.
    Chosen,
}

/// A line that is as wide as the terminal at most. What came from elsewhere does not act upon it.
pub(super) fn line(text: &str, width: usize, look: Look) -> Line {
    Line { text: cut(&plain(text), width), look }
}

/// A text in as many lines as it needs, all but the first so far to the right.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut now = String::new();
    // Words that are wider than a line are cut at its end.
    let begin = if indent.saturating_mul(2) < width { " ".repeat(indent) } else { String::new() };
    for word in plain(text).split(' ') {
        if !now.trim().is_empty() && now.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut now, begin.clone()));
        } else if !now.is_empty() && !now.ends_with(' ') {
            now.push(' ');
        }
        for c in word.chars() {
            if now.width() + c.width().unwrap_or(0) > width && !now.trim().is_empty() {
                lines.push(std::mem::replace(&mut now, begin.clone()));
            }
            now.push(c);
        }
        if word.is_empty() {
            now.push(' ');
        }
    }
    lines.push(now);
    lines.into_iter().map(|text| line(text.trim_end(), width, Look::Plain)).collect()
}

/// A span of time in two units at most.
pub(super) fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{} h {} m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Messages a second.
pub(super) fn rate(of: f64) -> String {
    if of >= 100.0 || of == 0.0 { format!("{of:.0}/s") } else { format!("{of:.1}/s") }
}

/// A part of a whole.
pub(super) fn percent(of: f64) -> String {
    format!("{:.0} %", of * 100.0)
}

/// The time of day of a moment, in UTC.
pub(super) fn clock(unix_ms: u64) -> String {
    // The last that has a year of four digits.
    const LAST: u64 = 253_402_300_799_999;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms.min(LAST)));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.as_deref().and_then(|text| text.get(11..19)).unwrap_or("-").to_owned()
}

/// Numbers by their names.
pub(super) fn numbers<'a>(of: impl IntoIterator<Item = (&'a String, &'a u64)>) -> String {
    let parts: Vec<String> = of.into_iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_text_is_wrapped_at_its_spaces() {
        assert_eq!(
            texts(wrapped("problem  the consumer is gone", 16, 4)),
            ["problem  the", "    consumer is", "    gone"]
        );
        assert_eq!(texts(wrapped("abcdefgh", 3, 2)), ["abc", "def", "gh"]);
        assert_eq!(texts(wrapped("", 3, 0)), [""]);
    }

    #[test]
    fn numbers_are_short() {
        let spans = [999, 1000, 61_000, 7_260_000, 90_000_000].map(span);
        assert_eq!(spans, ["999 ms", "1 s", "1 m 1 s", "2 h 1 m", "1 d 1 h"]);
        assert_eq!([rate(0.0), rate(1.25), rate(1234.5)], ["0/s", "1.2/s", "1234/s"]);
        assert_eq!((clock(1_769_860_801_000).as_str(), clock(u64::MAX).as_str()), ("12:00:01", "23:59:59"));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal_or_acts_upon_it(
            text in ".*", width in 1_usize..60, indent in 0_usize..9,
        ) {
            for line in wrapped(&text, width, indent) {
                prop_assert!(line.text.width() <= width, "{:?}", line);
                prop_assert_eq!(plain(&line.text), line.text);
            }
        }
    }
}
