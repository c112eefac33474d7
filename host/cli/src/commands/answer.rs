//! The answer of a command on standard output.

use std::io::{self, Write};

use serde::Serialize;

/// How the answer is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For a person.
    #[default]
    Text,
    /// One JSON object, for a program.
    Json,
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
