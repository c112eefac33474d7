//! Which letters a command is about: what was typed, and the letters that it finds.

use std::collections::BTreeSet;

use crate::commands::time_arg::{TimeArg, time_arg};
use crate::commands::workload_name;
use tidegate_runtime::clock::time_of_day;
use tidegate_runtime::config::{OciReference, is_plugin_name, nearest};
use tidegate_runtime::contract::Cause;
use tidegate_runtime::dead_letter::filter::Filter;
use tidegate_runtime::dead_letter::{self, Content, Letter};
use tidegate_runtime::jetstream::{Letters, LettersError};

/// Digits of the digest of a generation.
const DIGITS: usize = 64;

/// Which letters, as typed. All of it has to hold.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which letters")]
pub struct FilterArgs {
    /// Of this workload
    #[arg(long, value_name = "NAME", value_parser = workload_name)]
    pub workload: Option<String>,
    /// With this cause, or one of several with commas between them: rejected, retries, trapped, time, memory, effects,
    /// start, exhausted, unreadable, conflict, hops
    #[arg(long = "cause", value_name = "WORD", value_delimiter = ',', value_parser = cause)]
    pub causes: Vec<Cause>,
    /// With this text in the reason, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Whose handler was this plugin
    #[arg(long, value_name = "NAME", value_parser = plugin)]
    pub plugin: Option<String>,
    /// Whose handler's digest begins like this
    #[arg(long, value_name = "DIGEST", value_parser = generation)]
    pub generation: Option<String>,
    /// Published on this subject, which may have wildcards
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    pub subject: Option<String>,
    /// Kept since then: `2h` ago, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time_arg)]
    pub since: Option<TimeArg>,
    /// Kept before then
    #[arg(long, value_name = "TIME", value_parser = time_arg)]
    pub until: Option<TimeArg>,
}

fn cause(text: &str) -> Result<Cause, String> {
    let words = Cause::ALL.map(Cause::as_str);
    Cause::ALL.into_iter().find(|cause| cause.as_str() == text).ok_or_else(|| {
        let meant = nearest(text, words).map(|word| format!("did you mean {word}? ")).unwrap_or_default();
        format!("{meant}It can be {}", words.join(", "))
    })
}

fn plugin(text: &str) -> Result<String, String> {
    if is_plugin_name(text) || OciReference::is_one(text) {
        Ok(text.to_owned())
    } else {
        Err("no plugin can be called so".to_owned())
    }
}

fn generation(text: &str) -> Result<String, String> {
    if (1..=DIGITS).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("no digest begins so: it has {DIGITS} hexadecimal digits"))
    }
}

