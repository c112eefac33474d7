//! The commands: what their flags are, and what they print. Standard output is for the answer.

pub mod check;
pub mod demo;
pub mod last_word;
pub mod log;
pub mod request;
pub mod run;

/// How the answer is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For a person.
    #[default]
    Text,
    /// One JSON object, for a program.
    Json,
}
