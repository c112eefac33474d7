//! Texts from outside, no longer than a page can show. Pure.

/// At most so many characters of a text; where it is cut stands an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => {
            let mut kept: String = text.get(..end).unwrap_or_default().to_owned();
            kept.push('…');
            kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("tide", 4), "tide");
        assert_eq!(cut("Überfluß", 3), "Übe…");
        assert_eq!(cut(&"x".repeat(1 << 20), 10).len(), 13);
    }
}
