//! The forms of an answer on standard output.

use clap::ValueEnum;

/// How the answer is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For a person.
    #[default]
    Text,
    /// One JSON object, for a program.
    Json,
}

/// How an answer with a table in it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReportFormat {
    /// For a person
    #[default]
    Text,
    /// One JSON object, for a program
    Json,
    /// A line for each policy
    Csv,
}
