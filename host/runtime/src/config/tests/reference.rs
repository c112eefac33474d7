//! `docs/configuration.md` and the example file are what the table of keys makes. `make docs` writes them anew.

use std::path::Path;

use super::keys::{Example, HOST, Key, Unset, WORKLOAD};
use super::*;

/// Where the comments of the example begin, and where a line ends.
const COLUMN: usize = 37;
const WIDTH: usize = 120;

const HEAD: &str = "\
# Every key there is, with its default unless its comment says otherwise; docs/configuration.md says more of them.
# This file is made of the program's table of keys: `make docs`.
# Durations need a unit (ms, s, m, h), sizes too (B, kB, KiB, MB, MiB, GB, GiB). Unknown keys are errors.
# Paths are relative to this file.
";

#[test]
fn the_page_and_the_example_are_what_the_table_of_keys_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|dir| dir.join("docs/configuration.md").exists());
    let made = |file: &str, make: &dyn Fn(&str) -> String| {
        let path = root.unwrap().join(file);
        let committed = std::fs::read_to_string(&path).unwrap();
        let made = make(&committed);
        if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
            std::fs::write(&path, made).unwrap();
        } else {
            assert!(made == committed, "{file} is not what the table of keys makes; `make docs` writes it anew");
        }
    };
    made("docs/configuration.md", &page);
    made("examples/tidegate.example.toml", &|_| example());
}

/// The keys by their tables, in the order of the rows: the name of the table and its keys.
fn tables(prefix: &str, keys: &'static [Key]) -> Vec<(String, Vec<&'static Key>)> {
    let mut tables: Vec<(String, Vec<&Key>)> = Vec::new();
    for key in keys {
        let names = [prefix, key.parts().0].into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>();
        let table = names.join(".");
        match tables.last_mut().filter(|(last, _)| *last == table) {
            Some((_, keys)) => keys.push(key),
            None => tables.push((table, vec![key])),
        }
    }
    tables
}

/// A default as TOML.
fn toml(key: &Key, text: &str) -> String {
    let quoted: Vec<String> = text.split(',').map(|part| format!("\"{part}\"")).collect();
    match key.kind {
        ValueType::Boolean | ValueType::Integer | ValueType::Number => text.to_owned(),
        ValueType::Delays => format!("[{}]", quoted.join(", ")),
        _ => quoted.join(", "),
    }
}

/// The page with the tables between their two lines made anew.
fn page(committed: &str) -> String {
    const END: &str = "<!-- end of keys -->";
    let mut page = committed.to_owned();
    for (table, keys) in tables("", HOST).into_iter().chain(tables("workload.NAME", WORKLOAD)) {
        let begin = format!("<!-- keys of [{table}], by `make docs` -->\n");
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| {
            panic!("docs/configuration.md has no place for the keys of [{table}]: give it a heading, and\n{begin}{END}")
        });
        let (_, after) = rest.split_once(END).unwrap();
        page = format!("{before}{begin}\n{}\n{END}{after}", page_table(&keys));
    }
    page
}

fn page_table(keys: &[&Key]) -> String {
    let cells = |key: &&Key| {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let flag = key.flag.map(|flag| format!("--{flag}"));
        let letter = key.letter.map(|letter| format!("-{letter}"));
        let switch = key.switch.map(|(flag, ..)| format!("--{flag}"));
        let flags = [flag, letter, switch].into_iter().flatten().map(|flag| code(&flag)).collect::<Vec<_>>();
        let default = match key.unset {
            Unset::Value(text) => code(&toml(key, text)),
            Unset::Derived(text) | Unset::Nothing(text) => text.to_owned(),
            Unset::Required(_) => "required".to_owned(),
        };
        let more = if key.more.is_empty() { String::new() } else { format!(" {}", key.more) };
        [
            code(key.parts().1),
            kind(key),
            default,
            key.range.to_owned(),
            key.applies.to_string(),
            flags.join(", "),
            code(key.variable.unwrap_or_default()),
            format!("{}.{more}", key.help),
        ]
    };
    let rows: Vec<_> = keys.iter().map(cells).collect();
    let names = ["key", "type", "default", "range", "applied by", "flag", "variable", "effect"];
    let used: Vec<usize> = (0..names.len()).filter(|column| rows.iter().any(|row| !row[*column].is_empty())).collect();
    let line = |cell: &dyn Fn(usize) -> String| {
        format!("| {} |\n", used.iter().map(|column| cell(*column)).collect::<Vec<_>>().join(" | "))
    };
    let ruler = format!("{}|\n", "|---".repeat(used.len()));
    let rows: String = rows.iter().map(|row| line(&|column| row[column].clone())).collect();
    line(&|column| names[column].to_owned()) + &ruler + &rows
}