/// Refuses only what is the subject of no message: publishers take more than a configuration does.
fn subject(text: &str) -> Result<String, String> {
    let mut tokens = text.split('.').rev();
    let last = tokens.next().unwrap_or_default();
    let is_run = |token: &str| token.len() > 1 && token.chars().all(|c| matches!(c, '*' | '>'));
    if text.chars().any(|c| c.is_ascii_whitespace()) {
        Err("no subject has white space in it".to_owned())
    } else if text.split('.').any(str::is_empty) {
        Err("no subject has an empty token".to_owned())
    } else if is_run(last) || tokens.any(|token| token == ">" || is_run(token)) {
        Err("`*` stands for one token, and `>`, which is the last one, for one or more".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

impl FilterArgs {
    /// The filter, with times made of durations.
    pub(super) fn filter(&self) -> Filter {
        let now = time_of_day();
        let at = |time: Option<TimeArg>| time.map(|time| time.resolve(now));
        Filter {
            workload: self.workload.clone(),
            causes: self.causes.clone(),
            reason: self.reason.clone(),
            plugin: self.plugin.clone(),
            generation: self.generation.clone(),
            subject: self.subject.clone(),
            since: at(self.since),
            until: at(self.until),
        }
    }
}

/// What a command found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The positions of sequences that were asked for and are no letter.
    pub(super) missing: Vec<u64>,
    /// How many messages were seen that are no letters, nor the content of one.
    pub(super) strays: usize,
    /// Of these, those on a subject that no letter is stored with: somebody else's.
    pub(super) foreign: usize,
    /// Of the strays, the sequences of those of which the headers cannot be read.
    pub(super) unreadable: Vec<u64>,
}

/// Gives each letter that is meant to `each`, in their order: of these sequences, or of all if there are none.
pub(super) async fn find(
    letters: &Letters,
    filter: &Filter,
    sequences: &[u64],
    mut each: impl FnMut(Letter, usize),
) -> Result<Found, LettersError> {
    let mut found = Found::default();
    if sequences.is_empty() {
        let mut strays = BTreeSet::new();
        let scan = letters.scan(filter.workload.as_deref(), filter.since, |stored| {
            if !stored.is_readable {
                found.unreadable.push(stored.sequence);
            }
            match Letter::read(&stored) {
                Some(letter) => {
                    if let Content::Apart { sequence, .. } = letter.content {
                        strays.remove(&sequence);
                    }
                    if filter.takes(&letter) {
                        each(letter, stored.size);
                    }
                }
                None if dead_letter::workload(&stored.subject).is_none() => found.foreign += 1,
                None => {
                    strays.insert(stored.sequence);
                }
            }
        });
        scan.await?;
        found.strays = strays.len() + found.foreign;
        return Ok(found);
    }
    let mut sequences = sequences.to_vec();
    sequences.sort_unstable();
    sequences.dedup();
    for sequence in sequences {
        let stored = letters.get(sequence).await?;
        match stored.as_ref().and_then(|stored| Some((Letter::read(stored)?, stored.size))) {
            Some((letter, size)) if filter.takes(&letter) => each(letter, size),
            Some(_) => {}
            None => found.missing.push(sequence),
        }
    }
    Ok(found)
}

/// Says of sequences that they are no letters.
pub(super) fn not_there(missing: &[u64], letters: &Letters) -> Option<String> {
    let list: Vec<String> = missing.iter().map(u64::to_string).collect();
    let stream = letters.stream();
    match list.as_slice() {
        [] => None,
        [one] => Some(format!("there is no dead letter {one} in {stream}; `tidegate dead list` shows those there are")),
        _ => Some(format!(
            "there are no dead letters {} in {stream}; `tidegate dead list` shows those there are",
            list.join(", ")
        )),
    }
}

/// What is said where no letter was found. A workload that has none is perhaps misspelt.
pub(super) async fn nothing_found(letters: &Letters, filter: &Filter) -> Result<String, LettersError> {
    let none = || Ok(format!("no dead letter in {} matches", letters.stream()));
    let Some(workload) = &filter.workload else { return none() };
    let others = letters.workloads().await?;
    if others.contains(workload) {
        return none();
    }
    let names = others.iter().map(String::as_str);
    let rest = match (nearest(workload, names), others.as_slice()) {
        (Some(near), _) => format!("; did you mean {near}?"),
        (None, []) => String::new(),
        (None, others) => format!("; those that have are {}", others.join(", ")),
    };
    Ok(format!("workload {} has no dead letters in {}{rest}", workload.escape_debug(), letters.stream()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unknown_cause_is_told_all_there_are() {
        assert_eq!(cause("memory"), Ok(Cause::Memory));
        let wrong = cause("traped").unwrap_err();
        assert!(wrong.starts_with("did you mean trapped? It can be rejected, retries, "), "{wrong}");
        assert!(cause("x").unwrap_err().ends_with("unreadable, conflict, hops"));
    }

    #[test]
    fn what_can_match_no_letter_is_refused() {
        for good in ["orders.new", "*", ">", "orders.*.eu.>", "a*b", "größe", "$JS.x"] {
            assert_eq!(subject(good).as_deref(), Ok(good));
        }
        for wrong in ["", "a b", "a\t", "a..b", ".a", "a.", ">.a", ">>", "**", "a.*>.b", ">>.a"] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
        assert_eq!(generation("2EA221").as_deref(), Ok("2ea221"));
        assert!(generation(&"a".repeat(64)).is_ok() && generation(&"a".repeat(65)).is_err());
        for wrong in ["", "zz", "0x1", "2ea2 "] {
            assert!(generation(wrong).is_err(), "{wrong}");
        }
        assert!(plugin("receipts").is_ok() && plugin("oci://ghcr.io/acme/receipts:1").is_ok());
        assert!(plugin("").is_err() && plugin("a/b").is_err() && plugin("a.wasm").is_err());
    }
}
