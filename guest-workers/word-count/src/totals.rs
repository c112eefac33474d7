//! Which words occurred, and how often.

use serde::Serialize;
use std::collections::HashMap;

/// How many of the most frequent words a reply names.
const TOP: usize = 10;

/// What was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    messages: u64,
    words: u64,
    counts: HashMap<String, u64>,
}

#[derive(Serialize)]
struct Reply<'a> {
    messages: u64,
    words: u64,
    distinct: usize,
    top: Vec<Word<'a>>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Word<'a> {
    word: &'a str,
    count: u64,
}

impl Totals {
    /// Counts one message.
    pub(crate) fn add(&mut self, text: &str) {
        self.messages += 1;
        for word in words(text) {
            self.words += 1;
            *self.counts.entry(word).or_default() += 1;
        }
    }

    /// The most frequent words, and of equally frequent ones those that come first in the alphabet.
    fn top(&self) -> Vec<Word<'_>> {
        let mut top: Vec<Word<'_>> = self.counts.iter().map(|(word, count)| Word { word, count: *count }).collect();
        top.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(b.word)));
        top.truncate(TOP);
        top
    }

    /// The totals as the reply has them.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let reply = Reply { messages: self.messages, words: self.words, distinct: self.counts.len(), top: self.top() };
        // Strings and numbers can always be written.
        serde_json::to_vec(&reply).unwrap_or_default()
    }
}

/// The words of a text in lower case: letters and digits, with apostrophes between them.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\''))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_letters_digits_and_apostrophes_between_them() {
        let words: Vec<String> = words("Don't 'panic': 42 Tore, Über-Fähre\n\t--'").collect();
        assert_eq!(words, ["don't", "panic", "42", "tore", "über", "fähre"]);
    }

    #[test]
    fn the_reply_has_the_totals_and_the_most_frequent_words() {
        let mut totals = Totals::default();
        totals.add("tide gate tide");
        totals.add("");
        let reply = String::from_utf8(totals.to_json()).unwrap();
        assert_eq!(
            reply,
            r#"{"messages":2,"words":3,"distinct":2,"top":[{"word":"tide","count":2},{"word":"gate","count":1}]}"#
        );
    }

    proptest! {
        #[test]
        fn the_counts_add_up(texts: Vec<String>) {
            let mut totals = Totals::default();
            for text in &texts {
                totals.add(text);
            }
            prop_assert_eq!(totals.messages, texts.len() as u64);
            prop_assert_eq!(totals.words, totals.counts.values().sum::<u64>());
            prop_assert!(totals.top().len() <= TOP);
            prop_assert!(totals.top().windows(2).all(|pair| pair[0].count >= pair[1].count));
        }
    }
}
