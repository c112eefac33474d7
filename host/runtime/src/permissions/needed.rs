//! The least that a NATS user must be allowed for a host to do its work, made out of the host's configuration. No IO.
//!
//! `tidegate permissions` prints it, and the tests run a host against a server that enforces exactly this.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::config::{
    Config, FleetConfig, JETSTREAM_API, KvAccess, Manage, Nats, ServiceConfig, SignalSource, Workload,
};

/// What all hosts are called as a NATS service.
pub const SERVICE: &str = "tidegate";

/// What a user does with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// It publishes to it.
    Publish,
    /// It subscribes to it.
    Subscribe,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// Something that the server did not let this user do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Denial {
    /// What it wanted to do.
    pub verb: Verb,
    /// With which subject.
    pub subject: String,
}

impl Denial {
    /// Reads what a server says, such as `Permissions Violation for Publish to "a.b"`; `None` if it is something else.
    pub(crate) fn parse(words: &str) -> Option<Self> {
        let rest = words.split_once("Permissions Violation for ")?.1;
        let verb = if rest.starts_with("Subscription") { Verb::Subscribe } else { Verb::Publish };
        let subject = rest.split('"').nth(1)?;
        Some(Self { verb, subject: subject.to_owned() })
    }

    /// The subject that has to be allowed: one that stays the same from message to message. `inbox` is the prefix of
    /// this client's inboxes.
    pub(crate) fn grant(&self, inbox: &str) -> String {
        let own = self.subject.strip_prefix(inbox).is_some_and(|rest| rest.starts_with('.'));
        let prefix = if own {
            inbox.to_owned()
        } else if self.subject.starts_with("_INBOX.") {
            "_INBOX".to_owned()
        } else if let Some((stream, consumer)) = ack_of(&self.subject) {
            // What follows is about one delivery.
            let domain = if has_domain(&self.subject) { "*.*." } else { "" };
            format!("$JS.ACK.{domain}{stream}.{consumer}")
        } else {
            return self.subject.clone();
        };
        format!("{prefix}.>")
    }
}

/// The stream and the consumer of the delivery that is settled by a subject, in either form: with the domain and the
/// account before them, which servers from 2.14 on send when they are told to, or without.
pub(crate) fn ack_of(subject: &str) -> Option<(&str, &str)> {
    let skip = if has_domain(subject) { 2 } else { 0 };
    let mut tokens = subject.strip_prefix("$JS.ACK.")?.split('.').skip(skip);
    Some((tokens.next()?, tokens.next()?))
}

/// Of the short form there are 9 tokens.
fn has_domain(ack: &str) -> bool {
    ack.split('.').count() > 9
}

/// The subjects that a user must be allowed, each with what for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// To publish to.
    pub publish: BTreeMap<String, String>,
    /// To subscribe to.
    pub subscribe: BTreeMap<String, String>,
}

