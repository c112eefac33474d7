//! What a host answers by NATS.

use super::reader::Reader;

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
