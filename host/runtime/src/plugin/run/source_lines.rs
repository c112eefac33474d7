//! Which file and line of its source a guest's code was compiled from, where the component carries that. Pure.
//!
//! Read once, when the component is loaded, from the line tables of its debug information (`.debug_line` of DWARF),
//! into a sorted list of a bounded size; a fault then takes a search in that list. Rejected: wasmtime's own reading of
//! debug information. It reads all of it for each frame of each trap, copies names of any length, and calls itself for
//! inlined functions as deep as they are nested, all of which is the guest's to choose.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use gimli::{AttributeValue, DebugLine, DebugLineOffset, EndianSlice, LineProgramHeader, LittleEndian};
use wasmparser::{Parser, Payload};

use crate::plugin::limits::lines::{FILES, HEADER_BYTES, PATH_BYTES, ROWS, TABLE_BYTES};

/// How many parts of an absolute path are told: the directory of a crate or library, one within it, and the file.
const PARTS: usize = 3;
/// What the path of a library's source has: Rust's own, and crates that were fetched.
const LIBRARIES: [&str; 3] = ["/rustc/", "/rustlib/", "/registry/src/"];

/// Bytes of the longest path that is read.
const LONGEST: usize = 1 << 10;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The lines of all modules of a component, by position in the component's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceLines {
    /// Sorted by position.
    rows: Box<[Row]>,
    files: Box<[File]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct File {
    path: Box<str>,
    /// Whether it is a library's, and not what the guest's author wrote.
    is_library: bool,
}

/// From this position on to that of the next row, code is of this line. Line 0 is no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    at: u32,
    line: u32,
    file: u32,
}

impl SourceLines {
    /// The lines of a component. `None` where it has none, or more than the host keeps, or they cannot be read.
    pub(crate) fn of(component: &[u8]) -> Option<Arc<Self>> {
        let (mut found, mut open) = (Collected::default(), Vec::new());
        for payload in Parser::new(0).parse_all(component) {
            match payload.ok()? {
                Payload::Version { .. } => open.push(ModuleParts::default()),
                Payload::End(_) => open.pop()?.read_into(&mut found)?,
                Payload::CodeSectionStart { range, .. } => open.last_mut()?.code = Some(range),
                Payload::CustomSection(section) => open.last_mut()?.keep(section.name(), section.data()),
                _ => {}
            }
        }
        found.sorted().map(Arc::new)
    }

    /// The file and line of the code at this position, as in `src/lib.rs:12`. Where a library's function was inlined,
    /// its line is not what the guest's author looks for: the last line before it, in the function that begins at
    /// `start`, that is of no library is told too.
    pub(crate) fn at(&self, start: usize, position: usize) -> Option<String> {
        let (start, position) = (u32::try_from(start).ok()?, u32::try_from(position).ok()?);
        let upto = self.rows.partition_point(|row| row.at <= position);
        let (row, before) = self.rows.get(..upto)?.split_last()?;
        let (file, line) = self.told(row)?;
        let own = || {
            let within = before.iter().rev().take_while(|row| row.at >= start);
            within.filter_map(|row| self.told(row)).find(|(file, _)| !file.is_library)
        };
        match own().filter(|_| file.is_library) {
            Some((near, at)) => Some(format!("{}:{line}, near {}:{at}", file.path, near.path)),
            None => Some(format!("{}:{line}", file.path)),
        }
    }

    fn told(&self, row: &Row) -> Option<(&File, u32)> {
        let file = self.files.get(usize::try_from(row.file).ok()?)?;
        (row.line > 0 && !file.path.is_empty()).then_some((file, row.line))
    }
}

/// What is read of one module.
#[derive(Default)]
struct ModuleParts<'a> {
    code: Option<Range<usize>>,
    lines: &'a [u8],
    strings: &'a [u8],
    line_strings: &'a [u8],
}

impl<'a> ModuleParts<'a> {
    fn keep(&mut self, name: &str, data: &'a [u8]) {
        match name {
            ".debug_line" => self.lines = data,
            ".debug_str" => self.strings = data,
            ".debug_line_str" => self.line_strings = data,
            _ => {}
        }
    }