fn kind(key: &Key) -> String {
    let kind = match key.kind {
        ValueType::Text => "string",
        ValueType::Path => "path",
        ValueType::Texts => "string or list",
        ValueType::Word(words) => {
            return words().iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
        }
        ValueType::Boolean => "boolean",
        ValueType::Integer => "integer",
        ValueType::Number => "number",
        ValueType::Size => "size",
        ValueType::Duration => "duration",
        ValueType::Delays => "list of durations",
        ValueType::Table => "table",
    };
    kind.to_owned()
}

/// The example file: all that the tables have, and then what has a table of its own in them.
fn example() -> String {
    let mut file = HEAD.to_owned();
    for (table, keys) in tables("", HOST).into_iter().chain(tables("workload.orders", WORKLOAD)) {
        let is_table = |key: &&&Key| matches!((key.kind, key.example), (ValueType::Table, Example::Set(_)));
        file.push('\n');
        if !table.is_empty() {
            let comment = keys.iter().all(|key| matches!(key.example, Example::Comment(_)));
            file += &format!("{}[{table}]\n", if comment { "# " } else { "" });
        }
        for key in keys.iter().filter(|key| !is_table(key)) {
            file += &example_line(key);
        }
        for key in keys.iter().filter(is_table) {
            let head = format!("[{table}.{}]", key.parts().1);
            let Example::Set(toml) = key.example else { continue };
            file += &format!("\n{}{toml}\n", commented(&head, key.help));
        }
    }
    file
}

fn example_line(key: &Key) -> String {
    let name = key.parts().1;
    let line = match (key.example, key.unset, key.kind) {
        (Example::Default, Unset::Value(text), _) => format!("{name} = {}", toml(key, text)),
        (Example::Default, ..) => panic!("{} has no default, so it needs a value for the example", key.path),
        (Example::Set(toml), ..) => format!("{name} = {toml}"),
        (Example::Comment(toml), _, ValueType::Table) => format!("# {name} = {{ {toml} }}"),
        (Example::Comment(toml), ..) => format!("# {name} = {toml}"),
    };
    let mut comment = key.help.to_owned();
    // Within a note a line is not broken.
    let mut note = |text: &str| comment += &format!(" [{}]", text.replace(' ', "\u{a0}"));
    if let ValueType::Word(words) = key.kind {
        note(&words().join(", "));
    }
    if !key.range.is_empty() {
        note(key.range);
    }
    match (key.example, key.unset) {
        (_, Unset::Required(_)) => note("required"),
        (Example::Default, _) | (_, Unset::Nothing("none")) => {}
        (_, Unset::Value(text) | Unset::Derived(text) | Unset::Nothing(text)) => note(&format!("default: {text}")),
    }
    commented(&line, &comment)
}

/// A line and its comment, on as many lines as that needs.
fn commented(line: &str, comment: &str) -> String {
    let mut lines = vec![format!("{:<COLUMN$}#", format!("{line} "))];
    for word in comment.split(' ') {
        if lines.last().unwrap().chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{:COLUMN$}#", ""));
        }
        let last = lines.last_mut().unwrap();
        last.push(' ');
        last.push_str(word);
    }
    lines.join("\n").replace('\u{a0}', " ") + "\n"
}
