//! A row of the table of keys.

use std::fmt;

use crate::config::error::Wrong;
use crate::config::value::{Value, ValueType};
use crate::config::words::Word;

/// What a string must look like.
pub(in crate::config) type Rule = fn(&str) -> Result<(), Wrong>;

/// What holds for a key that nobody has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This value, as a flag has it.
    Value(&'static str),
    /// What is made of other keys, in words; the code has the formula.
    Derived(&'static str),
    /// It has to be set; this is what to give.
    Required(&'static str),
    /// Nothing, in words.
    Nothing(&'static str),
}

/// How the example file shows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// With its default.
    Default,
    /// With this value.
    Set(&'static str),
    /// With this value, commented out.
    Comment(&'static str),
}

/// When another value of a key applies, in a host that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// When the configuration is read again: its workload is drained and started again with it.
    Reload,
    /// When the host is started again.
    Restart,
}

/// As the page has it.
impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        })
    }
}

/// All that is known of one key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted, within the file or within the table of a workload.
    pub path: &'static str,
    /// The type of its value.
    pub kind: ValueType,
    /// What holds where it is not set.
    pub unset: Unset,
    /// What its value may be: `1s to 1h`, `16 or more`, or words. Numbers, sizes and durations are held to the former
    /// two.
    pub range: &'static str,
    /// The flag, without its hyphens.
    pub flag: Option<&'static str>,
    /// The flag's letter.
    pub letter: Option<char>,
    /// A flag without a value, the value that it stands for, and its help.
    pub switch: Option<(&'static str, &'static str, &'static str)>,
    /// The environment variable.
    pub variable: Option<&'static str>,
    /// What stands for the value in `--help`.
    pub placeholder: &'static str,
    /// What it is, in a part of a sentence.
    pub help: &'static str,
    /// What the page says beside that, in whole sentences.
    pub more: &'static str,
    /// How the example file shows it.
    pub example: Example,
    /// Whether the values of its table may stand elsewhere, in a variable or a file.
    pub secrets: bool,
    /// When another value applies.
    pub applies: Applies,
    rule: Option<Rule>,
}

/// The rows of the host, which reads them at its start.
pub(super) const fn of_the_host<const N: usize>(mut keys: [Key; N]) -> [Key; N] {
    let mut rest: &mut [Key] = &mut keys;
    while let Some((key, others)) = rest.split_first_mut() {
        key.applies = Applies::Restart;
        rest = others;
    }
    keys
}

impl Key {
    const fn new(path: &'static str, kind: ValueType, placeholder: &'static str) -> Self {
        Self {
            path,
            kind,
            unset: Unset::Nothing("none"),
            range: "",
            flag: None,
            letter: None,
            switch: None,
            variable: None,
            placeholder,
            help: "",
            more: "",
            example: Example::Default,
            secrets: false,
            applies: Applies::Reload,
            rule: None,
        }
    }

