//! What a host answers by NATS.

use super::error::Wrong;
use super::names::subject;
use super::reader::Reader;
use super::units::quoted;

/// The longest prefix, in bytes.
const LONGEST: usize = 255;

/// How a host answers as a NATS service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The host's id; `None` is one of this process alone.
    pub host: Option<String>,
    /// The first tokens of the subjects on which it is asked.
    pub prefix: String,
    /// Whether what is asked may change something.
    pub admin: bool,
    /// The subjects, with wildcards, to which answers may go. Whoever asks chooses one, and the host's rights are not
    /// theirs.
    pub replies: Vec<String>,
}

impl ServiceConfig {
    pub(super) fn read(keys: &mut Reader<'_>, host: Option<String>) -> Option<Self> {
        let (prefix, admin) = (keys.get("service.prefix"), keys.get("service.admin"));
        let config = Self { host, prefix, admin, replies: keys.get("service.replies") };
        if keys.get("service.enabled") {
            return Some(config);
        }
        for key in ["service.prefix", "service.admin", "service.replies"] {
            if keys.is_set(key) {
                let remedy = "set service.enabled = true, or leave it out";
                keys.problems.push(keys.place(key).error("it is of no use where the host is no NATS service", remedy));
            }
        }
        None
    }

    /// Whether an answer may go to a literal subject.
    pub(crate) fn may_reply(&self, subject: &str) -> bool {
        self.replies.iter().any(|granted| super::subjects_overlap(granted, subject))
    }
}

/// Checks the first tokens of the subjects of a service: no wildcards, and outside of what NATS keeps for itself.
pub(super) fn prefix(prefix: &str) -> Result<(), Wrong> {
    let remedy = "write a prefix such as \"tidegate.host\"";
    subject(prefix)?;
    if prefix.len() > LONGEST {
        return Err(Wrong::new(format!("{} is longer than {LONGEST} bytes", quoted(prefix)), remedy));
    }
    if prefix.split('.').any(|token| token == "*" || token == ">") {
        return Err(Wrong::new(format!("{} has a wildcard", quoted(prefix)), remedy));
    }
    if prefix.starts_with('$') {
        return Err(Wrong::new(format!("{} begins with $, which NATS keeps for itself", quoted(prefix)), remedy));
    }
    Ok(())
}

/// Checks where answers may go: subjects that begin with a token of their own, and not one of those on which a host
/// has rights that whoever asks has not.
pub(super) fn reply(pattern: &str) -> Result<(), Wrong> {
    subject(pattern)?;
    if pattern.starts_with(['$', '*', '>']) {
        let problem = format!("{} would let whoever asks have this host speak to JetStream", quoted(pattern));
        return Err(Wrong::new(problem, "write the inboxes of those who may ask, such as \"_INBOX_ops.>\""));
    }
    Ok(())
}
