//! The forms of an answer on standard output.

use std::io::{self, Write};

use serde::Serialize;

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

impl Output {
    /// Writes the whole answer: `json` as a line, or what `text` writes.
    pub(super) fn write<W: Write>(
        self,
        out: &mut W,
        json: &impl Serialize,
        text: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Json => json_line(out, json)?,
            Self::Text => text(out)?,
        }
        Ok(out.flush()?)
    }
}

/// Writes a value as one line of JSON.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(writeln!(out)?)
}
