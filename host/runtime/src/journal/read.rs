//! Reads journals, and says what is wrong with one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::entry::Role;
use super::line::{JournalEvent, JournalLine, JournalState, PolicyName, VERSION, digest};
use crate::digest::is_same;
use crate::text::plain;

/// The most bytes of a line: two states of 64 KiB in base64, a long reason, many settings.
const LONGEST: usize = 4 << 20;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened or read.
    #[error("the journal {file} cannot be read: {error}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the journal {0} is empty\n  A host writes one line for each decision: journal.path, or --journal.")]
    Empty(PathBuf),
    /// A line is not one of a journal.
    #[error("{file}:{line}: {problem}\n  {remedy}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It has several workloads, where one is meant.
    #[error("the journal has several workloads: {}\n  Say which with --workload.", .0.join(", "))]
    Workloads(Vec<String>),
    /// It has no decision that is meant.
    #[error("{0}")]
    Nothing(String),
    /// Several were given, and not in the order of time.
    #[error(
        "the journal {next} does not begin later than {before}, which is given before it\n  Give each once, and the \
         oldest first."
    )]
    Order {
        /// One that was given.
        before: PathBuf,
        /// The one that was given after it, and does not begin later.
        next: PathBuf,
    },
}

/// Which workloads journals are about, and which code decided for each.
#[derive(Debug, Default)]
pub struct Survey {
    live: BTreeMap<String, BTreeSet<PolicyName>>,
    /// When each journal begins with each workload: the time that the policy was told.
    begins: BTreeMap<String, Vec<(PathBuf, u64)>>,
}

impl Survey {
    /// Reads all of these journals.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn of(journals: &[PathBuf]) -> Result<Self, JournalError> {
        let mut survey = Self::default();
        for journal in journals {
            let mut reader = JournalReader::open(journal)?;
            let mut begun = BTreeSet::new();
            while let Some(line) = reader.next()? {
                if let JournalEvent::Decide(turn) = line.event {
                    if !begun.contains(&turn.workload) {
                        begun.insert(turn.workload.clone());
                        let begins = survey.begins.entry(turn.workload.clone()).or_default();
                        begins.push((journal.clone(), turn.observation.now_ms));
                    }
                    let live = survey.live.entry(turn.workload).or_default();
                    if turn.role == Role::Live {
                        live.insert(turn.policy);
                    }
                }
            }
        }
        Ok(survey)
    }

    /// The workload that is meant, the one that there is or the one that is wanted, where the journals go on with it
    /// one after the other.
    ///
    /// # Errors
    /// If it has no decision, if several could be meant, or if the journals are not in the order of time.
    pub fn workload(&self, wanted: Option<&str>) -> Result<String, JournalError> {
        let workload = self.meant(wanted)?;
        self.in_order(&workload)?;
        Ok(workload)
    }

    /// Whether each journal begins later than those before it. What lies before would be passed over without a word.
    fn in_order(&self, workload: &str) -> Result<(), JournalError> {
        let begins = self.begins.get(workload).map_or(&[][..], Vec::as_slice);
        let is_wrong = |pair: &&[(PathBuf, u64)]| matches!(pair, [(_, before), (_, next)] if next <= before);
        match begins.windows(2).find(is_wrong) {
            Some([(before, _), (next, _)]) => Err(JournalError::Order { before: before.clone(), next: next.clone() }),
            _ => Ok(()),
        }
    }

    fn meant(&self, wanted: Option<&str>) -> Result<String, JournalError> {
        let all = || self.live.keys().cloned().collect::<Vec<_>>();
        let nothing = |text: String| Err(JournalError::Nothing(plain(&text)));
        match (wanted, all().as_slice()) {
            (None, []) => nothing("the journal has no decision".to_owned()),
            (None, [only]) => Ok(only.clone()),
            (None, several) => Err(JournalError::Workloads(several.iter().map(|name| plain(name)).collect())),
            (Some(wanted), all) if all.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
            (Some(wanted), []) => nothing(format!("the journal has no decision of workload {wanted}, nor of another")),
            (Some(wanted), all) => {
                nothing(format!("the journal has no decision of workload {wanted}; it has {}", all.join(", ")))
            }
        }
    }

    /// Whether this code alone made all live decisions that are meant.
    pub fn decided(&self, workload: Option<&str>, policy: &PolicyName) -> bool {
        let meant = self.live.iter().filter(|(name, _)| workload.is_none_or(|wanted| wanted == *name));
        meant.flat_map(|(_, live)| live).all(|other| is_same(&other.generation, &policy.generation))
    }
}

