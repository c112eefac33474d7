//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong. Shown on one line:
/// `tidegate.toml:12: workload.orders.scale.min: 5 is more than max, which is 4; lower min or raise max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that says it; `None` for flags, environment variables and text without a file.
    pub file: Option<PathBuf>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The dotted key, the flag or the environment variable; empty where the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong, at least one thing, in the order it was found. Shown one to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SourcePosition {
    /// The file, if it was one.
    pub(super) file: Option<PathBuf>,
    /// The line, from 1.
    pub(super) line: Option<usize>,
    /// The column in characters, from 1.
    pub(super) column: Option<usize>,
    /// The dotted key, the flag or the environment variable.
    pub(super) key: String,
}

impl SourcePosition {
    /// A flag, as in `--min`, or an environment variable.
    pub(super) fn named(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// The key `name` of the table that stands here.
    pub(super) fn child(&self, name: &str) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { key, ..self.clone() }
    }

    /// This place as it is told in an error about `other`: with its file, where that is another one.
    pub(super) fn beside(&self, other: &Self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) if self.file != other.file => format!("{} ({}:{line})", self.key, file.display()),
            _ => self.to_string(),
        }
    }

    pub(super) fn is_flag(&self) -> bool {
        self.key.starts_with("--")
    }

    /// An error about what stands here.
    pub(super) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// As seen from another place: `workload.orders.handler (line 3)`.
impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it was written.
    pub(super) place: SourcePosition,
}

impl<T> At<T> {
    /// A value from the flag or environment variable `key`.
    pub(super) fn named(key: &str, value: T) -> Self {
        Self { value, place: SourcePosition::named(key) }
    }

    pub(super) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        self.place.error(problem, remedy)
    }
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct Wrong {
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    pub(super) fn at(self, place: &SourcePosition) -> ConfigError {
        place.error(self.problem, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_file_line_key_problem_and_remedy() {
        let place = SourcePosition {
            file: Some("tidegate.toml".into()),
            line: Some(12),
            column: Some(1),
            key: "workload.orders.scale.min".into(),
        };
        let error = place.error("5 is more than max, which is 4", "lower min or raise max");
        assert_eq!(
            error.to_string(),
            "tidegate.toml:12: workload.orders.scale.min: 5 is more than max, which is 4; lower min or raise max"
        );
    }

    #[test]
    fn an_error_about_a_flag_begins_with_the_flag() {
        assert_eq!(SourcePosition::named("--min").error("a", "b").to_string(), "--min: a; b");
    }
}
