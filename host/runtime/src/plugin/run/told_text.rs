//! Texts of guests as they are told: in one line, and within a bound. Pure.

/// Rust's advice after a panic. Nobody can set that variable for a guest.
const ADVICE: &str = "note: run with `RUST_BACKTRACE";

/// Joins lines, because a fault becomes a header of a dead letter. Leaves out Rust's advice about backtraces.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let told: Vec<&str> = lines.filter(|line| !line.is_empty() && !is_advice(line)).collect();
    told.join(" / ")
}

/// Whether a line that a guest wrote is Rust's advice, which nobody can follow here.
pub(crate) fn is_advice(line: &str) -> bool {
    line.starts_with(ADVICE)
}

/// The text in one line, without control characters, and cut to `most` bytes with a sign that there was more.
pub(crate) fn brief(text: &str, most: usize) -> String {
    // A much longer text is cut before it is copied.
    let line = one_line(cut(text, most.saturating_mul(4)));
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() <= most && text.len() <= most.saturating_mul(4) { line } else { format!("{}...", cut(&line, most)) }
}

/// The first `most` bytes at most, cut between two characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_panic_is_told_in_one_line() {
        let written = "\nthread '<unnamed>' panicked at src/lib.rs:3:5:\nno stock\nnote: run with `RUST_BACKTRACE=1` \
                       environment variable to display a backtrace\n";
        assert_eq!(one_line(written), "thread '<unnamed>' panicked at src/lib.rs:3:5: / no stock");
    }

    #[test]
    fn what_is_long_is_told_in_brief_and_in_one_line() {
        assert_eq!(brief("a\nb\u{1b}[2J", 100), "a / b [2J");
        assert_eq!(brief("abcdef", 3), "abc...");
        assert!(brief(&"ab".repeat(1 << 20), 100).len() <= 103);
    }

    proptest! {
        #[test]
        fn a_cut_is_a_prefix_within_the_bound(text: String, most in 0usize..64) {
            let short = cut(&text, most);
            prop_assert!(short.len() <= most && text.starts_with(short));
        }
    }
}
