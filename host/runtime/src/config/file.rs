//! What the user wrote: every key of the file, none of them decided.
//!
//! Flags and environment variables are turned into the same types, so that one can be laid over the other.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::document::{Field, Section, Source};
use super::error::{At, ConfigError};
use super::value::{Durations, Settings, Size, Strings};
use super::{Isolation, Manage, Retention};

/// Makes a struct of optional values out of a list of keys, with a reader that notes everything that is wrong.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($key:literal $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl $name {
            /// Reads all of the table.
            pub(super) fn read(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> Self {
                section.refuse_others(Self::KEYS, &[$(($key, <$type as Field>::KEYS)),*], problems);
                Self { $($field: Field::take(section, $key, problems),)* }
            }
        }

        impl Field for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn take(section: &Section<'_>, key: &str, problems: &mut Vec<ConfigError>) -> Self {
                section.table(key, problems).map(|table| Self::read(&table, problems)).unwrap_or_default()
            }

            fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.over(below.$field),)* }
            }
        }
    };
}

type Maybe<T> = Option<At<T>>;

table! {
    /// The whole file.
    File {
        "grace" grace: Maybe<Duration>,
        "http" http: Maybe<String>,
        "http-names" http_names: Maybe<Strings>,
        "nats" nats: NatsTable,
        "plugins" plugins: PluginsTable,
        "dead-letters" dead_letters: DeadLettersTable,
        "journal" journal: JournalTable,
        "workload" workloads: WorkloadTables,
    }
}

table! {
    /// `[nats]`
    NatsTable {
        "url" url: Maybe<Strings>,
        "context" context: Maybe<String>,
        "user" user: Maybe<String>,
        "password" password: Maybe<String>,
        "token" token: Maybe<String>,
        "nkey" nkey: Maybe<String>,
        "creds" creds: Maybe<String>,
        "ca" ca: Maybe<String>,
        "cert" cert: Maybe<String>,
        "key" key: Maybe<String>,
        "inbox-prefix" inbox_prefix: Maybe<String>,
    }
}

table! {
    /// `[plugins]`
    PluginsTable {
        "dir" dir: Maybe<String>,
        "rescan" rescan: Maybe<Duration>,
        "cache" cache: Maybe<String>,
        "max-size" max_size: Maybe<Size>,
        "compile-time" compile_time: Maybe<Duration>,
        "compile-memory" compile_memory: Maybe<Size>,
    }
}

table! {
    /// `[dead-letters]`
    DeadLettersTable {
        "stream" stream: Maybe<String>,
        "replicas" replicas: Maybe<i64>,
        "max-age" max_age: Maybe<Duration>,
        "max-bytes" max_bytes: Maybe<Size>,
    }
}

table! {
    /// `[journal]`
    JournalTable {
        "path" path: Maybe<String>,
        "max-size" max_size: Maybe<Size>,
        "keep" keep: Maybe<i64>,
        "stream" stream: Maybe<String>,
        "replicas" replicas: Maybe<i64>,
        "max-age" max_age: Maybe<Duration>,
        "max-bytes" max_bytes: Maybe<Size>,
    }
}

table! {
    /// `[workload.NAME]`
    WorkloadTable {
        "stream" stream: Maybe<String>,
        "consumer" consumer: Maybe<String>,
        "manage" manage: Maybe<Manage>,
        "subjects" subjects: Maybe<Strings>,
        "retention" retention: Maybe<Retention>,
        "max-bytes" max_bytes: Maybe<Size>,
        "filter" filter: Maybe<Strings>,
        "ack-wait" ack_wait: Maybe<Duration>,
        "max-ack-pending" max_ack_pending: Maybe<i64>,
        "max-waiting" max_waiting: Maybe<i64>,
        "handler" handler: Maybe<String>,
        "policy" policy: Maybe<String>,
        "isolation" isolation: Maybe<Isolation>,
        "settings" settings: Settings,
        "policy-settings" policy_settings: Settings,
        "shadow" shadow: ShadowTable,
        "scale" scale: ScaleTable,
        "pull" pull: PullTable,
        "grants" grants: GrantsTable,
        "limits" limits: LimitsTable,
        "retry" retry: RetryTable,
    }
}

table! {
    /// `[workload.NAME.shadow]`
    ShadowTable {
        "policy" policy: Maybe<String>,
        "policy-settings" policy_settings: Settings,
    }
}

table! {
    /// `[workload.NAME.scale]`
    ScaleTable {
        "min" min: Maybe<i64>,
        "max" max: Maybe<i64>,
        "interval" interval: Maybe<Duration>,
        "window" window: Maybe<Duration>,
        "source" source: Maybe<super::Source>,
        "watch-consumer" watch_consumer: Maybe<String>,
    }
}

table! {
    /// `[workload.NAME.pull]`
    PullTable {
        "batch" batch: Maybe<i64>,
        "max-bytes" max_bytes: Maybe<Size>,
        "expires" expires: Maybe<Duration>,
    }
}

table! {
    /// `[workload.NAME.grants]`
    GrantsTable {
        "publish" publish: Maybe<Strings>,
        "reply" reply: Maybe<Strings>,
    }
}

table! {
    /// `[workload.NAME.limits]`
    LimitsTable {
        "time" time: Maybe<Duration>,
        "memory" memory: Maybe<Size>,
        "table-elements" table_elements: Maybe<i64>,
        "instances" instances: Maybe<i64>,
        "fuel" fuel: Maybe<i64>,
        "response" response: Maybe<Size>,
        "publications" publications: Maybe<i64>,
        "log-rate" log_rate: Maybe<Size>,
        "respawns" respawns: Maybe<i64>,
    }
}

table! {
    /// `[workload.NAME.retry]`
    RetryTable {
        "max-attempts" max_attempts: Maybe<i64>,
        "backoff" backoff: Maybe<Durations>,
    }
}

/// `[workload]`: the workloads by name, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct WorkloadTables(pub(super) Vec<(At<String>, WorkloadTable)>);

impl Field for WorkloadTables {
    fn take(section: &Section<'_>, key: &str, problems: &mut Vec<ConfigError>) -> Self {
        let Some(section) = section.table(key, problems) else { return Self::default() };
        let tables = section.tables(problems);
        Self(tables.into_iter().map(|(name, table)| (name, WorkloadTable::read(&table, problems))).collect())
    }

    fn over(self, below: Self) -> Self {
        let mut workloads = below.0;
        for (name, table) in self.0 {
            match workloads.iter_mut().find(|(below, _)| below.value == name.value) {
                Some((_, below)) => *below = table.over(std::mem::take(below)),
                None => workloads.push((name, table)),
            }
        }
        Self(workloads)
    }
}

impl File {
    /// Reads the text of a file. What could be read comes even where something else is wrong.
    pub(super) fn parse(text: &str, file: Option<&Path>, problems: &mut Vec<ConfigError>) -> Self {
        let source = Source { text, file };
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            problems.extend(errors.into_iter().map(|error| {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                let place = source.place(String::new(), error.span());
                place.error(format!("this is not TOML: {message}"), "see https://toml.io for how TOML is written")
            }));
            return Self::default();
        }
        Self::read(&Section::document(source, document.get_ref()), problems)
    }
}
