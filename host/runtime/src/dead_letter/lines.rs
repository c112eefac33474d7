//! Lines of text as the value of one header, and back. Pure.
//!
//! A guest writes them, so anything may be in them. What would end the header, or act upon a terminal or a parser, is
//! escaped as Rust escapes it: `\n`, `\t`, `\\`, `\u{1b}`.

/// The most bytes of a value.
const MOST: usize = 2000;
/// What stands before a text of which the beginning is left out.
const CUT: &str = "...";

/// The text as a value of at most [`MOST`] bytes. Of one that is longer the end is kept: there stands what happened.
pub(super) fn to_value(text: &str) -> String {
    let text = text.trim();
    let (mut first, mut left) = (text.len(), MOST - CUT.len());
    for (at, c) in text.char_indices().rev() {
        let Some(rest) = left.checked_sub(escaped(c).map(char::len_utf8).sum()) else { break };
        (first, left) = (at, rest);
    }
    let kept = text.get(first..).unwrap_or_default();
    let cut = if first > 0 { CUT } else { "" };
    format!("{cut}{}", kept.chars().flat_map(escaped).collect::<String>())
}

/// The text of a value. Line breaks and tabs are as they were; whatever else was escaped stays so.
pub(super) fn from_value(value: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('\\') => text.push('\\'),
            other => {
                text.push('\\');
                text.extend(other);
            }
        }
    }
    text
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let is_plain = c == ' ' || !(c.is_control() || c.is_whitespace() || c == '\\' || is_direction(c));
    let (plain, special) = if is_plain { (Some(c), None) } else { (None, Some(c.escape_default())) };
    plain.into_iter().chain(special.into_iter().flatten())
}

/// Whether it changes the direction of what follows.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letter::block;

    #[test]
    fn lines_are_one_value_and_lines_again() {
        let text = "Traceback:\n\tFile \"C:\\new\", line 3\nKeyError: größe";
        assert_eq!(to_value(text), "Traceback:\\n\\tFile \"C:\\\\new\", line 3\\nKeyError: größe");
        assert_eq!(from_value(&to_value(text)), text);
        assert_eq!(from_value("cut \\"), "cut \\");
    }

    #[test]
    fn of_what_is_too_long_the_end_is_kept() {
        let value = to_value(&format!("{}end", "\u{1b}é".repeat(MOST)));
        assert!(value.starts_with(CUT) && value.ends_with("end") && value.len() <= MOST, "{value}");
        assert_eq!(to_value(&"x".repeat(MOST - CUT.len())).len(), MOST - CUT.len());
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_header_block_or_its_bound(text in "(?s).{0,40}") {
            let value = to_value(&text);
            prop_assert!(value.len() <= MOST);
            prop_assert!(!value.contains(|c: char| c.is_control() || (c.is_whitespace() && c != ' ')));
            let headers = vec![("Tidegate-Stderr".to_owned(), value), ("After".to_owned(), "x".to_owned())];
            prop_assert_eq!(block::read(&block::write(&headers)), Ok(headers));
        }
    }
}
