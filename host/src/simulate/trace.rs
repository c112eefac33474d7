//! Reads a trace: a CSV file of `second,arrivals`.
//!
//! Each row says how many messages arrived from its second up to that of the next row. Steps may differ, so where rows are
//! missing the one before them is taken to last longer. The last row lasts as long as the one before it.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::arrivals::{Arrivals, Row};

const HEADER: &str = "second,arrivals";
const SECOND: u64 = 1_000_000_000;
/// The most messages of a row, and the most seconds of a trace (100 years).
const MOST: u64 = 1_000_000_000;
const LONGEST: u64 = 3_155_760_000;

/// Reads a trace's file.
///
/// # Errors
/// Where it cannot be read, and what is wrong in which line.
pub fn read(file: &Path) -> anyhow::Result<Arrivals> {
    let text = std::fs::read(file).with_context(|| format!("cannot read the trace {}", file.display()))?;
    let Ok(text) = String::from_utf8(text) else {
        bail!("{}: not a text file; a trace is CSV with the columns {HEADER}", file.display());
    };
    parse(&text).map_err(|Wrong { line, problem }| anyhow::anyhow!("{}:{line}: {problem}", file.display()))
}

/// What is wrong in which line.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    problem: String,
}

fn parse(text: &str) -> Result<Arrivals, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines()).map(|(line, text)| (line, text.trim()));
    let wrong = |line: usize, problem: String| Wrong { line, problem };
    match lines.next() {
        None => return Err(wrong(1, format!("the file is empty; write {HEADER} and a row for each step"))),
        Some((_, HEADER)) => {}
        Some((line, found)) => {
            return Err(wrong(line, format!("the columns are {:?}; they must be {HEADER}", shorten(found))));
        }
    }
    let mut read: Vec<(u64, u64)> = Vec::new();
    let mut blank = None;
    for (line, text) in lines {
        if text.is_empty() {
            blank = blank.or(Some(line));
            continue;
        }
        if let Some(blank) = blank {
            return Err(wrong(blank, "an empty line between rows; delete it".to_owned()));
        }
        let row = row(text).map_err(|problem| wrong(line, problem))?;
        if let Some((last, _)) = read.last()
            && row.0 <= *last
        {
            let problem = if row.0 == *last { "comes twice" } else { "is before that of the row above" };
            return Err(wrong(line, format!("second {} {problem}; seconds must ascend", row.0)));
        }
        read.push(row);
    }
    if read.is_empty() {
        return Err(wrong(1, "there are no rows; write one for each step".to_owned()));
    }
    Ok(Arrivals::new(rows(&read)))
}

fn row(text: &str) -> Result<(u64, u64), String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [second, arrivals] = fields.as_slice() else {
        let count = fields.len();
        return Err(format!("{count} column{} where {HEADER} has 2", if count == 1 { "" } else { "s" }));
    };
    Ok((number("second", second, LONGEST)?, number("arrivals", arrivals, MOST)?))
}

fn number(column: &str, text: &str, most: u64) -> Result<u64, String> {
    let shown = shorten(text);
    match text.parse::<u64>() {
        Ok(number) if number <= most => Ok(number),
        Ok(_) => Err(format!("{column} is {shown}; the most is {most}")),
        Err(_) if text.starts_with('-') => Err(format!("{column} is {shown:?}; it must not be negative")),
        Err(_) => Err(format!("{column} is {shown:?}; it must be a whole number")),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// From seconds and counts to rows from 0 on.
fn rows(read: &[(u64, u64)]) -> Vec<Row> {
    let first = read.first().map_or(0, |(second, _)| *second);
    let seconds = || read.iter().map(|(second, _)| *second);
    let mut steps: Vec<u64> = seconds().zip(seconds().skip(1)).map(|(second, next)| next - second).collect();
    steps.push(steps.last().copied().unwrap_or(1));
    let row = |((second, count), step): (&(u64, u64), u64)| Row {
        start: (second - first) * SECOND,
        step: step * SECOND,
        count: *count,
    };
    read.iter().zip(steps).map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> (usize, String) {
        let Wrong { line, problem } = parse(text).unwrap_err();
        (line, problem)
    }

    #[test]
    fn a_row_lasts_until_the_next_and_the_last_as_long_as_the_one_before() {
        let arrivals = parse("second,arrivals\r\n10,3\r\n11,0\r\n311,7\r\n\r\n").unwrap();
        let row = |start, step, count| Row { start: start * SECOND, step: step * SECOND, count };
        assert_eq!(arrivals.rows(), [row(0, 1, 3), row(1, 300, 0), row(301, 300, 7)]);
        assert_eq!(parse("second,arrivals\n0,5").unwrap().length(), SECOND);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let (line, problem) = wrong("time,count\n0,1\n");
        assert_eq!((line, problem.as_str()), (1, "the columns are \"time,count\"; they must be second,arrivals"));
        for (text, line, part) in [
            ("", 1, "the file is empty"),
            ("second,arrivals\n", 1, "there are no rows"),
            ("second,arrivals\n0,1,2\n", 2, "3 columns where second,arrivals has 2"),
            ("second,arrivals\n0,1\n7\n", 3, "1 column where"),
            ("second,arrivals\n0,1\n1,-4\n", 3, "arrivals is \"-4\"; it must not be negative"),
            ("second,arrivals\n0,1\n1,1.5\n", 3, "arrivals is \"1.5\"; it must be a whole number"),
            ("second,arrivals\n0,1\n5,1\n4,1\n", 4, "second 4 is before that of the row above"),
            ("second,arrivals\n0,1\n5,1\n5,1\n", 4, "second 5 comes twice"),
            ("second,arrivals\n0,1\n\n5,1\n", 3, "an empty line"),
            ("second,arrivals\n0,99999999999\n", 2, "the most is 1000000000"),
        ] {
            let (at, problem) = wrong(text);
            assert!(at == line && problem.contains(part), "{text:?}: {at}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), rows in "(second,arrivals\n)?([0-9,.\n-]{0,60})") {
            let _ = (parse(&text), parse(&rows));
        }
    }
}
