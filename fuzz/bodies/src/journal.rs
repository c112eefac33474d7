use std::path::{Path, PathBuf};

use tempfile::TempDir;

use tidegate_lab::replay::shadow;
use tidegate_lab::simulate::recorded;
use tidegate_runtime::journal::{JournalError, JournalEvent, JournalLine, JournalReader, JournalState, Role};

thread_local! {
    static DIR: TempDir = TempDir::new().unwrap();
}

/// Any bytes as a journal: each line is read, or told to be wrong with its place; and so are its states, its arrivals
/// and the decisions of a shadow.
pub fn journal(bytes: &[u8]) {
    DIR.with(|dir| {
        let file = dir.path().join("journal.jsonl");
        std::fs::write(&file, bytes).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
        let whole = read(&file, lines);
        for workload in [None, Some("w")] {
            match shadow(std::slice::from_ref(&file), workload) {
                Ok(compared) => {
                    assert!(whole, "a journal that cannot be read is compared");
                    assert!(compared.ticks > 0 && compared.same <= compared.ticks, "{compared:?}");
                    let parted: u64 = compared.stretches.iter().map(|stretch| stretch.ticks).sum();
                    assert_eq!(parted, compared.ticks - compared.same, "{compared:?}");
                    assert!(compared.recorded_worker_seconds >= 0.0, "{compared:?}");
                }
                Err(error) => harmless(&error.to_string()),
            }
            arrivals(&file, workload, whole);
        }
    });
}

/// Whether all of it can be read.
fn read(file: &Path, lines: u64) -> bool {
    let mut reader = JournalReader::open(file).unwrap();
    loop {
        match reader.next() {
            Ok(Some(line)) => {
                let again = serde_json::to_string(&line).unwrap();
                serde_json::from_str::<JournalLine>(&again).unwrap();
                for (workload, role, state) in states(&line.event) {
                    if let Err(error) = reader.state(workload, role, state) {
                        told(&error, lines);
                    }
                }
            }
            Ok(None) => return true,
            Err(error) => {
                told(&error, lines);
                return false;
            }
        }
    }
}

fn states(event: &JournalEvent) -> Vec<(&str, Role, &JournalState)> {
    match event {
        JournalEvent::Init(init) => {
            let states = init.previous.iter().chain(&init.state);
            states.map(|state| (init.workload.as_str(), init.role, state)).collect()
        }
        JournalEvent::Decide(turn) => {
            let states = [&turn.state].into_iter().chain(turn.decision.as_ref().map(|decision| &decision.state));
            states.map(|state| (turn.workload.as_str(), turn.role, state)).collect()
        }
        JournalEvent::Dropped { .. } => Vec::new(),
    }
}

fn arrivals(file: &PathBuf, workload: Option<&str>, whole: bool) {
    match recorded(std::slice::from_ref(file), workload) {
        Ok(arrivals) => {
            assert!(whole, "arrivals of a journal that cannot be read");
            assert!(arrivals.rows().iter().all(|row| row.step > 0), "{arrivals:?}");
            assert!(arrivals.rows().windows(2).all(|pair| pair[0].end() <= pair[1].start), "{arrivals:?}");
        }
        Err(error) => harmless(&error.to_string()),
    }
}

fn told(error: &JournalError, lines: u64) {
    match error {
        JournalError::Line { line, problem, .. } => assert!((1..=lines).contains(line) && !problem.is_empty()),
        JournalError::Empty(_) => assert_eq!(lines, 1),
        other => panic!("{other}"),
    }
    harmless(&error.to_string());
}

/// Nothing that a terminal would act upon.
fn harmless(shown: &str) {
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
}
