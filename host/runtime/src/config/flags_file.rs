//! Flags as if they had been written in a file, to lay over the one that was.

use super::error::{At, ConfigError, ConfigErrors, Place};
use super::file::{
    DeadLettersTable, File, GrantsTable, JournalTable, LimitsTable, PluginsTable, PullTable, RetryTable, ScaleTable,
    ShadowTable, WorkloadTable, WorkloadTables,
};
use super::flags::{Flags, HostFlags, WorkloadFlags};
use super::value::{Durations, Settings, Size, Strings};

impl Flags {
    /// What the flags say, for a file that has the workloads `names`.
    pub(super) fn file(&self, names: &[At<String>], problems: &mut Vec<ConfigError>) -> File {
        let workloads = if self.workload == WorkloadFlags::default() {
            WorkloadTables::default()
        } else {
            match self.workload.target(names) {
                Ok(name) => WorkloadTables(vec![(name, self.workload.table())]),
                Err(errors) => {
                    problems.extend(errors.0);
                    WorkloadTables::default()
                }
            }
        };
        let host = &self.host;
        File {
            grace: flag("grace", &host.grace),
            http: flag("http", &host.http),
            http_names: flag("http-names", &host.http_names.clone().map(Strings)),
            nats: self.connection.table(),
            plugins: PluginsTable {
                dir: flag("plugins", &host.plugins),
                rescan: flag("rescan", &host.rescan),
                cache: host.cache(),
                max_size: flag("max-plugin-size", &host.max_plugin_size.map(Size)),
                compile_time: flag("compile-time", &host.compile_time),
                compile_memory: flag("compile-memory", &host.compile_memory.map(Size)),
            },
            dead_letters: DeadLettersTable {
                stream: flag("dead-letters", &host.dead_letters),
                ..DeadLettersTable::default()
            },
            journal: JournalTable { path: flag("journal", &host.journal), ..JournalTable::default() },
            workloads,
        }
    }
}

impl HostFlags {
    fn cache(&self) -> Option<At<String>> {
        if self.no_cache {
            return Some(At::named("--no-cache", "off".to_owned()));
        }
        flag("cache-dir", &self.cache_dir)
    }
}

impl WorkloadFlags {
    /// The workload that these flags are about.
    fn target(&self, names: &[At<String>]) -> Result<At<String>, ConfigErrors> {
        if let Some(name) = &self.workload {
            let at = At::named("--workload", name.clone());
            let known = names.iter().any(|known| known.value == *name);
            if known || names.is_empty() {
                return Ok(at);
            }
            let all: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
            return Err(at
                .error(format!("the file has no workload {name:?}"), format!("it has {}", all.join(", ")))
                .into());
        }
        match (names, &self.handler) {
            ([only], _) => Ok(At::named("--workload", only.value.clone())),
            ([], Some(handler)) => Ok(At::named("--workload", handler.clone())),
            ([], None) => {
                let place = Place::named("--handler");
                Err(place
                    .error("is missing", "give --handler NAME, the name of a plugin that handles a message")
                    .into())
            }
            _ => {
                let place = Place::named("--workload");
                let problem = "is missing, and the file has several workloads";
                Err(place.error(problem, "give --workload NAME to say which one the flags are about").into())
            }
        }
    }

    fn table(&self) -> WorkloadTable {
        let strings = |name, values: &Option<Vec<String>>| flag(name, &values.clone().map(Strings));
        WorkloadTable {
            stream: flag("stream", &self.stream),
            consumer: flag("consumer", &self.consumer),
            manage: flag("manage", &self.manage),
            subjects: strings("subjects", &self.subjects),
            retention: flag("retention", &self.retention),
            // The flag of that name is of the pulls.
            max_bytes: None,
            filter: strings("filter", &self.filter),
            ack_wait: flag("ack-wait", &self.ack_wait),
            max_ack_pending: flag("max-ack-pending", &self.max_ack_pending),
            max_waiting: flag("max-waiting", &self.max_waiting),
            handler: flag("handler", &self.handler),
            policy: flag("policy", &self.policy),
            isolation: flag("isolation", &self.isolation),
            settings: Settings(self.settings.iter().cloned().collect()),
            policy_settings: Settings(self.policy_settings.iter().cloned().collect()),
            shadow: ShadowTable {
                policy: flag("shadow", &self.shadow),
                policy_settings: Settings(self.shadow_settings.iter().cloned().collect()),
            },
            scale: ScaleTable {
                min: flag("min", &self.min),
                max: flag("max", &self.max),
                interval: flag("interval", &self.interval),
                window: flag("window", &self.window),
                source: flag("source", &self.source),
                watch_consumer: flag("watch-consumer", &self.watch_consumer),
            },
            pull: PullTable {
                batch: flag("batch", &self.batch),
                max_bytes: flag("max-bytes", &self.max_bytes.map(Size)),
                expires: flag("expires", &self.expires),
            },
            grants: GrantsTable {
                publish: strings("grant-publish", &self.grant_publish),
                reply: strings("grant-reply", &self.grant_reply),
            },
            limits: LimitsTable {
                time: flag("limit-time", &self.limit_time),
                memory: flag("limit-memory", &self.limit_memory.map(Size)),
                table_elements: flag("limit-table-elements", &self.limit_table_elements),
                instances: flag("limit-instances", &self.limit_instances),
                fuel: flag("limit-fuel", &self.limit_fuel),
                response: flag("limit-response", &self.limit_response.map(Size)),
                publications: flag("limit-publications", &self.limit_publications),
                log_rate: flag("limit-log-rate", &self.limit_log_rate.map(Size)),
                respawns: flag("limit-respawns", &self.limit_respawns),
            },
            retry: RetryTable {
                max_attempts: flag("max-attempts", &self.max_attempts),
                backoff: flag("backoff", &self.backoff.clone().map(Durations)),
            },
        }
    }
}

fn flag<T: Clone>(name: &str, value: &Option<T>) -> Option<At<T>> {
    value.clone().map(|value| At::named(&format!("--{name}"), value))
}