/// Reads a file line by line, and knows the bytes of each state.
pub struct JournalReader {
    file: PathBuf,
    lines: BufReader<File>,
    number: u64,
    states: HashMap<(String, Role), (String, Vec<u8>)>,
}

/// The part of a line that tells its version.
#[derive(serde::Deserialize)]
struct Version {
    journal: Option<u32>,
}

impl JournalReader {
    /// Opens a journal.
    ///
    /// # Errors
    /// [`JournalError::Io`] if it cannot be opened.
    pub fn open(file: &Path) -> Result<Self, JournalError> {
        let opened = File::open(file).map_err(|error| JournalError::Io { file: file.to_owned(), error })?;
        Ok(Self { file: file.to_owned(), lines: BufReader::new(opened), number: 0, states: HashMap::new() })
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// An error at the line that was read last.
    pub(crate) fn wrong(&self, problem: impl Into<String>, remedy: &'static str) -> JournalError {
        // A problem may quote the line, and has one of its own.
        let problem = plain(&problem.into());
        JournalError::Line { file: self.file.clone(), line: self.number, problem, remedy }
    }

    /// The next line.
    ///
    /// # Errors
    /// If it is not a line of a journal of this version.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to hide that an error ends it")]
    pub fn next(&mut self) -> Result<Option<JournalLine>, JournalError> {
        let mut text = Vec::new();
        let limit = LONGEST as u64 + 1;
        let read = std::io::Read::take(&mut self.lines, limit).read_until(b'\n', &mut text);
        read.map_err(|error| JournalError::Io { file: self.file.clone(), error })?;
        if text.is_empty() {
            return if self.number == 0 { Err(JournalError::Empty(self.file.clone())) } else { Ok(None) };
        }
        self.number += 1;
        if text.len() > LONGEST {
            return Err(self.wrong("it is longer than any line of a journal", "name a file that a host wrote"));
        }
        let line = parse(&text).map_err(|(problem, remedy)| self.wrong(problem, remedy))?;
        if matches!(line.event, JournalEvent::Dropped { .. }) {
            self.states.clear();
        }
        Ok(Some(line))
    }

    /// The bytes of a state in the line that was read last. States have to be asked for in the order in which they are
    /// written.
    ///
    /// # Errors
    /// If the journal does not have them, or others than its digest says.
    pub fn state(&mut self, workload: &str, role: Role, state: &JournalState) -> Result<Vec<u8>, JournalError> {
        let key = (workload.to_owned(), role);
        let bytes = match (&state.bytes, self.states.get(&key)) {
            (Some(text), _) => BASE64_STANDARD
                .decode(text)
                .map_err(|error| self.wrong(format!("a state is not base64: {error}"), "it was changed by hand"))?,
            (None, Some((digest, bytes))) if *digest == state.digest => bytes.clone(),
            (None, _) => {
                return Err(self.wrong(
                    format!("the bytes of its state are not in the journal before it (workload {workload})"),
                    "begin at the file's first line, or at one whose states have \"bytes\"",
                ));
            }
        };
        if digest(&bytes) != state.digest {
            return Err(self.wrong("a state is not the one that its digest names", "it was changed by hand"));
        }
        self.states.insert(key, (state.digest.clone(), bytes.clone()));
        Ok(bytes)
    }
}

/// Reads a line, with its end; otherwise says what is wrong with it, and what to do.
pub fn parse(text: &[u8]) -> Result<JournalLine, (String, &'static str)> {
    const REMEDY: &str = "name a file that a host wrote";
    let is_whole = text.ends_with(b"\n");
    match serde_json::from_slice(text) {
        Err(_) if !is_whole => {
            return Err((
                "it is cut off: the file ends in the middle of it".to_owned(),
                "remove this line, or copy the whole file once more",
            ));
        }
        Err(error) => return Err((format!("it is not a line of a journal: {error}"), REMEDY)),
        Ok(Version { journal: None }) => {
            return Err(("it is JSON, but has no \"journal\" with the version of its form".to_owned(), REMEDY));
        }
        Ok(Version { journal: Some(version) }) if version != VERSION => {
            return Err((
                format!("it has the form of version {version}, and this program reads version {VERSION}"),
                "use the tidegate that wrote it, or a newer one",
            ));
        }
        Ok(_) => {}
    }
    serde_json::from_slice(text).map_err(|error| (format!("it is not a line of a journal: {error}"), REMEDY))
}

impl std::fmt::Debug for JournalReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalReader").field("file", &self.file).field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::config::Limits;
    use crate::contract::{Author, Decision, Observation};
    use crate::journal::line::LineWriter;
    use crate::journal::{Entry, PolicyBounds, PolicyCall};

