//! `tidegate dead show`.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::args::{PlaceArgs, USAGE};
use super::filter::not_there;
use super::table::{object, pairs, seconds};
use crate::commands::error_output;
use crate::commands::output::{Output, json_line};
use crate::commands::{whole_number, workload_name};
use tidegate_runtime::dead_letter::{Headers, Letter, StoredMessage};
use tidegate_runtime::jetstream::{Letters, Original, content_lost};
use tidegate_runtime::text::{plain, plain_char};

const EXAMPLES: &str = "\
Examples:
  tidegate dead show 42
  tidegate dead show 42 --payload > order.json
  tidegate dead show 42 43 --output json | jq '.[].headers'";

/// Shows dead letters whole: why they died, all headers, and the payload.
///
/// A payload that is no printable text is shown as a hex dump. As JSON it is one array with an object for each letter,
/// and the payload is base64. Exit code 0: shown. 1: one of them is not there, or they cannot be read. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// The letters, by their sequence in the stream of dead letters
    #[arg(required = true, value_name = "SEQUENCE", value_parser = whole_number::<u64>(1..))]
    pub sequences: Vec<u64>,
    /// Of this workload; needed, with --config, where it has an account of its own
    #[arg(long, value_name = "NAME", value_parser = workload_name)]
    pub workload: Option<String>,
    /// Write the payload of one letter as it is, and nothing else
    #[arg(long, conflicts_with = "output")]
    pub payload: bool,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub place: PlaceArgs,
}

struct Shown {
    letter: Letter,
    stored: StoredMessage,
    /// None if the message that holds the content is gone.
    original: Option<Original>,
}

pub(super) async fn run(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if args.payload && args.sequences.len() > 1 {
        error_output::write("--payload writes the payload of one letter; give one sequence");
        return Ok(ExitCode::from(USAGE));
    }
    let letters = args.place.open(args.workload.as_deref()).await?;
    let (mut shown, mut missing) = (Vec::new(), Vec::new());
    for sequence in &args.sequences {
        match read(&letters, *sequence).await?.filter(|shown| is_of(shown, args.workload.as_deref())) {
            Some(letter) => shown.push(letter),
            None => missing.push(*sequence),
        }
    }
    let lost = shown.iter().find(|shown| shown.original.is_none()).map(|shown| shown.letter.sequence);
    if args.payload {
        if let Some(Shown { original: Some(original), .. }) = shown.first() {
            out.write_all(&original.payload)?;
        }
    } else if args.output == Output::Json {
        json_line(out, &shown.iter().map(json_of).collect::<Vec<_>>())?;
    } else {
        let texts: Vec<String> = shown.iter().map(|shown| text_of(shown, &letters)).collect();
        write!(out, "{}", texts.join("\n"))?;
    }
    out.flush()?;
    let said = not_there(&missing, &letters).or_else(|| Some(content_lost(lost?)));
    Ok(match said {
        Some(said) => {
            error_output::write(&said);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    })
}

fn is_of(shown: &Shown, workload: Option<&str>) -> bool {
    workload.is_none_or(|workload| shown.letter.workload == workload)
}

async fn read(letters: &Letters, sequence: u64) -> anyhow::Result<Option<Shown>> {
    let Some(stored) = letters.get(sequence).await? else { return Ok(None) };
    let Some(letter) = Letter::read(&stored) else { return Ok(None) };
    let original = letters.original(&letter, &stored).await?;
    Ok(Some(Shown { letter, stored, original }))
}

fn json_of(Shown { letter, stored, original }: &Shown) -> Value {
    let payload = original.as_ref().map(|original| &original.payload);
    let mut object = object(letter, payload.map_or(0, |payload| payload.len()));
    let headers = original.as_ref().map(|original| &original.headers);
    if let Some(fields) = object.as_object_mut() {
        fields
            .insert("headers".to_owned(), headers.and_then(|headers| headers.as_ref().ok()).map_or(Value::Null, pairs));
        let unreadable = headers.and_then(|headers| headers.as_ref().err()).map(|block| BASE64_STANDARD.encode(block));
        fields.insert("unreadable_headers".to_owned(), json!(unreadable));
        fields.insert("stored_headers".to_owned(), pairs(&stored.headers));
        fields.insert("payload".to_owned(), json!(payload.map(|payload| BASE64_STANDARD.encode(payload))));
    }
    object
}

fn text_of(Shown { letter, stored, original }: &Shown, letters: &Letters) -> String {
    let tries = letter.attempts.map_or_else(|| "unknown".to_owned(), |attempts| attempts.to_string());
    let published = letter.published.map(|time| format!(", stored {}", seconds(time))).unwrap_or_default();
    let mut text = format!("dead letter {} of {}, kept {}\n", letter.sequence, letters.stream(), seconds(letter.time));
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<9} {}", plain(value));
    };
    line("workload", &letter.workload);
    line("subject", &letter.subject);
    line("stream", &format!("{}, sequence {}{published}", letter.stream, letter.stream_sequence));
    line("attempts", &tries);
    line("cause", &letter.cause);
    line("reason", &letter.reason);
    for (at, written) in letter.stderr.lines().enumerate() {
        line(if at == 0 { "stderr" } else { "" }, &written.replace('\t', "    "));
    }
    if !letter.plugin.is_empty() {
        line("handler", &format!("{}@{}", letter.plugin, letter.generation));
    }
    line("host", &letter.host);
    if letter.redrives > 0 {
        let (stream, sequence) = &letter.first;
        line("redriven", &format!("{} times; it died first in {stream}, sequence {sequence}", letter.redrives));
    }
    match original {
        None => text.push_str(&format!("{}\n", content_lost(letter.sequence))),
        Some(Original { headers, payload }) => {
            text.push_str(&headers_of(headers, &stored.headers));
            text.push_str(&format!("payload, {} bytes\n{}", payload.len(), payload_of(payload)));
        }
    }
    text
}

