//! What a host does for its workloads, as it is written apart from its sign of life: only when it has changed, and
//! without what is as of a workload that has never done anything. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entries::Report;

/// After so many signs of life a host writes its figures again though they are the same, for the bucket may have been
/// purged.
const AGAIN: u32 = 20;

/// `figures.<id>`: what a host does, where its entry does not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Which process it is.
    pub(crate) boot: String,
    /// What it does, by workload.
    pub(crate) workloads: BTreeMap<String, Report>,
}

impl Figures {
    /// As they are written.
    pub(crate) fn text(&self) -> Vec<u8> {
        // Nothing in them is a number that JSON cannot have, nor a key that is no text.
        let mut all = serde_json::to_value(self).unwrap_or_default();
        let idle = serde_json::to_value(Report::idle()).unwrap_or_default();
        let workloads = all.get_mut("workloads").and_then(Value::as_object_mut);
        workloads.into_iter().flat_map(|of| of.values_mut()).for_each(|report| leave_out(report, &idle));
        serde_json::to_vec(&all).unwrap_or_default()
    }
}

/// Removes what is the same in both.
fn leave_out(value: &mut Value, same: &Value) {
    let (Value::Object(members), Value::Object(same)) = (value, same) else { return };
    members.retain(|key, member| match same.get(key) {
        Some(same) if member == same => false,
        Some(same) => {
            leave_out(member, same);
            true
        }
        None => true,
    });
}

/// What a host has written of its figures.
#[derive(Debug, Default)]
pub(crate) struct Written {
    text: Vec<u8>,
    revision: u64,
    /// Signs of life since then.
    since: u32,
}

impl Written {
    /// Whether they have to be written, now that they are these.
    pub(crate) fn is_due(&self, text: &[u8]) -> bool {
        self.since >= AGAIN || self.text != text
    }

    /// They are stored.
    pub(crate) fn stored(&mut self, text: Vec<u8>, revision: u64) {
        *self = Self { text, revision, since: 0 };
    }

    /// A sign of life is stored. In a bucket that was made anew revisions begin anew, and there are no figures.
    pub(crate) fn lives(&mut self, revision: u64) {
        self.since = if revision < self.revision { AGAIN } else { self.since.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::counters::Work;
    use crate::fleet::entries::read;

    fn figures(report: Report) -> Figures {
        Figures {
            boot: "b".to_owned(),
            workloads: [("idle".to_owned(), Report::idle()), ("w".to_owned(), report)].into(),
        }
    }

    #[test]
    fn they_are_read_as_they_were_and_a_workload_that_does_nothing_takes_no_more_than_its_name() {
        let work = Work { settled: 7, ..Work::default() };
        let busy = figures(Report { running: 2, work, waiting: true, ..Report::idle() });
        let text = busy.text();
        let expected = r#"{"boot":"b","workloads":{"idle":{},"w":{"running":2,"waiting":true,"work":{"settled":7}}}}"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(read::<Figures>("figures.a", &text), Ok(busy));
        let full = figures(Report { room: 0, ..Report::idle() });
        assert_eq!(read::<Figures>("figures.a", &full.text()), Ok(full));
    }

    #[test]
    fn they_are_written_when_they_change_and_now_and_then_and_in_another_bucket() {
        let mut written = Written::default();
        assert!(written.is_due(b"a"));
        written.stored(b"a".to_vec(), 5);
        for revision in 6..6 + u64::from(AGAIN) {
            assert!(!written.is_due(b"a") && written.is_due(b"b"), "{revision}");
            written.lives(revision);
        }
        assert!(written.is_due(b"a"));
        written.stored(b"a".to_vec(), 90);
        written.lives(2);
        assert!(written.is_due(b"a"));
    }
}