    fn problem(text: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("j");
        std::fs::write(&file, text).unwrap();
        let mut reader = JournalReader::open(&file).unwrap();
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return "none".to_owned(),
                Err(error) => return error.to_string().replace(&file.display().to_string(), "j"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let good = "{\"journal\":1,\"time\":\"t\",\"host\":\"h\",\"event\":\"dropped\",\"lines\":1}\n";
        assert_eq!(problem(good.as_bytes()), "none");
        for (text, expected) in [
            ("", "the journal j is empty"),
            ("second,arrivals\n", "j:1: it is not a line of a journal: expected value at line 1 column 1"),
            ("{}\n", "j:1: it is JSON, but has no \"journal\""),
            (
                "{\"journal\":2,\"event\":\"new\"}\n",
                "j:1: it has the form of version 2, and this program reads version 1",
            ),
            (
                "{\"journal\":1,\"time\":\"t\",\"host\":\"h\",\"event\":\"init\",\"workload\":\"w\",\"role\":\"live\",\
                 \"policy\":{\"name\":\"../p\",\"generation\":\"g\"}}\n",
                "j:1: it is not a line of a journal: \"../p\" is no plugin's name",
            ),
            ("{\"journal\":1}\n", "j:1: it is not a line of a journal: missing field `time`"),
            (&format!("{good}{}", &good[..40]), "j:2: it is cut off: the file ends in the middle of it"),
        ] {
            assert!(problem(text.as_bytes()).starts_with(expected), "{}", problem(text.as_bytes()));
        }
        assert!(problem(&[0xff, b'\n']).starts_with("j:1: it is not a line of a journal"));
        assert!(problem(&vec![b'x'; LONGEST + 9]).starts_with("j:1: it is longer"));
    }
    #[test]
    fn journals_that_are_not_in_the_order_of_time_or_come_twice_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let journal = |name: &str, seconds: std::ops::Range<u64>| {
            let mut writer = LineWriter::new("h".to_owned());
            let line = |second: u64| {
                let seen = Observation { now_ms: second * 1000, ..Observation::default() };
                let answer = Ok(Decision { desired: 1, reason: String::new(), state: Vec::new() });
                Entry {
                    at: UNIX_EPOCH + Duration::from_secs(second),
                    workload: "w".into(),
                    role: Role::Live,
                    policy: Author { plugin: "p".into(), generation: "g".into() },
                    settings: [].into(),
                    bounds: PolicyBounds::of(&Limits::default()),
                    call: PolicyCall::Decide {
                        seen,
                        arrivals: second,
                        state: Vec::new(),
                        answer,
                        made: None,
                        fleet: None,
                    },
                }
            };
            let text: Vec<u8> = seconds.flat_map(|second| writer.line(&line(second))).collect();
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let (first, second, third) = (journal("j.2", 0..5), journal("j.1", 5..9), journal("j", 9..12));
        let meant = |files: &[&PathBuf]| {
            let files: Vec<PathBuf> = files.iter().copied().cloned().collect();
            Survey::of(&files).unwrap().workload(None).map_err(|error| error.to_string())
        };
        assert_eq!(meant(&[&first, &second, &third]), Ok("w".to_owned()));
        let told = |next: &PathBuf, before: &PathBuf| {
            let (next, before) = (next.display(), before.display());
            Err(format!(
                "the journal {next} does not begin later than {before}, which is given before it\n  Give each once, \
                 and the oldest first."
            ))
        };
        assert_eq!(meant(&[&third, &second, &first]), told(&second, &third));
        assert_eq!(meant(&[&first, &third, &second]), told(&second, &third));
        assert_eq!(meant(&[&first, &first]), told(&first, &first));
    }
}