impl Permissions {
    /// What a host with this configuration needs of the connection in `[nats]`. Workloads in accounts of their own need
    /// nothing of it but what is the host's: its journal.
    pub fn of(config: &Config) -> Self {
        let mut all = Self::of_workloads(config, &config.nats, &config.workloads_at(None));
        all.fleet(config);
        all.service(config);
        all.plugins(config);
        if let Some(journal) = &config.journal.stream {
            let name = &journal.name;
            all.may_publish(format!("$JS.API.STREAM.INFO.{name}"), "find the stream of the journal");
            if config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create) {
                all.may_publish(format!("$JS.API.STREAM.CREATE.{name}"), "make the stream of the journal");
            }
            for workload in &config.workloads {
                let name = &workload.name;
                all.may_publish(format!("tidegate.journal.{name}"), &format!("{name}: keep its decisions"));
            }
        }
        all.at(&config.nats)
    }

    /// What it needs of each connection that workloads have for themselves, with those workloads.
    pub fn of_accounts(config: &Config) -> Vec<(Vec<&Workload>, Self)> {
        let needs = |nats| {
            let workloads = config.workloads_at(Some(nats));
            let needed = Self::of_workloads(config, nats, &workloads).at(nats);
            (workloads, needed)
        };
        config.accounts().into_iter().map(needs).collect()
    }

    /// What the workloads of one connection need.
    fn of_workloads(config: &Config, nats: &Nats, workloads: &[&Workload]) -> Self {
        let mut all = Self::default();
        all.subscribe.insert(format!("{}.>", nats.inbox()), "hear deliveries and answers".to_owned());
        for workload in workloads {
            all.workload(workload);
            all.effects(workload, nats);
        }
        let dead = &config.dead_letters.stream;
        if !workloads.is_empty() {
            all.may_publish(format!("$JS.API.STREAM.INFO.{dead}"), "find the stream of dead letters");
            let get = format!("$JS.API.STREAM.MSG.GET.{dead}");
            all.may_publish(get, "see whether a dead letter is still there");
        }
        if workloads.iter().any(|workload| workload.queue.manage == Manage::Create) {
            all.may_publish(format!("$JS.API.STREAM.CREATE.{dead}"), "make the stream of dead letters");
        }
        let is_told = config.service.as_ref().is_some_and(|service| service.admin);
        for workload in workloads.iter().filter(|_| is_told) {
            let (name, queue) = (&workload.name, &workload.queue);
            let subject = format!("$JS.API.CONSUMER.PAUSE.{}.{}", queue.stream, queue.consumer);
            all.may_publish(subject, &format!("{name}: pause {} and let it go on", queue.consumer));
        }
        all
    }

    /// The same, where requests to JetStream have the prefix that a connection gives them.
    fn at(mut self, nats: &Nats) -> Self {
        let place = |subject: String| match subject.strip_prefix(JETSTREAM_API) {
            Some(request) => format!("{}{request}", nats.api()),
            None => subject,
        };
        self.publish = self.publish.into_iter().map(|(subject, why)| (place(subject), why)).collect();
        self
    }

    fn fleet(&mut self, config: &Config) {
        let Some(FleetConfig { bucket, .. }) = &config.fleet else { return };
        let api = |verb: &str| format!("$JS.API.{verb}.KV_{bucket}");
        self.may_publish(api("STREAM.INFO"), "find the bucket of the fleet");
        if config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create) {
            self.may_publish(api("STREAM.CREATE"), "make the bucket of the fleet");
        }
        self.may_publish(api("STREAM.MSG.GET"), "read who leads the fleet");
        // As for a listing of keys, the consumer has no name when it is made.
        for subject in [api("CONSUMER.CREATE"), format!("{}.>", api("CONSUMER.DELETE"))] {
            self.may_publish(subject, "watch the bucket of the fleet");
        }
        self.may_publish(api("STREAM.PURGE"), "remove what hosts that are gone have left in it");
        self.may_publish(format!("$JS.FC.KV_{bucket}.>"), "keep up with the bucket of the fleet");
        for key in ["host", "figures", "leader", "plan", "settings", "workers", "verdict"] {
            let subject = config.nats.of_bucket(format!("$KV.{bucket}.{key}.*"));
            self.may_publish(subject, "tell the fleet what this host does and decides");
        }
    }

    fn service(&mut self, config: &Config) {
        let Some(ServiceConfig { host, prefix, replies, .. }) = &config.service else { return };
        // Without an id of its own the host has one of this process, which nobody knows before.
        let id = host.as_deref().unwrap_or("*");
        for subject in ["$SRV.*".to_owned(), format!("$SRV.*.{SERVICE}"), format!("$SRV.*.{SERVICE}.{id}")] {
            self.subscribe.insert(subject, "be found as a NATS service".to_owned());
        }
        self.subscribe.insert(format!("{prefix}.{id}.>"), "hear what it is asked".to_owned());
        for subject in replies {
            self.may_publish(subject.clone(), "answer who asks it");
        }
    }

    /// What whoever asks hosts of this configuration needs, each right for one thing; nothing where they are no NATS
    /// service.
    pub fn of_who_asks(config: &Config) -> Option<Self> {
        let ServiceConfig { host, prefix, admin, .. } = config.service.as_ref()?;
        let mut all = Self::default();
        all.subscribe.insert("_INBOX.>".to_owned(), "hear answers".to_owned());
        all.may_publish(format!("$SRV.INFO.{SERVICE}"), "find hosts: all commands");
        for verb in ["PING", "INFO", "STATS"] {
            all.may_publish(format!("$SRV.{verb}.>"), "`nats micro`");
            all.may_publish(format!("$SRV.{verb}"), "`nats micro`");
        }
        let of = |what: &str| format!("{prefix}.{}.{what}", host.as_deref().unwrap_or("*"));
        all.may_publish(of("status"), "see what a host does: `tidegate top`");
        for Workload { name, .. } in &config.workloads {
            all.may_publish(of(&format!("status.{name}")), &format!("{name}: see what it does"));
        }
        for Workload { name, .. } in config.workloads.iter().filter(|_| *admin) {
            all.may_publish(of(&format!("scale.{name}")), &format!("{name}: `tidegate scale`"));
            all.may_publish(of(&format!("pause.{name}")), &format!("{name}: pause it"));
            all.may_publish(of(&format!("resume.{name}")), &format!("{name}: let it go on"));
        }
        if *admin {
            all.may_publish(of("drain"), "`tidegate drain`");
            all.may_publish(of("undrain"), "`tidegate undrain`");
        }
        Some(all)
    }

    fn plugins(&mut self, config: &Config) {
        let Some(bucket) = &config.plugins.origin.bucket else { return };
        let api = |verb: &str| format!("$JS.API.{verb}.OBJ_{bucket}");
        self.may_publish(api("STREAM.INFO"), "find the bucket of plugins");
        self.may_publish(api("STREAM.MSG.GET"), "read what the bucket has of a plugin");
        // The consumers that watch have no name when they are made.
        for subject in [api("CONSUMER.CREATE"), format!("{}.>", api("CONSUMER.DELETE"))] {
            self.may_publish(subject, "watch the bucket of plugins");
        }
        self.may_publish(format!("$JS.FC.OBJ_{bucket}.>"), "keep up with the bucket of plugins");
    }

    fn workload(&mut self, workload: &Workload) {
        let (queue, name) = (&workload.queue, &workload.name);
        let stream = &queue.stream;
        self.may_publish(format!("$JS.API.STREAM.INFO.{stream}"), &format!("{name}: read the state of its stream"));
        self.may_publish(
            format!("$JS.API.STREAM.MSG.GET.{stream}"),
            &format!("{name}: read when its oldest message came"),
        );
        if queue.manage == Manage::Create && !queue.subjects.is_empty() {
            self.may_publish(format!("$JS.API.STREAM.CREATE.{stream}"), &format!("{name}: make its stream"));
        }
        self.consumer(workload, &queue.consumer);
        if workload.scale.source == SignalSource::Headers {
            self.consumer(workload, &queue.watch_consumer);
        }
        self.may_publish(format!("tidegate.dead.{name}"), &format!("{name}: keep dead letters"));
    }

    fn consumer(&mut self, workload: &Workload, consumer: &str) {
        let (name, stream) = (&workload.name, &workload.queue.stream);
        for (subject, what) in [
            (format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"), "read the state of"),
            (format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "fetch from"),
            (format!("$JS.ACK.{stream}.{consumer}.>"), "settle what came from"),
            (format!("$JS.ACK.*.*.{stream}.{consumer}.>"), "settle, as newer servers name it, what came from"),
        ] {
            self.may_publish(subject, &format!("{name}: {what} {consumer}"));
        }
        if workload.paused.is_some() && consumer == workload.queue.consumer {
            let subject = format!("$JS.API.CONSUMER.PAUSE.{stream}.{consumer}");
            self.may_publish(subject, &format!("{name}: pause {consumer} and let it go on"));
        }
        if workload.order.is_some() && consumer == workload.queue.consumer {
            let subject = format!("$JS.API.CONSUMER.UNPIN.{stream}.{consumer}");
            self.may_publish(subject, &format!("{name}: leave {consumer} to another host when it stops"));
        }
        if workload.queue.manage == Manage::Create {
            let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}");
            self.may_publish(subject, &format!("{name}: make {consumer}"));
        }
    }

    fn effects(&mut self, workload: &Workload, nats: &Nats) {
        for subject in &workload.grants.publish {
            self.may_publish(subject.clone(), &format!("{}: publications of its handler", workload.name));
        }
        for subject in &workload.grants.request {
            self.may_publish(subject.clone(), &format!("{}: requests of its handler", workload.name));
        }
        self.buckets(workload, nats);
        for subject in &workload.grants.reply {
            self.may_publish(subject.clone(), &format!("{}: replies of its handler", workload.name));
        }
    }

    fn buckets(&mut self, workload: &Workload, nats: &Nats) {
        let (name, grants) = (&workload.name, &workload.grants);
        for bucket in grants.buckets() {
            let api = |verb: &str| format!("$JS.API.{verb}.KV_{bucket}");
            self.may_publish(api("STREAM.INFO"), &format!("{name}: find bucket {bucket}"));
            if workload.queue.manage == Manage::Create {
                self.may_publish(api("STREAM.CREATE"), &format!("{name}: make bucket {bucket}"));
            }
            self.may_publish(api("STREAM.MSG.GET"), &format!("{name}: read keys of {bucket}"));
            // The consumer has a name of the server's, so none when it is made.
            let made = api("CONSUMER.CREATE");
            let used = ["MSG.NEXT", "DELETE", "INFO"].map(|verb| format!("{}.>", api(&format!("CONSUMER.{verb}"))));
            for subject in [made].into_iter().chain(used) {
                self.may_publish(subject, &format!("{name}: list keys of {bucket}"));
            }
        }
        for grant in grants.kv.iter().filter(|grant| grant.access == KvAccess::ReadWrite) {
            // A prefix that ends within a token cannot be said in a subject.
            let tokens = grant.prefix.rsplit_once('.').map(|(tokens, _)| format!("{tokens}.")).unwrap_or_default();
            let subject = nats.of_bucket(format!("$KV.{}.{tokens}>", grant.bucket));
            self.may_publish(subject, &format!("{name}: write keys of {}", grant.bucket));
        }
    }

    /// A subject that several workloads need keeps the reason of the first.
    fn may_publish(&mut self, subject: String, why: &str) {
        self.publish.entry(subject).or_insert_with(|| why.to_owned());
    }

    /// As JSON, in the form that a nats-server reads too.
    pub fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Allowed {
            allow: Vec<String>,
        }
        #[derive(Serialize)]
        struct Both {
            publish: Allowed,
            subscribe: Allowed,
        }
        let allowed = |subjects: &BTreeMap<String, String>| Allowed { allow: subjects.keys().cloned().collect() };
        Both { publish: allowed(&self.publish), subscribe: allowed(&self.subscribe) }
    }
}

