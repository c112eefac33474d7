//! The types that a value may have, and how it is read from TOML and from text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::error::Wrong;
use super::setting::Setting;
use super::units::{self, quoted};
use super::words::{Word, choose, listed};

/// The type of a key's value.
#[derive(Debug, Clone, Copy)]
pub enum ValueType {
    /// A string.
    Text,
    /// The path of a file or a directory.
    Path,
    /// One string or a list of them.
    Texts,
    /// One of a few words.
    Word(fn() -> Vec<&'static str>),
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number that may have a fraction.
    Number,
    /// Bytes, as in `64MiB`.
    Size,
    /// As in `5s`.
    Duration,
    /// A list of durations.
    Delays,
    /// Strings by names that are not known beforehand.
    Table,
}

/// A value. Its `Debug` keeps it, for it may be a secret.
#[derive(Clone, PartialEq, PartialOrd)]
pub enum Value {
    /// Of the kinds `Text`, `Path` and `Word`.
    Text(String),
    /// Of the kind `Texts`.
    Texts(Vec<String>),
    /// Of the kind `Boolean`.
    Boolean(bool),
    /// Of the kind `Integer`.
    Integer(i64),
    /// Of the kind `Number`; finite.
    Number(f64),
    /// Of the kind `Size`, in bytes.
    Size(u64),
    /// Of the kind `Duration`.
    Duration(Duration),
    /// Of the kind `Delays`.
    Delays(Vec<Duration>),
    /// Of the kind `Table`.
    Table(BTreeMap<String, Setting>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl ValueType {
    /// Reads a value of a file. A table's are read one by one, by [`setting_value`].
    pub(super) fn read(self, value: &DeValue<'_>) -> Result<Value, Wrong> {
        match (self, value) {
            (Self::Text | Self::Path, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
            (Self::Text | Self::Path, _) => Err(wrong_type("a string", value, "write it in quotes")),
            (Self::Word(words), DeValue::String(text)) => {
                choose(text, &words()).map(|word| Value::Text(word.to_owned()))
            }
            (Self::Word(words), _) => Err(wrong_type("a string", value, &format!("it can be {}", listed(&words())))),
            (Self::Texts, _) => texts(value).map(Value::Texts),
            (Self::Integer, DeValue::Integer(written)) => integer(written).map(Value::Integer),
            (Self::Integer, _) => {
                Err(wrong_type("an integer", value, "write it without quotes and without a fraction, such as 10"))
            }
            (Self::Boolean, DeValue::Boolean(value)) => Ok(Value::Boolean(*value)),
            (Self::Boolean, _) => Err(wrong_type("a boolean", value, "write true or false, without quotes")),
            (Self::Number, DeValue::Float(written)) => number(written.as_str()),
            (Self::Number, DeValue::Integer(written)) => number(&written.to_string()),
            (Self::Number, _) => Err(wrong_type("a number", value, "write it without quotes, such as 0.5")),
            (Self::Size, DeValue::String(text)) => units::size(text).map(Value::Size),
            (Self::Size, DeValue::Integer(number)) => {
                let remedy = format!("write it with a unit and in quotes, such as \"{number}B\" or \"{number}MiB\"");
                Err(wrong_type("a size", value, &remedy))
            }
            (Self::Size, _) => Err(wrong_type("a size", value, "write a string such as \"64MiB\"")),
            (Self::Duration, _) => duration(value).map(Value::Duration),
            (Self::Delays, DeValue::Array(items)) => {
                items.iter().map(|item| duration(item.get_ref())).collect::<Result<_, _>>().map(Value::Delays)
            }
            (Self::Delays, _) => Err(wrong_type("a list of durations", value, "write a list such as [\"1s\", \"5s\"]")),
            (Self::Table, _) => Err(wrong_type("a table", value, "write its keys below a line of its own")),
        }
    }

    /// Reads a value as a flag or a variable has it: lists with commas between, and of a table one `KEY=VALUE`.
    pub(super) fn parse(self, text: &str) -> Result<Value, Wrong> {
        Ok(match self {
            Self::Text | Self::Path => Value::Text(text.to_owned()),
            Self::Word(words) => Value::Text(choose(text, &words())?.to_owned()),
            Self::Texts => Value::Texts(text.split(',').map(str::to_owned).collect()),
            Self::Integer => Value::Integer(text.trim().parse().map_err(|_| {
                Wrong::new(format!("{} is not an integer", quoted(text)), "write it without a fraction, such as 10")
            })?),
            Self::Boolean => Value::Boolean(text.trim().parse().map_err(|_| {
                Wrong::new(format!("{} is neither true nor false", quoted(text)), "write true or false")
            })?),
            Self::Number => number(text.trim())?,
            Self::Size => Value::Size(units::size(text)?),
            Self::Duration => Value::Duration(units::duration(text)?),
            Self::Delays => Value::Delays(text.split(',').map(units::duration).collect::<Result<_, _>>()?),
            Self::Table => {
                let (name, text) = setting(text)?;
                Value::Table(BTreeMap::from([(name, Setting::Text(text))]))
            }
        })
    }
}

impl Value {
    /// What is given again: it adds to a list or a table, and replaces everything else.
    pub(super) fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::Texts(mut all), Self::Texts(more)) => {
                all.extend(more);
                Self::Texts(all)
            }
            (Self::Delays(mut all), Self::Delays(more)) => {
                all.extend(more);
                Self::Delays(all)
            }
            (Self::Table(mut all), Self::Table(more)) => {
                all.extend(more);
                Self::Table(all)
            }
            (_, later) => later,
        }
    }

