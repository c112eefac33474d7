//! Reads a trace: a CSV file of `second,arrivals`.
//!
//! Each row says how many messages arrived from its second up to that of the next row. The last row lasts as long as
//! most do.
//!
//! Rows may come a little late, as those of a monitoring system do. Where a row would last more than twice as long as
//! most, or more than a second where most last one, rows are missing.

use std::path::Path;

use super::arrivals::{ArrivalRow, Arrivals};
use super::given_file::text_of;

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
    let text = text_of(file, "the trace", &format!("a trace is CSV with the columns {HEADER}"))?;
    let Trace { arrivals, late } = of_text(&text).map_err(|wrong| anyhow::anyhow!("{}:{wrong}", file.display()))?;
    if let Some(LateRows { line, step, usual, count }) = late {
        tracing::warn!(
            "{}:{line}: comes {step} s after the row above, where most come after {usual} s; the row above is taken to \
             last as long ({count} such in all)",
            file.display()
        );
    }
    Ok(arrivals)
}

/// What a trace says.
#[derive(Debug)]
#[doc(hidden)]
pub struct Trace {
    pub arrivals: Arrivals,
    late: Option<LateRows>,
}

/// Rows that come later than usual: the line and the step of the first, the usual step, how many there are.
#[derive(Debug, PartialEq, Eq)]
struct LateRows {
    line: usize,
    step: u64,
    usual: u64,
    count: usize,
}

/// What is wrong in which line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {problem}")]
#[doc(hidden)]
pub struct TraceError {
    pub line: usize,
    problem: String,
}

/// Reads the text of a trace.
///
/// # Errors
/// With the line and what is wrong with it.
pub fn of_text(text: &str) -> Result<Trace, TraceError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines()).map(|(line, text)| (line, text.trim()));
    let wrong = |line: usize, problem: String| TraceError { line, problem };
    match lines.next() {
        None => return Err(wrong(1, format!("the file is empty; write {HEADER} and a row for each step"))),
        Some((_, HEADER)) => {}
        Some((line, found)) => {
            return Err(wrong(line, format!("the columns are {:?}; they must be {HEADER}", shorten(found))));
        }
    }
    let mut read: Vec<TraceRow> = Vec::new();
    let mut blank = None;
    for (line, text) in lines {
        if text.is_empty() {
            blank = blank.or(Some(line));
            continue;
        }
        if let Some(blank) = blank {
            return Err(wrong(blank, "an empty line between rows; delete it".to_owned()));
        }
        let (second, count) = row(text).map_err(|problem| wrong(line, problem))?;
        if let Some(last) = read.last()
            && second <= last.second
        {
            let problem = if second == last.second { "comes twice" } else { "is before that of the row above" };
            return Err(wrong(line, format!("second {second} {problem}; seconds must ascend")));
        }
        read.push(TraceRow { line, second, count });
    }
    if read.is_empty() {
        return Err(wrong(1, "there are no rows; write one for each step".to_owned()));
    }
    let usual = usual(&read);
    let late = late(&read, usual)?;
    Ok(Trace { arrivals: Arrivals::new(rows(&read, usual)), late })
}

/// A row as it is written.
struct TraceRow {
    line: usize,
    second: u64,
    count: u64,
}

fn steps(read: &[TraceRow]) -> impl Iterator<Item = (&TraceRow, u64)> {
    read.iter().skip(1).zip(read).map(|(row, before)| (row, row.second - before.second))
}

/// From one row to the next, as most are: the median.
fn usual(read: &[TraceRow]) -> u64 {
    let mut all: Vec<u64> = steps(read).map(|(_, step)| step).collect();
    all.sort_unstable();
    all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or(1)
}

/// Rows that come later than usual, if they do not come so late that others are missing.
fn late(read: &[TraceRow], usual: u64) -> Result<Option<LateRows>, TraceError> {
    let most = if usual == 1 { 1 } else { 2 * usual };
    let mut late = None;
    for (row, step) in steps(read).filter(|(_, step)| *step > usual) {
        if step > most {
            let problem = format!(
                "second {} comes {step} s after that of the row above, where most come after {usual} s; write the rows \
                 that are missing, with 0 where nothing arrived",
                row.second
            );
            return Err(TraceError { line: row.line, problem });
        }
        late.get_or_insert(LateRows { line: row.line, step, usual, count: 0 }).count += 1;
    }
    Ok(late)
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
fn rows(read: &[TraceRow], usual: u64) -> Vec<ArrivalRow> {
    let first = read.first().map_or(0, |row| row.second);
    let steps = steps(read).map(|(_, step)| step).chain([usual]);
    let row = |(row, step): (&TraceRow, u64)| ArrivalRow {
        start: (row.second - first) * SECOND,
        step: step * SECOND,
        count: row.count,
    };
    read.iter().zip(steps).map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> (usize, String) {
        let TraceError { line, problem } = of_text(text).unwrap_err();
        (line, problem)
    }

    #[test]
    fn a_row_lasts_until_the_next_and_the_last_as_long_as_most() {
        let trace = of_text("second,arrivals\r\n10,3\r\n310,0\r\n600,4\r\n1200,7\r\n\r\n").unwrap();
        let row = |start, step, count| ArrivalRow { start: start * SECOND, step: step * SECOND, count };
        assert_eq!(trace.arrivals.rows(), [row(0, 300, 3), row(300, 290, 0), row(590, 600, 4), row(1190, 300, 7)]);
        assert_eq!(trace.late, Some(LateRows { line: 5, step: 600, usual: 300, count: 1 }));
        let trace = of_text("second,arrivals\n0,5").unwrap();
        assert_eq!((trace.arrivals.length(), trace.late), (SECOND, None));
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
            (
                "second,arrivals\n0,1\n1,1\n2,1\n4,1\n",
                5,
                "second 4 comes 2 s after that of the row above, where most come after 1 s",
            ),
            ("second,arrivals\n0,1\n60,1\n120,1\n241,1\n", 5, "second 241 comes 121 s after"),
        ] {
            let (at, problem) = wrong(text);
            assert!(at == line && problem.contains(part), "{text:?}: {at}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), rows in "(second,arrivals\n)?([0-9,.\n-]{0,60})") {
            let _ = (of_text(&text), of_text(&rows));
        }
    }
}
