//! What does not work between a host and its fleet, and what mends it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::units::show_duration;
use crate::ports::{Forgetting, KvError};

/// For how long a bucket keeps its keys at least where that matters to nobody: a leader writes its lease far more
/// often.
const LONG: Duration = Duration::from_secs(3600);

/// What a problem is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// Another process has the host's id.
    Doubled,
    /// The bucket cannot be found or made, or the host's entry cannot be written.
    Entry,
    /// The bucket cannot be watched.
    Watch,
    /// The bucket forgets what is written, and can be used so far.
    Forgetting,
}

impl Concern {
    /// Whether it keeps the host from the bucket.
    fn cuts_off(self) -> bool {
        matches!(self, Self::Entry | Self::Watch)
    }
}

/// The problems that a host has now with the bucket of this name.
pub(in crate::fleet) struct Problems {
    bucket: String,
    of: Mutex<BTreeMap<Concern, String>>,
    /// What was told last of a key that cannot be read.
    unreadable: Mutex<String>,
}

impl Problems {
    /// None so far.
    pub(super) fn new(bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), of: Mutex::default(), unreadable: Mutex::default() }
    }

    /// Notes whether something works.
    pub(super) fn note(&self, concern: Concern, problem: Option<String>) {
        let mut of = self.of.lock();
        match problem {
            Some(problem) => drop(of.insert(concern, problem)),
            None => drop(of.remove(&concern)),
        }
    }

    /// Whether this does not work.
    pub(super) fn has(&self, concern: Concern) -> bool {
        self.of.lock().contains_key(&concern)
    }

    /// What matters most of what does not work.
    pub(super) fn first(&self) -> Option<String> {
        let (concern, problem) = self.of.lock().first_key_value().map(|(of, text)| (*of, text.clone()))?;
        Some(if concern.cuts_off() { self.unusable(&problem) } else { problem })
    }

    /// Whether the bucket cannot be used.
    pub(super) fn cut_off(&self) -> bool {
        self.of.lock().keys().any(|concern| concern.cuts_off())
    }

    /// Why the bucket cannot be used, and what that means.
    pub(in crate::fleet) fn unusable(&self, problem: &str) -> String {
        let (bucket, problem) = (&self.bucket, problem.trim_end_matches(['.', ' ']));
        format!("the fleet's bucket {bucket} cannot be used: {problem}; meanwhile this host keeps its last share")
    }

    /// Logs what is wrong with a key, once.
    pub(in crate::fleet) fn tell_unreadable(&self, problem: String) {
        let mut told = self.unreadable.lock();
        if *told != problem {
            tracing::error!(bucket = self.bucket, "{problem}");
            *told = problem;
        }
    }
}

/// What is wrong with a bucket of this name that loses this.
pub(super) fn forgetting(bucket: &str, Forgetting { after, drops_oldest }: Forgetting) -> Option<String> {
    let lost = "and with it who leads, what people have set, and what the policy goes on from";
    let stream = format!("KV_{bucket}");
    match after.filter(|after| *after < LONG) {
        Some(after) => Some(format!(
            "the fleet's bucket {bucket} forgets what hosts write after {} (max_age), {lost}; `nats stream edit \
             {stream} --max-age=0s`",
            show_duration(&after)
        )),
        None => drops_oldest.then(|| {
            format!(
                "the fleet's bucket {bucket} forgets what was written first when it is full (discard old, with \
                 max_msgs or max_bytes), {lost}; `nats stream edit {stream} --discard=new --max-msgs=-1 \
                 --max-bytes=-1`"
            )
        }),
    }
}

/// What is told where a lease or a plan of this size is too large for the server, or for the bucket; `None` where
/// something else is wrong.
pub(in crate::fleet) fn plan_too_large(workload: &str, bytes: usize, error: &KvError) -> Option<String> {
    let why = too_large(error)?;
    Some(format!(
        "the plan of {workload} has {} with the policy's state, and {why}, or use a policy with less state; meanwhile \
         this host keeps its last share",
        rounded(bytes)
    ))
}

/// The same of a host's entry of this size, if that is what is wrong.
pub(super) fn entry_too_large(bytes: usize, error: KvError) -> KvError {
    match too_large(&error) {
        Some(why) => KvError::Refused(format!("the entry of this host has {}, and {why}", rounded(bytes))),
        None => error,
    }
}