    /// A number as a person reads it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Size(bytes) => units::show_size(bytes),
            Self::Duration(duration) => units::show_duration(duration),
            Self::Text(_) | Self::Texts(_) | Self::Delays(_) | Self::Table(_) => format!("{self:?}"),
        }
    }
}

/// A type that the program uses, made of a value.
pub(super) trait FromValue: Sized {
    /// `None` if the value is of another kind.
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Boolean(value) = value { Some(value) } else { None }
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Texts(texts) = value { Some(texts) } else { None }
    }
}

impl FromValue for Duration {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Duration(duration) = value { Some(duration) } else { None }
    }
}

impl FromValue for Vec<Duration> {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Delays(delays) = value { Some(delays) } else { None }
    }
}

impl FromValue for Vec<(String, String)> {
    fn from_value(value: Value) -> Option<Self> {
        let Value::Table(table) = value else { return None };
        table.into_iter().map(|(name, setting)| Some((name, setting.text()?.to_owned()))).collect()
    }
}

impl FromValue for Vec<(String, Setting)> {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Table(table) = value { Some(table.into_iter().collect()) } else { None }
    }
}

impl<W: Word> FromValue for W {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value { W::parse(&text).ok() } else { None }
    }
}

/// Integers and bytes. The key's range must lie within the type.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl FromValue for $number {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(number).ok(),
                    Value::Size(bytes) => Self::try_from(bytes).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

numbers!(u32 u64 i64 usize);

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let remedy = "write \"one\" or [\"one\", \"two\"]";
    match value {
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Array(items) => {
            let strings = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(wrong_type("a list of strings", other, remedy)),
            });
            strings.collect()
        }
        other => Err(wrong_type("a string or a list of strings", other, remedy)),
    }
}

fn integer(written: &DeInteger<'_>) -> Result<i64, Wrong> {
    wide(written)
        .and_then(|integer| i64::try_from(integer).ok())
        .ok_or_else(|| Wrong::new(format!("{written} is too large"), "write a smaller integer"))
}

fn number(written: &str) -> Result<Value, Wrong> {
    let number = written.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    let wrong = || Wrong::new(format!("{} is not a number", quoted(written)), "write it as 0.5");
    number.map(Value::Number).ok_or_else(wrong)
}

fn wide(written: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(written.as_str(), written.radix()).ok()
}

fn duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match value {
        DeValue::String(text) => units::duration(text),
        DeValue::Integer(number) => {
            let remedy = format!("write it with a unit and in quotes, such as \"{number}s\" or \"{number}ms\"");
            Err(wrong_type("a duration", value, &remedy))
        }
        other => Err(wrong_type("a duration", other, "write a string such as \"5s\" or \"250ms\"")),
    }
}

/// A value of a table of strings. Numbers and booleans are taken as they are written.
pub(super) fn setting_value(value: &DeValue<'_>) -> Result<String, Wrong> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(integer) => {
            Ok(wide(integer).map_or_else(|| integer.to_string(), |integer| integer.to_string()))
        }
        DeValue::Float(float) => Ok(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => Ok(boolean.to_string()),
        other => Err(wrong_type("a string, a number or a boolean", other, "write it as a string")),
    }
}

/// A setting as `KEY=VALUE`.
///
/// # Errors
/// If it has no key.
pub fn setting(text: &str) -> Result<(String, String), Wrong> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(Wrong::new("a setting has a key and a value", "write it as KEY=VALUE")),
    }
}

/// What is wrong with a value of another type than `expected`.
fn wrong_type(expected: &str, found: &DeValue<'_>, remedy: &str) -> Wrong {
    Wrong::new(format!("expected {expected}, found {}", type_of(found)), remedy)
}

/// The type of a value, with its article.
pub(super) fn type_of(value: &DeValue<'_>) -> String {
    let noun = value.type_str();
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