/// The block `permissions` of a user in the configuration of a nats-server.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "permissions {{")?;
        for (verb, subjects) in [(Verb::Publish, &self.publish), (Verb::Subscribe, &self.subscribe)] {
            if subjects.is_empty() {
                // To the server an empty list of what is allowed means everything.
                writeln!(f, "  {verb} {{ deny: \">\" }}")?;
                continue;
            }
            writeln!(f, "  {verb} {{\n    allow: [")?;
            let width = subjects.keys().map(String::len).max().unwrap_or_default() + 2;
            for (subject, why) in subjects {
                let quoted = format!("\"{subject}\"");
                writeln!(f, "      {quoted:<width$}  # {why}")?;
            }
            writeln!(f, "    ]\n  }}")?;
        }
        write!(f, "}}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn denial(words: &str) -> Denial {
        Denial::parse(words).unwrap()
    }

    fn of(text: &str) -> Permissions {
        Permissions::of(&Config::from_toml(text).unwrap())
    }

    #[test]
    fn what_a_server_denies_is_read_from_its_words() {
        let publish = denial("Permissions Violation for Publish to \"$JS.API.INFO\"");
        assert_eq!((publish.verb, publish.subject.as_str()), (Verb::Publish, "$JS.API.INFO"));
        let subscribe = denial("Permissions Violation for Subscription to \"_INBOX.a.*\" using queue \"q\"");
        assert_eq!((subscribe.verb, subscribe.subject.as_str()), (Verb::Subscribe, "_INBOX.a.*"));
        assert_eq!(Denial::parse("Authorization Violation"), None);
    }

    #[test]
    fn what_has_to_be_allowed_is_the_same_for_every_message() {
        for (verb, subject, expected) in [
            ("Publish to", "$JS.ACK.S.c.1.2.3.4.5", "$JS.ACK.S.c.>"),
            ("Publish to", "$JS.ACK._.ACCHASH.S.c.1.2.3.4.5", "$JS.ACK.*.*.S.c.>"),
            ("Publish to", "$JS.ACK.hub.ACCHASH.S.c.1.2.3.4.5.random", "$JS.ACK.*.*.S.c.>"),
            ("Publish to", "$JS.API.STREAM.INFO.S", "$JS.API.STREAM.INFO.S"),
            ("Publish to", "_INBOX.abc.1", "_INBOX.>"),
            ("Publish to", "out.a", "out.a"),
            ("Subscription to", "_INBOX_mine.abc.*", "_INBOX_mine.>"),
            ("Subscription to", "_INBOX_other", "_INBOX_other"),
        ] {
            let denial = denial(&format!("nats: Permissions Violation for {verb} \"{subject}\""));
            assert_eq!(denial.grant("_INBOX_mine"), expected, "{subject}");
        }
    }

    #[test]
    fn a_host_that_only_binds_may_make_nothing() {
        let text = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n";
        let bind = of(text);
        assert!(bind.publish.keys().all(|subject| !subject.contains("CREATE")), "{bind}");
        let create = of(&format!("{text}manage = \"create\"\nsubjects = \"orders.>\"\nscale.source = \"headers\"\n"));
        let made: Vec<_> = create.publish.keys().filter(|subject| subject.contains("CREATE")).cloned().collect();
        assert_eq!(
            made,
            [
                "$JS.API.CONSUMER.CREATE.ORDERS.orders-workers",
                "$JS.API.CONSUMER.CREATE.ORDERS.orders-workers-watch",
                "$JS.API.STREAM.CREATE.ORDERS",
                "$JS.API.STREAM.CREATE.TIDEGATE_DEAD"
            ]
        );
    }

    #[test]
    fn a_pause_is_allowed_where_the_configuration_has_one() {
        let text = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n";
        let subject = "$JS.API.CONSUMER.PAUSE.ORDERS.orders-workers";
        assert!(!of(text).publish.contains_key(subject));
        assert!(of(&format!("{text}paused = false\n")).publish.contains_key(subject));
    }

    #[test]
    fn a_host_that_keeps_an_order_may_leave_its_consumer_to_another() {
        let text = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n";
        let subject = "$JS.API.CONSUMER.UNPIN.ORDERS.orders-workers";
        assert!(!of(text).publish.contains_key(subject));
        assert!(of(&format!("{text}order-key = \"subject\"\n")).publish.contains_key(subject));
    }

    #[test]
    fn inboxes_are_where_the_configuration_puts_them() {
        let text = "nats.inbox-prefix = \"_INBOX_orders\"\n[workload.orders]\nstream = \"ORDERS\"\nhandler = \
                    \"h\"\npolicy = \"p\"\n";
        assert_eq!(of(text).subscribe.keys().collect::<Vec<_>>(), ["_INBOX_orders.>"]);
        // Requesters wait at theirs.
        assert!(of(text).publish.contains_key("_INBOX.>"));
    }

    proptest! {
        #[test]
        fn reading_what_a_server_says_never_panics(
            words in "(Permissions Violation for )?(Publish|Subscription)?.{0,40}",
        ) {
            if let Some(denial) = Denial::parse(&words) {
                prop_assert!(!denial.grant("_INBOX").is_empty() || denial.subject.is_empty());
            }
        }
    }
}
