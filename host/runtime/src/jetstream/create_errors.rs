//! What to do when the server refuses to make a stream or a consumer. The server's words name no key of the
//! configuration.

use crate::config::{DEAD_LETTERS, JOURNAL};

/// What the host wanted to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creation {
    /// The stream of a workload.
    Stream,
    /// A consumer of a workload.
    Consumer,
    /// The stream of dead letters.
    DeadLetters,
    /// The stream of the journal.
    Journal,
    /// A key-value bucket of a workload.
    Bucket,
    /// The bucket of the fleet.
    Fleet,
}

impl Creation {
    /// The table of the configuration that says what is made.
    fn table(self) -> &'static str {
        match self {
            Self::Stream | Self::Consumer | Self::Bucket => "the workload",
            Self::DeadLetters => "[dead-letters]",
            Self::Journal => "[journal]",
            Self::Fleet => "[fleet]",
        }
    }

    /// Whether that table has `max-bytes` for it.
    fn has_max_bytes(self) -> bool {
        matches!(self, Self::Stream | Self::DeadLetters | Self::Journal)
    }

    /// Whether that table has `replicas` for it. What a workload needs has one.
    fn has_replicas(self) -> bool {
        matches!(self, Self::DeadLetters | Self::Journal | Self::Fleet)
    }

    /// What to do where another stream has the subjects already. Only a workload's stream can have others.
    fn taken(self) -> Option<String> {
        let (subjects, key) = match self {
            Self::Stream => {
                return Some("Another stream has one of the subjects; change: subjects of the workload.".to_owned());
            }
            Self::Consumer => return None,
            Self::DeadLetters => (DEAD_LETTERS, "name that one in dead-letters.stream"),
            Self::Journal => (JOURNAL, "name that one in journal.stream"),
            Self::Bucket => ("$KV.NAME.> of the bucket", "name another bucket in grants.kv"),
            Self::Fleet => ("$KV.NAME.> of the bucket", "name another in fleet.bucket"),
        };
        Some(format!("Another stream has the subjects {subjects} already: {key}, or give its subjects up."))
    }
}

/// What to do about JetStream's error of this number; `None` where its words suffice.
pub(super) fn remedy(made: Creation, code: u64) -> Option<String> {
    let table = made.table();
    let key = |key: &str, what: &str| Some(format!("{what}: {key} of {table}."));
    match code {
        10113 | 10122 if !made.has_max_bytes() => Some(
            "The account limits the bytes of every stream: make the bucket yourself (`nats kv add NAME \
             --max-bucket-size=...`)."
                .into(),
        ),
        10113 => key("max-bytes", "The account wants a limit of bytes for every stream; give one"),
        10122 => key("max-bytes", "The account allows fewer bytes for one stream; give no more than it allows"),
        10047 | 10028 if !made.has_max_bytes() => {
            Some("The server has no storage left: make room, or give it more.".into())
        }
        10047 | 10028 => key(
            "max-bytes",
            "The server, or this account, has less storage than the stream wants; ask \
                                           for less, or give it more",
        ),
        10074 | 10005 if !made.has_replicas() => Some(
            "The server cannot have it: it is to have one replica in file storage; see whether a server of the \
             cluster has room."
                .into(),
        ),
        10074 => key("replicas", "This server is in no cluster, so one copy is all it can keep; set to 1"),
        10005 => key("replicas", "Too few servers of the cluster have room; ask for fewer"),
        10120 if !made.has_replicas() => {
            Some("The account has no limits for streams of one replica in file storage; have it given some.".into())
        }
        10120 => key(
            "replicas",
            "The account has no limits for streams of so many replicas; have it given some, or \
                                  change",
        ),
        10002 | 10027 if !made.has_max_bytes() => {
            Some("The account's limits are reached: have them raised, or delete what is not needed.".into())
        }
        10002 | 10027 => Some(format!(
            "The account's limits are reached: have them raised, delete what is not needed, or lower max-bytes of \
             {table}."
        )),
        10026 => Some(
            "No more consumers are allowed on the stream: delete one (`nats consumer rm`), or raise its \
                       max_consumers."
                .into(),
        ),
        10153 => Some(
            "The stream's consumer_limits.inactive_threshold is too short: `nats stream edit \
                       --limit-consumer-inactive=...`."
                .into(),
        ),
        10065 => made.taken(),
        10008 | 10023 | 10118 | 10119 | 10004 | 10075 | 10202 => {
            Some("The server cannot do it now; it is tried again.".into())
        }
        _ if made == Creation::Consumer => of_consumer(code),
        _ => None,
    }
}

/// The same for what only a consumer can be refused for.
fn of_consumer(code: u64) -> Option<String> {
    let key = |key: &str, what: &str| Some(format!("{what}: {key} of the workload."));
    match code {
        10121 => key(
            "max-ack-pending",
            "The server, the account or the stream's consumer_limits allow less; lower it, or scale.max or pull.batch",
        ),
        10093 => key("filter", "The stream has no such subjects; change"),
        10138 => key("filter", "The subjects overlap; change"),
        10099 | 10100 => key(
            "filter",
            "The stream has workqueue retention, and another consumer takes the same messages; use that one \
             (consumer), or limit this one",
        ),
        10101 => Some("The stream has workqueue retention, where each consumer begins at the beginning.".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_servers_numbers_name_the_key_that_mends_it() {
        for (made, code, expected) in [
            (Creation::Stream, 10113, "max-bytes of the workload"),
            (Creation::DeadLetters, 10113, "max-bytes of [dead-letters]"),
            (Creation::Journal, 10047, "max-bytes of [journal]"),
            (Creation::DeadLetters, 10074, "replicas of [dead-letters]"),
            (Creation::Consumer, 10121, "max-ack-pending of the workload"),
            (Creation::Stream, 10065, "subjects of the workload"),
            (Creation::Consumer, 10093, "filter of the workload"),
            (Creation::Fleet, 10120, "replicas of [fleet]"),
            (Creation::Journal, 10120, "replicas of [journal]"),
            (Creation::DeadLetters, 10065, "tidegate.dead.* already: name that one in dead-letters.stream"),
            (Creation::Journal, 10065, "tidegate.journal.* already: name that one in journal.stream"),
            (Creation::Fleet, 10065, "name another in fleet.bucket"),
            (Creation::Bucket, 10065, "name another bucket in grants.kv"),
            (Creation::Fleet, 10113, "make the bucket yourself"),
        ] {
            let said = remedy(made, code).unwrap();
            assert!(said.contains(expected), "{code}: {said}");
        }
        assert_eq!(remedy(Creation::Stream, 10003), None);
    }

    #[test]
    fn no_remedy_names_a_key_that_its_table_does_not_have() {
        let workload = ["subjects", "max-bytes", "filter", "max-ack-pending"];
        for (made, keys) in [
            (Creation::Stream, &workload[..2]),
            (Creation::Consumer, &workload[2..]),
            (Creation::Bucket, &[]),
            (Creation::DeadLetters, &["max-bytes", "replicas"]),
            (Creation::Journal, &["max-bytes", "replicas"]),
            (Creation::Fleet, &["replicas"]),
        ] {
            for said in (10000..10300).filter_map(|code| remedy(made, code)) {
                let (before, _) = said.split_once(&format!(" of {}.", made.table())).unwrap_or_default();
                let key = before.rsplit(' ').next().unwrap();
                assert!(key.is_empty() || keys.contains(&key), "{made:?}: {said}");
            }
        }
    }
}
