//! Texts from outside, made so that a log line or a terminal can take them. Pure.

/// A text from outside, without what a terminal would act upon.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if plain_char(c) { c } else { '\u{fffd}' }).collect()
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

fn plain_char(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_line_or_acts_upon_a_terminal() {
        let forged = "a\nINFO b\r\u{1b}[2J\u{9b}\u{85}\u{2028}\u{202e}\tend";
        let shown = escaped(forged);
        assert!(shown.starts_with("a\\nINFO b\\r\\u{1b}[2J"), "{shown}");
        assert!(shown.chars().all(plain_char) && shown.lines().count() == 1, "{shown}");
        assert_eq!(escaped("tide, Überfluß \u{1f30a}"), "tide, Überfluß \u{1f30a}");
    }
}
