//! docs/troubleshooting.md quotes what the program says, and has all that a host warns of.

use std::path::Path;

const PAGE: &str = include_str!("../../docs/troubleshooting.md");
/// What stands for words that differ.
const DIFFERS: char = '…';
/// Warnings whose text is that of an error, which is in the page with its own words.
const NO_WORDS_OF_ITS_OWN: &[&str] = &["the NATS connection", "linux", "ok\\n"];

/// All of the program's sources, without the ends of lines that a text goes on over.
fn sources() -> Vec<String> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts = Vec::new();
    for product in ["cli/src", "runtime/src", "nats-server/src", "lab/src"] {
        read(&host.join(product), &mut texts);
    }
    texts
}

fn read(dir: &Path, texts: &mut Vec<String>) {
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            read(&path, texts);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let mut lines = code.split("\\\n");
            let first = lines.next().unwrap().to_owned();
            texts.push(lines.fold(first, |whole, line| whole + line.trim_start()));
        }
    }
}

/// The quoted texts, each by its fixed words.
fn quoted() -> Vec<Vec<&'static str>> {
    let cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let fixed = |(text, _): (&'static str, _)| text.split(DIFFERS).map(str::trim).filter(|part| part.len() > 1);
    cells.map(|cell| fixed(cell).collect()).collect()
}

/// The text of each `warn!` and `error!`: the last one in its parentheses.
fn warnings(source: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in ["warn!(", "error!("] {
        for (_, rest) in source.match_indices(name).map(|(at, _)| source.split_at(at + name.len())) {
            let all = rest.split(");\n").next().unwrap().replace("\\\"", "'");
            warnings.extend(all.split('"').skip(1).step_by(2).last().map(str::to_owned));
        }
    }
    warnings
}

/// The longest words of a text that stand in it as they are.
fn longest(text: &str) -> &str {
    text.split(['{', '}']).step_by(2).max_by_key(|part| part.len()).unwrap_or_default().trim()
}

#[test]
fn what_the_page_quotes_is_what_the_program_says() {
    let sources = sources();
    for parts in quoted() {
        for part in &parts {
            assert!(sources.iter().any(|source| source.contains(part)), "nothing in the program says `{part}`");
        }
    }
    assert!(quoted().len() > 70, "only {} texts were found", quoted().len());
}

#[test]
fn the_page_has_every_warning_of_a_host() {
    let quoted = quoted();
    let mut seen = 0;
    for text in sources().iter().flat_map(|source| warnings(source)) {
        let words = longest(&text);
        // Such as `{problem}`: the words are those of what is told.
        if words.len() < 12 || NO_WORDS_OF_ITS_OWN.contains(&words) {
            continue;
        }
        seen += 1;
        let is_there = quoted.iter().any(|parts| parts.iter().any(|part| text.contains(part) && part.len() > 8));
        assert!(is_there, "docs/troubleshooting.md does not say what to do about `{text}`");
    }
    assert!(seen > 30, "only {seen} warnings were found");
}
