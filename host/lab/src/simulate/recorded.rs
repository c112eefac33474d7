//! The arrivals that a journal tells of: what came between each decision and the next.

use std::path::PathBuf;

use anyhow::ensure;

use super::arrivals::{ArrivalRow, Arrivals};
use tidegate_runtime::journal::{JournalEvent, JournalReader, Role, Survey};
use tidegate_runtime::text::plain;

const MS: u64 = 1_000_000;
/// The longest that a journal can tell of, in milliseconds: 100 years.
const LONGEST: u64 = 3_155_760_000_000;

/// Reads the arrivals of one workload out of journals, the oldest first.
///
/// # Errors
/// If a journal cannot be read, or has fewer than two decisions of the workload.
pub fn recorded(journals: &[PathBuf], workload: Option<&str>) -> anyhow::Result<Arrivals> {
    let workload = Survey::of(journals)?.workload(workload)?;
    let mut marks = Vec::new();
    for journal in journals {
        let mut reader = JournalReader::open(journal)?;
        while let Some(line) = reader.next()? {
            if let JournalEvent::Decide(turn) = line.event
                && turn.workload == workload
                && turn.role == Role::Live
            {
                marks.push((turn.observation.now_ms, turn.arrivals));
            }
        }
    }
    let first = marks.first().map_or(0, |(now, _)| *now);
    ensure!(
        marks.iter().all(|(now, _)| now.saturating_sub(first) <= LONGEST),
        "the journal has decisions that are more than 100 years apart; it was changed by hand"
    );
    let rows = rows(&marks);
    ensure!(
        !rows.is_empty(),
        "the journal has fewer than two decisions of workload {} that are a while apart",
        plain(&workload)
    );
    Ok(Arrivals::new(rows))
}

/// From times in milliseconds and counts that only grow. A count that falls is that of another host, which began with
/// none; a time that does not grow is left out.
fn rows(marks: &[(u64, u64)]) -> Vec<ArrivalRow> {
    let Some(((first, begun), rest)) = marks.split_first() else { return Vec::new() };
    let (mut last, mut counted, mut rows) = (*first, *begun, Vec::new());
    let mut owed = 0_u64;
    for (now, arrivals) in rest {
        owed = owed.saturating_add(if *arrivals >= counted { arrivals - counted } else { *arrivals });
        counted = *arrivals;
        if *now > last {
            rows.push(ArrivalRow { start: (last - first) * MS, step: (now - last) * MS, count: owed });
            (last, owed) = (*now, 0);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_came_from_one_decision_to_the_next() {
        let told = |marks: &[(u64, u64)]| {
            rows(marks).into_iter().map(|row| (row.start / MS, row.step / MS, row.count)).collect::<Vec<_>>()
        };
        assert_eq!(told(&[(50, 7), (150, 9), (160, 9), (400, 19)]), [(0, 100, 2), (100, 10, 0), (110, 240, 10)]);
        // Another host goes on, and two decisions within a millisecond are one.
        assert_eq!(told(&[(50, 7), (150, 2), (150, 3), (250, 4)]), [(0, 100, 2), (100, 100, 2)]);
        assert_eq!(told(&[(50, 7)]), []);
        assert_eq!(told(&[]), []);
    }
}
