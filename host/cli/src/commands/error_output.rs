//! The error that ends the program, on standard error.

use std::io::ErrorKind;

use tidegate_lab::log_output;
use tidegate_runtime::text::plain;

/// What every line begins with.
const NAME: &str = "tidegate: ";

/// Says why the program ends. Nothing if it ends because nobody reads its answer any more, as in `tidegate check |
/// head`.
pub fn say(error: &anyhow::Error) {
    let unread = error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
        || error.downcast_ref::<serde_json::Error>().is_some_and(|e| e.io_error_kind() == Some(ErrorKind::BrokenPipe));
    if !unread {
        write(&text(error));
    }
}

/// Writes a text to standard error, where every line that is not indented begins with the program's name. It may have
/// words of a guest or of a file, so nothing of it acts upon a terminal.
pub(super) fn write(text: &str) {
    for line in text.lines() {
        let name = if line.starts_with(' ') { "" } else { NAME };
        log_output::send(None, format!("{name}{}\n", plain(line)).into_bytes());
    }
}

/// An error and its causes, without those whose words are in it already.
fn text(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        assert_eq!(text(&anyhow!("no disk").context("cannot write x")), "cannot write x: no disk");
        assert_eq!(
            text(&anyhow!("no disk").context("cannot write x: no disk\n  Buy one.")),
            "cannot write x: no disk\n  Buy one."
        );
    }
}
