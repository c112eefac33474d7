//! What is found at servers that does not fit a configuration.

use super::Client;
use super::settings::{ConsumerVerdict, SettingsRefusal};
use super::setup_error::SetupError;
use crate::config::Workload;
use crate::permissions::{Denial, Lack};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct ServerCheck {
    /// What does not fit.
    pub found: Vec<Finding>,
    /// What works and may not be wanted.
    pub warnings: Vec<String>,
    /// What is missing and a host would make.
    pub made: Vec<ToMake>,
    /// What could not be looked at, and why.
    pub unchecked: Vec<String>,
}

/// Something that a host would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToMake {
    /// The name of the stream that it is; `None` of a consumer. A bucket is a stream.
    pub stream: Option<String>,
    /// What it is, as it is told.
    pub said: String,
}

/// Something that does not fit the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key of the configuration that it is about.
    pub key: Vec<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl ServerCheck {
    /// What several workloads ask for, such as what is denied, is seen by each, and reported once.
    pub(super) fn once_each(mut self) -> Self {
        let mut seen = Vec::new();
        self.found.retain(|finding| {
            let new = !seen.contains(finding);
            seen.push(finding.clone());
            new
        });
        self
    }

    /// Adds what a verdict says of the consumer of a workload on its stream.
    pub(super) fn judged(&mut self, workload: &str, (stream, consumer): (&str, &str), verdict: &ConsumerVerdict) {
        let said = verdict.warnings.iter().map(|said| format!("workload {workload}: consumer {consumer}: {said}"));
        self.warnings.extend(said);
        let key = ["workload", workload, "filter"];
        self.found.extend(verdict.unmatched.as_ref().map(|SettingsRefusal { problem, remedy }| {
            let problem = format!("consumer {consumer} on stream {stream} is given no message: {problem}");
            Finding::new(&key, problem, remedy.trim_end_matches('.'))
        }));
    }

    /// Adds a stream that a host would make.
    pub(super) fn makes_stream(&mut self, name: &str, said: String) {
        self.made.push(ToMake { stream: Some(name.to_owned()), said });
    }

    /// Adds what could not be looked at, once.
    pub(super) fn not_looked_at(&mut self, what: String) {
        if !self.unchecked.contains(&what) {
            self.unchecked.push(what);
        }
    }

    /// The same of a connection that is not the host's but a workload's: what is not of a workload's table says whose
    /// account it is about.
    pub(super) fn of_account(mut self, workload: &str) -> Self {
        let of_it = |said: String| format!("in the account of {workload}: {said}");
        for finding in &mut self.found {
            match finding.key.first().map(String::as_str) {
                Some("workload") => {}
                Some("nats") => drop(finding.key.splice(..0, ["workload".to_owned(), workload.to_owned()])),
                _ => finding.problem = of_it(std::mem::take(&mut finding.problem)),
            }
        }
        for made in &mut self.made {
            made.said = of_it(std::mem::take(&mut made.said));
        }
        self.unchecked = self.unchecked.into_iter().map(of_it).collect();
        self
    }
}

impl Finding {
    pub(super) fn new(key: &[&str], problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        Self { key, problem: problem.into(), remedy: remedy.into() }
    }

    /// What keeps a workload from being set up, as one line.
    pub(super) fn of(error: &SetupError, workload: &str, key: &[&str]) -> Self {
        let text = error.to_string();
        let text = text.strip_prefix(&format!("workload {workload}: ")).unwrap_or(&text);
        let parts = text.split_once("\n  ").or_else(|| text.split_once("; "));
        let (problem, remedy) = parts.unwrap_or((text, "the server's log may say more"));
        Self::new(key, problem, remedy.replace("\n  ", " ").trim_end_matches('.'))
    }

    pub(super) fn of_key_value(error: &SetupError, workload: &Workload) -> Self {
        Self::of(error, &workload.name, &["workload", workload.written_name(), "grants", "kv"])
    }

    pub(super) fn denied(client: &Client, denial: &Denial) -> Self {
        let Denial { verb, subject } = denial;
        let problem = format!("the NATS server does not let this user {verb} to `{subject}`");
        let allow = client.denied.grant(denial);
        Self::new(&["nats"], problem, format!("allow it to {verb} to `{allow}`; `tidegate permissions` prints all"))
    }

    pub(super) fn lack(Lack { verb, subject, why }: &Lack) -> Self {
        let problem = format!("the NATS server does not let this user {verb} to all of `{subject}` ({why})");
        Self::new(&["nats"], problem, "allow it; `tidegate permissions` prints all that a host needs")
    }
}