    pub(super) const fn text(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Text, placeholder)
    }

    pub(super) const fn texts(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Texts, placeholder)
    }

    /// A path, relative to the directory of the file that it is written in.
    pub(super) const fn file(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Path, placeholder)
    }

    pub(super) const fn word<W: Word>(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Word(W::words), placeholder)
    }

    pub(super) const fn integer(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Integer, placeholder)
    }

    pub(super) const fn boolean(path: &'static str) -> Self {
        Self::new(path, ValueType::Boolean, "BOOLEAN")
    }

    pub(super) const fn number(path: &'static str, placeholder: &'static str) -> Self {
        Self::new(path, ValueType::Number, placeholder)
    }

    pub(super) const fn size(path: &'static str) -> Self {
        Self::new(path, ValueType::Size, "SIZE")
    }

    pub(super) const fn duration(path: &'static str) -> Self {
        Self::new(path, ValueType::Duration, "DURATION")
    }

    pub(super) const fn delays(path: &'static str) -> Self {
        Self::new(path, ValueType::Delays, "DURATION")
    }

    /// Strings by names that are not known beforehand.
    pub(super) const fn table(path: &'static str) -> Self {
        Self::new(path, ValueType::Table, "KEY=VALUE")
    }

    /// The values of the table may be `{ env = "NAME" }` and `{ file = "PATH" }`.
    pub(super) const fn secrets(self) -> Self {
        Self { secrets: true, ..self }
    }

    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { unset: Unset::Value(value), ..self }
    }

    pub(super) const fn derived(self, how: &'static str) -> Self {
        Self { unset: Unset::Derived(how), ..self }
    }

    pub(super) const fn required(self, what: &'static str) -> Self {
        Self { unset: Unset::Required(what), ..self }
    }

    pub(super) const fn nothing(self, what: &'static str) -> Self {
        Self { unset: Unset::Nothing(what), ..self }
    }

    pub(super) const fn range(self, range: &'static str) -> Self {
        Self { range, ..self }
    }

    /// Each string must keep this rule.
    pub(super) const fn rule(self, rule: Rule) -> Self {
        Self { rule: Some(rule), ..self }
    }

    pub(super) const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    pub(super) const fn letter(self, letter: char) -> Self {
        Self { letter: Some(letter), ..self }
    }

    pub(super) const fn switch(self, flag: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { switch: Some((flag, value, help)), ..self }
    }

    pub(super) const fn variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    pub(super) const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    pub(super) const fn more(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    /// The example file sets it to this TOML.
    pub(super) const fn set(self, toml: &'static str) -> Self {
        Self { example: Example::Set(toml), ..self }
    }

    /// The example file has it with this TOML, commented out.
    pub(super) const fn comment(self, toml: &'static str) -> Self {
        Self { example: Example::Comment(toml), ..self }
    }

    /// The table it is in and its name there.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }

    /// Reads a value as a flag or a variable has it.
    ///
    /// # Errors
    /// It is not of the key's type. Its range counts only with the rest of the configuration.
    pub fn parse(&self, text: &str) -> Result<Value, Wrong> {
        self.kind.parse(text)
    }

    /// The default, if there is one that is made of nothing else.
    pub(in crate::config) fn default_value(&self) -> Option<Value> {
        match self.unset {
            Unset::Value(text) => self.parse(text).ok(),
            _ => None,
        }
    }

    /// What is wrong with a value of the key's type.
    pub(in crate::config) fn check(&self, value: &Value) -> Vec<Wrong> {
        let keeps = |text: &String| self.rule.and_then(|rule| rule(text).err());
        match value {
            Value::Text(text) => keeps(text).into_iter().collect(),
            Value::Texts(texts) => texts.iter().filter_map(keeps).collect(),
            Value::Delays(delays) if delays.is_empty() => {
                vec![Wrong::new("the list is empty", "write at least one delay, such as [\"1s\"]")]
            }
            Value::Delays(delays) => {
                let delays = delays.iter().map(|delay| Value::Duration(*delay));
                delays.filter_map(|delay| self.out_of_range(&delay, "a delay")).collect()
            }
            number => self.out_of_range(number, "it").into_iter().collect(),
        }
    }

    fn out_of_range(&self, value: &Value, what: &str) -> Option<Wrong> {
        let (least, most) = self.bounds();
        let side = if least.is_some_and(|least| *value < least) {
            "small"
        } else if most.is_some_and(|most| *value > most) {
            "large"
        } else {
            return None;
        };
        Some(Wrong::new(format!("{} is too {side}", value.show()), format!("{what} can be {}", self.range)))
    }

    /// The least and the most that the range says in numbers.
    fn bounds(&self) -> (Option<Value>, Option<Value>) {
        let kind = if matches!(self.kind, ValueType::Delays) { ValueType::Duration } else { self.kind };
        let bound = |text: &str| kind.parse(text).ok();
        if let Some((least, most)) = self.range.split_once(" to ") {
            (bound(least), bound(most))
        } else {
            (self.range.strip_suffix(" or more").and_then(bound), None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::{HOST, WORKLOAD};
    use super::*;

    #[test]
    fn each_row_says_what_it_is_and_has_a_default_and_a_range_that_are_read() {
        for key in HOST.iter().chain(WORKLOAD) {
            let path = key.path;
            assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{path}");
            assert!(key.more.is_empty() || key.more.ends_with('.'), "{path}");
            if let Unset::Value(text) = key.unset {
                assert_eq!(key.check(&key.parse(text).unwrap()), [], "{path}");
            }
            let numeric = matches!(
                key.kind,
                ValueType::Integer | ValueType::Number | ValueType::Size | ValueType::Duration | ValueType::Delays
            );
            if numeric && !key.range.is_empty() {
                let (least, most) = key.bounds();
                let described = key.range.contains("max x batch");
                let read = if key.range.contains(" to ") { most.is_some() } else { least.is_some() };
                assert!(described || read, "{path}: {}", key.range);
            }
        }
    }

    #[test]
    fn no_key_flag_or_variable_is_there_twice() {
        for keys in [HOST, WORKLOAD] {
            assert_eq!(keys.iter().map(|key| key.path).collect::<BTreeSet<_>>().len(), keys.len());
        }
        let all = || HOST.iter().chain(WORKLOAD);
        for names in [
            all().flat_map(|key| key.flag.into_iter().chain(key.switch.map(|(flag, ..)| flag))).collect::<Vec<_>>(),
            all().filter_map(|key| key.variable).collect(),
        ] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
        assert!(WORKLOAD.iter().all(|key| key.variable.is_none()), "which of the workloads would it be?");
    }

    #[test]
    fn a_value_out_of_its_range_is_told_the_range() {
        let key = Key::duration("x").range("1s to 1h");
        let wrong = |duration| key.check(&Value::Duration(duration)).pop().map(|wrong| wrong.to_string());
        assert_eq!(wrong(Duration::from_secs(3600)), None);
        assert_eq!(wrong(Duration::from_secs(3601)).unwrap(), "1h 1s is too large; it can be 1s to 1h");
        let key = Key::integer("x", "COUNT").range("16 or more");
        assert_eq!(key.check(&Value::Integer(15))[0].to_string(), "15 is too small; it can be 16 or more");
        assert_eq!(key.check(&Value::Integer(i64::MAX)), []);
    }
}
