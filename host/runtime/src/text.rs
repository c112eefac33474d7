//! Texts from outside, made so that a log line or a terminal can take them. Pure.

/// A text from outside, without what a terminal would act upon.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if plain_char(c) { c } else { '\u{fffd}' }).collect()
}

/// A problem and its remedy, which stands in a line of its own, as one line.
pub fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).fold(String::new(), |told, line| match told {
        told if told.is_empty() => line.to_owned(),
        told if told.ends_with([':', ';', '.', ',']) => format!("{told} {line}"),
        told => format!("{told}; {line}"),
    })
}

/// A text from outside as a part of one line: what would end the line, or act upon a terminal, is shown and not done.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if plain_char(c) => shown.push(c),
            '\n' | '\r' => shown.extend(c.escape_default()),
            _ => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// Whether a terminal shows a character, and does nothing else.
pub fn plain_char(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_behind_its_problem() {
        assert_eq!(one_line("there is no stream A\n  Create it."), "there is no stream A; Create it.");
        assert_eq!(one_line("it panicked:\n\nat once"), "it panicked: at once");
    }

    #[test]
    fn no_text_ends_its_line_or_acts_upon_a_terminal() {
        let forged = "a\nINFO b\r\u{1b}[2J\u{9b}\u{85}\u{2028}\u{202e}\tend";
        let shown = escaped(forged);
        assert!(shown.starts_with("a\\nINFO b\\r\\u{1b}[2J"), "{shown}");
        assert!(shown.chars().all(plain_char) && shown.lines().count() == 1, "{shown}");
        assert_eq!(escaped("tide, Überfluß \u{1f30a}"), "tide, Überfluß \u{1f30a}");
    }
}