/// Who takes nothing of that size, and what mends it.
fn too_large(error: &KvError) -> Option<String> {
    match error {
        KvError::Refused(why) => Some(format!("{why}; raise max_payload of the server")),
        KvError::TooLarge(why) => Some(why.clone()),
        KvError::NoBucket(_) | KvError::Conflict(_) | KvError::Unavailable(_) => None,
    }
}

/// What is told where there is no plan that this host can read, though another leads.
pub(in crate::fleet) fn no_plan(bucket: &str, workload: &str, leader: &str) -> String {
    format!(
        "the fleet's bucket {bucket} has no plan of {workload} that this host can read, though {leader} leads it, so \
         this host has no share; see what that host says, or have all written anew: `nats kv del {bucket} \
         leader.{workload}`"
    )
}

/// A size in a text that has to stay the same while the size changes a little.
fn rounded(bytes: usize) -> String {
    if bytes < 1024 { "less than 1 KiB".to_owned() } else { format!("{} KiB", bytes.div_ceil(1024)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_the_server_is_told_with_what_mends_it_and_the_same_each_time() {
        let why = "the server takes no more than 65536 bytes at once, headers included";
        let refused = KvError::Refused(why.to_owned());
        let told = plan_too_large("orders", 81_000, &refused).unwrap();
        assert!(told.contains("plan of orders has 80 KiB with the policy's state"), "{told}");
        assert!(told.contains(why) && told.contains("raise max_payload"), "{told}");
        assert_eq!(Some(told), plan_too_large("orders", 81_001, &refused));
        let entry = entry_too_large(81_000, refused).to_string();
        assert!(entry.contains("the entry of this host has 80 KiB, and") && entry.contains("max_payload"), "{entry}");
        let other = KvError::Unavailable("no answer".to_owned());
        assert_eq!(entry_too_large(81_000, other.clone()), other);
    }

    #[test]
    fn a_bucket_that_forgets_soon_is_told_with_what_mends_it() {
        let hour = Duration::from_secs(3600);
        let after = |after| forgetting("F", Forgetting { after, ..Forgetting::default() });
        assert_eq!(after(None), None);
        assert_eq!(after(Some(hour)), None);
        let problem = after(Some(Duration::from_secs(2))).unwrap();
        assert!(problem.contains("after 2s") && problem.contains("nats stream edit KV_F --max-age=0s"), "{problem}");
    }

    #[test]
    fn a_bucket_that_drops_what_was_written_first_is_told_with_what_mends_it() {
        let problem = forgetting("F", Forgetting { after: None, drops_oldest: true }).unwrap();
        assert!(problem.contains("when it is full (discard old"), "{problem}");
        assert!(problem.contains("nats stream edit KV_F --discard=new"), "{problem}");
    }

    #[test]
    fn what_is_too_large_for_the_bucket_is_no_matter_of_max_payload() {
        let why = "the bucket F takes no value of that size (max_msg_size); `nats stream edit KV_F --max-msg-size=-1`";
        let entry = entry_too_large(214, KvError::TooLarge(why.to_owned())).to_string();
        assert_eq!(entry, format!("the entry of this host has less than 1 KiB, and {why}"));
        let plan = plan_too_large("orders", 81_000, &KvError::TooLarge(why.to_owned())).unwrap();
        assert!(plan.contains(&format!("and {why}, or use a policy with less state")), "{plan}");
        assert!(!plan.contains("max_payload"), "{plan}");
    }

    #[test]
    fn what_cuts_a_host_off_is_told_before_what_does_not() {
        let problems = Problems::new("F");
        problems.note(Concern::Forgetting, Some("forgets".to_owned()));
        assert_eq!((problems.first().as_deref(), problems.cut_off()), (Some("forgets"), false));
        problems.note(Concern::Watch, Some("no right. ".to_owned()));
        assert!(problems.cut_off() && problems.first().unwrap().contains("cannot be used: no right; meanwhile"));
        problems.note(Concern::Watch, None);
        assert_eq!((problems.first().as_deref(), problems.cut_off()), (Some("forgets"), false));
    }
}