    /// Adds the module's lines. `None` if there are too many.
    fn read_into(self, found: &mut Collected) -> Option<()> {
        let Some(code) = self.code.clone().filter(|_| !self.lines.is_empty()) else { return Some(()) };
        found.bytes = found.bytes.saturating_add(self.lines.len());
        if found.bytes > TABLE_BYTES {
            return None;
        }
        let mut offset = 0;
        while let Some(length) = self.lines.get(offset..).and_then(program_length) {
            // One that cannot be read says nothing; the others do.
            self.program(offset, &code, found)?;
            offset = offset.checked_add(length)?;
        }
        Some(())
    }

    /// Adds the lines of one unit. `None` if there are too many.
    fn program(&self, offset: usize, code: &Range<usize>, found: &mut Collected) -> Option<()> {
        let section: DebugLine<Bytes<'a>> = DebugLine::new(self.lines, LittleEndian);
        let Ok(program) = section.program(DebugLineOffset(offset), 4, None, None) else { return Some(()) };
        let mut names = Names { of: self, indices: HashMap::new() };
        let (mut sequence, mut rows) = (Vec::new(), program.rows());
        while let Ok(Some((header, row))) = rows.next_row() {
            if found.rows.len().saturating_add(sequence.len()) >= ROWS {
                return None;
            }
            let at = usize::try_from(row.address()).unwrap_or(usize::MAX);
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            let is_end = row.end_sequence();
            let file = if is_end { 0 } else { names.index(header, row.file_index(), found)? };
            let line = if is_end { 0 } else { line };
            if let Ok(at) = u32::try_from(at.saturating_add(code.start)) {
                sequence.push(Row { at, line, file });
            }
            if is_end {
                found.take(&mut sequence, code);
            }
        }
        Some(())
    }
}

/// The length of the program that begins here, with its header. `None` at the end, and where it is no program that is
/// to be read: one whose header is so large would make a far larger list of files.
fn program_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok()?.checked_add(4)?;
    let version = u16::from_le_bytes(bytes.get(4..6)?.try_into().ok()?);
    // Since version 5, the sizes of an address and of a segment's number stand before the header's length.
    let header = number(if version >= 5 { 8 } else { 6 })?;
    (length <= bytes.len() && usize::try_from(header).ok()? <= HEADER_BYTES).then_some(length)
}

/// The files of one unit, by the number that they have there.
struct Names<'m, 'a> {
    of: &'m ModuleParts<'a>,
    indices: HashMap<u64, u32>,
}

impl<'a> Names<'_, 'a> {
    /// The index of a file among those that were found. `None` if there are too many.
    fn index(&mut self, header: &LineProgramHeader<Bytes<'a>>, number: u64, found: &mut Collected) -> Option<u32> {
        if let Some(index) = self.indices.get(&number) {
            return Some(*index);
        }
        let index = found.file(File::of(&self.path(header, number)))?;
        self.indices.insert(number, index);
        Some(index)
    }

    /// The path of a file. Empty if it has none.
    fn path(&self, header: &LineProgramHeader<Bytes<'a>>, number: u64) -> String {
        let Some(file) = header.file(number) else { return String::new() };
        let name = self.text(file.path_name());
        // Directory 0 is the one that was compiled in, which tells a reader nothing.
        let directory = match file.directory_index() {
            0 => Cow::default(),
            _ => file.directory(header).map(|directory| self.text(directory)).unwrap_or_default(),
        };
        if directory.is_empty() || name.starts_with('/') { name.into_owned() } else { format!("{directory}/{name}") }
    }

    /// A text, empty if it is longer than any path.
    fn text(&self, value: AttributeValue<Bytes<'a>>) -> Cow<'a, str> {
        let bytes = match value {
            AttributeValue::String(text) => Some(text.slice()),
            AttributeValue::DebugStrRef(at) => until_zero(self.of.strings, at.0),
            AttributeValue::DebugLineStrRef(at) => until_zero(self.of.line_strings, at.0),
            _ => None,
        };
        bytes.filter(|bytes| bytes.len() <= LONGEST).map(String::from_utf8_lossy).unwrap_or_default()
    }
}

