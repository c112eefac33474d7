//! Fields of log lines, in which no text from outside can begin a line or act upon a terminal.

use std::fmt;

use tracing::field::Field;
use tracing_subscriber::field::{MakeExt, RecordFields};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use tidegate_runtime::text::escaped;

/// Without colours. Text stands in quotes where it is more than a word, however it was recorded.
#[derive(Debug, Default)]
pub(super) struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        debug_fn(field).delimited(" ").format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&escaped(&text))
    }
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => writer.write_str(&value),
        name => match word(&value) {
            Some(word) => write!(writer, "{name}={word}"),
            // What was recorded by how it is displayed has no quotes yet: an error, say.
            None if value.contains(char::is_whitespace) && !value.starts_with(['"', '[', '{']) => {
                write!(writer, "{name}={value:?}")
            }
            None => write!(writer, "{name}={value}"),
        },
    }
}

/// The word that stands in these quotes, if it is one.
fn word(quoted: &str) -> Option<&str> {
    let word = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '=' | '{' | '}');
    (!word.is_empty() && word.chars().all(is_plain)).then_some(word)
}
