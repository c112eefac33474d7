//! Reads files that somebody gives, some of which have no end, such as /dev/zero.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Bytes of the largest file: a row for each second of a year, and more.
const LARGEST: u64 = 512 << 20;

/// The text of a file. `what` names what it is in a sentence, and `form` says what such a file looks like.
///
/// # Errors
/// If it cannot be read, has more than 512 MiB, or is not text.
pub fn text_of(file: &Path, what: &str, form: &str) -> anyhow::Result<String> {
    bounded(file, what, form, LARGEST)
}

fn bounded(file: &Path, what: &str, form: &str, most: u64) -> anyhow::Result<String> {
    let (shown, mut bytes) = (file.display(), Vec::new());
    let read = File::open(file).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    let length = read.with_context(|| format!("cannot read {what} {shown}"))?;
    if u64::try_from(length).is_ok_and(|length| length > most) {
        bail!("{shown}: it has more than {} MiB; {form}", most >> 20);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!("{shown}: not a text file; {form}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let read = |file: &Path, most| bounded(file, "the trace", "a trace is CSV", most);
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), "12345");
        let endless = read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string();
        assert_eq!(endless, "/dev/zero: it has more than 1 MiB; a trace is CSV");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(read(&file, 5).unwrap_err().to_string().ends_with("not a text file; a trace is CSV"));
        let missing = read(&directory.path().join("none"), 5).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the trace "), "{missing}");
    }
}