/// The headers as they are stored, and those that are stored apart.
fn headers_of(original: &Result<Headers, Vec<u8>>, stored: &Headers) -> String {
    let list = |title: &str, headers: &Headers| {
        let lines: String =
            headers.iter().map(|(name, value)| format!("  {}: {}\n", plain(name), plain(value))).collect();
        format!("{title}\n{lines}")
    };
    let mut text = match original {
        Ok(headers) if headers.is_empty() => String::new(),
        Ok(headers) => list("headers of the original", headers),
        Err(block) => format!("headers of the original, which cannot be read\n{}", hex(block)),
    };
    text.push_str(&list("headers of the dead letter", stored));
    text
}

/// Text is what does nothing to a terminal but begin lines and stand at tabs: a `\r` alone would write over its line.
fn payload_of(payload: &[u8]) -> String {
    let text = std::str::from_utf8(payload).ok().map(|text| text.replace("\r\n", "\n"));
    match text.filter(|text| text.chars().all(|c| matches!(c, '\n' | '\t') || plain_char(c))) {
        Some(text) if text.is_empty() || text.ends_with('\n') => text,
        Some(text) => text + "\n",
        None => hex(payload),
    }
}

/// Sixteen bytes a line, with their position and as text.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let ascii: String = bytes
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:08x}  {hex:<48} |{ascii}|", line * 16);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_if_it_can_be_printed_and_a_hex_dump_otherwise() {
        assert_eq!(payload_of(b""), "");
        assert_eq!(payload_of("größe\tx\n".as_bytes()), "größe\tx\n");
        assert_eq!(payload_of(b"no end"), "no end\n");
        let expected = "00000000  1b 5b 32 4a 20 61 ff                             |.[2J a.|\n";
        assert_eq!(payload_of(b"\x1b[2J a\xff"), expected);
        assert_eq!(payload_of(b"a\r\nb\r\n"), "a\nb\n");
        for acts in ["this is shown\rHARMLESS", "a\u{202e}b"] {
            assert!(payload_of(acts.as_bytes()).starts_with("00000000  "), "{acts:?}");
        }
        assert!(payload_of(&[0; 17]).ends_with("00000010  00                                               |.|\n"));
    }
}