/// The text at this place, which ends with a zero.
fn until_zero(strings: &[u8], at: usize) -> Option<&[u8]> {
    let rest = strings.get(at..)?;
    let window = rest.get(..LONGEST.saturating_add(1)).unwrap_or(rest);
    window.get(..window.iter().position(|byte| *byte == 0)?)
}

impl File {
    fn of(path: &str) -> Self {
        Self { path: short(path).into(), is_library: LIBRARIES.iter().any(|part| path.contains(part)) }
    }
}

/// What a reader needs of a path: all of a relative one, the end of an absolute one, and no control characters.
fn short(path: &str) -> String {
    let path: String = path.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    let is_absolute = path.starts_with(['/', '\\']) || path.chars().nth(1) == Some(':');
    let told = if is_absolute { parts.len().saturating_sub(PARTS) } else { 0 };
    let told = parts.get(told..).unwrap_or_default().join("/");
    match told.len().checked_sub(PATH_BYTES) {
        None | Some(0) => told,
        Some(more) => format!("...{}", told.get(told.ceil_char_boundary(more)..).unwrap_or_default()),
    }
}

/// The lines that were found so far.
#[derive(Default)]
struct Collected {
    bytes: usize,
    rows: Vec<Row>,
    files: HashMap<File, u32>,
}

impl Collected {
    /// The index of a file. `None` if there are too many.
    fn file(&mut self, file: File) -> Option<u32> {
        let next = u32::try_from(self.files.len()).ok().filter(|next| *next < FILES);
        match self.files.entry(file) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(new) => next.map(|next| *new.insert(next)),
        }
    }

    /// Takes a run of rows, without those that say the same as the one before. A function that the linker left out has
    /// a run at the beginning of the code or outside of it, where no function is.
    fn take(&mut self, sequence: &mut Vec<Row>, code: &Range<usize>) {
        let first = sequence.first().map_or(usize::MAX, |row| usize::try_from(row.at).unwrap_or(usize::MAX));
        if first > code.start && first < code.end {
            sequence.dedup_by(|next, before| (next.line, next.file) == (before.line, before.file));
            self.rows.append(sequence);
        }
        sequence.clear();
    }

    fn sorted(mut self) -> Option<SourceLines> {
        if self.rows.is_empty() {
            return None;
        }
        // The end of a run comes before the beginning of the next at the same position.
        self.rows.sort_by_key(|row| (row.at, row.line > 0));
        let mut files: Vec<(File, u32)> = self.files.into_iter().collect();
        files.sort_by_key(|(_, index)| *index);
        Some(SourceLines { rows: self.rows.into(), files: files.into_iter().map(|(file, _)| file).collect() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    /// Of version 4, with the file 1, `dir/own.rs`, and 2, of Rust's library.
    fn program(code: &[u8], files: &[u8]) -> Vec<u8> {
        let directories = b"dir\0/rustc/0a1b/library/core/src\0\0";
        let rest = [&[1, 1, 1, 0xfd, 12, 13][..], &[0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1], directories, files].concat();
        let after_length = [&4_u16.to_le_bytes()[..], &u32::try_from(rest.len()).unwrap().to_le_bytes(), &rest, code];
        let after_length = after_length.concat();
        [&u32::try_from(after_length.len()).unwrap().to_le_bytes()[..], &after_length].concat()
    }

    const FILES: &[u8] = b"own.rs\0\x01\0\0option.rs\0\x02\0\0\0";
    const END: &[u8] = &[0, 1, 1];

    fn set_address(address: u32) -> Vec<u8> {
        [&[0, 5, 2][..], &address.to_le_bytes()].concat()
    }

    /// A row so many lines further, and the code after it so many bytes further.
    fn row(lines: u8, bytes: u8) -> [u8; 3] {
        [13 + 3 + lines, 2, bytes]
    }

    /// A component with one module that has these line tables, and where its code begins.
    fn component(lines: &[u8]) -> (Vec<u8>, usize) {
        let lines: String = lines.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let text =
            format!(r#"(component (core module (func {}) (@custom ".debug_line" "{lines}")))"#, "nop ".repeat(99));
        let bytes = wat::parse_str(text).unwrap();
        let start = Parser::new(0).parse_all(&bytes).find_map(|payload| match payload.unwrap() {
            Payload::CodeSectionStart { range, .. } => Some(range.start),
            _ => None,
        });
        (bytes, start.unwrap())
    }

    /// What is told of the code at these places of the module's code, in a function that begins at 10.
    fn told(lines: &[u8], places: &[usize]) -> Vec<Option<String>> {
        let (bytes, start) = component(lines);
        let lines = SourceLines::of(&bytes).unwrap();
        places.iter().map(|place| lines.at(start + 10, start + place)).collect()
    }

    #[test]
    fn code_is_of_the_last_line_that_began_before_it_and_of_none_outside_of_its_run() {
        let code = [&set_address(10)[..], &row(6, 5), &row(1, 5), END].concat();
        let line = |text: &str| Some(text.to_owned());
        let expected = [None, line("dir/own.rs:7"), line("dir/own.rs:7"), line("dir/own.rs:8"), None];
        assert_eq!(told(&program(&code, FILES), &[9, 10, 14, 15, 20]), expected);
    }

    #[test]
    fn beside_the_line_of_a_library_the_last_own_one_is_told() {
        let code = [&set_address(10)[..], &row(6, 5), &[4, 2], &row(1, 5), END].concat();
        let told = told(&program(&code, FILES), &[17]);
        assert_eq!(told, [Some("core/src/option.rs:8, near dir/own.rs:7".to_owned())]);
    }

    #[test]
    fn a_function_that_the_linker_left_out_has_no_lines() {
        for place in [0, u32::MAX, 1_000_000] {
            let code = [&set_address(place)[..], &row(6, 5), END].concat();
            assert!(SourceLines::of(&component(&program(&code, FILES)).0).is_none());
        }
    }

    #[test]
    fn more_than_is_kept_is_left_out_whole() {
        let many = [&set_address(10)[..], &[13 + 3].repeat(ROWS), END].concat();
        assert!(SourceLines::of(&component(&program(&many, FILES)).0).is_none());
        let large = [b"a.rs\0\0\0\0".repeat(HEADER_BYTES / 8 + 1), vec![0]].concat();
        let code = [&set_address(10)[..], &row(6, 5), END].concat();
        assert!(SourceLines::of(&component(&program(&code, &large)).0).is_none());
    }

    #[test]
    fn a_path_is_what_a_reader_needs_of_it() {
        assert_eq!(short("src/lib.rs"), "src/lib.rs");
        assert_eq!(short("/home/me/shout/./src/lib.rs"), "shout/src/lib.rs");
        assert_eq!(short("C:\\me\\shout\\src\\lib.rs"), "shout/src/lib.rs");
        assert_eq!(short("a\n\u{1b}[2J/b.c"), "a  [2J/b.c");
        let long = short(&format!("src/{}ö.rs", "ä".repeat(200)));
        assert!(long.len() <= PATH_BYTES + 3 && long.starts_with("...ä") && long.ends_with("äö.rs"), "{long}");
    }

    proptest! {
        #[test]
        fn no_table_breaks_its_reader(mut lines in prop::collection::vec(any::<u8>(), 0..200), keep in 0_usize..80) {
            let code = [&set_address(10)[..], &row(6, 5), &[4, 2], &row(1, 5), END].concat();
            let whole = program(&code, FILES);
            lines.splice(0..0, whole[..keep.min(whole.len())].iter().copied());
            let (bytes, start) = component(&lines);
            if let Some(lines) = SourceLines::of(&bytes) {
                for place in 0..200 {
                    lines.at(start, start + place);
                }
            }
        }
    }
}
