//! Every setting by itself, on a consumer and a stream that are fine otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Workload};
use crate::delivery::consumer_settings::{ConsumerFlow, PullLimits};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

fn workload(more: &str) -> Workload {
    let text = format!("[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n{more}\n");
    Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}")).workloads.remove(0)
}

/// What a server of 2.15 answers for a durable that was made with its defaults.
fn usual() -> Value {
    json!({
        "durable_name": "orders-workers", "name": "orders-workers", "deliver_policy": "all", "ack_policy": "explicit",
        "ack_wait": 30 * SECOND, "max_deliver": -1, "replay_policy": "instant", "max_waiting": 512,
        "max_ack_pending": 3_200, "num_replicas": 0, "metadata": { "_nats.req.level": "0", "_nats.ver": "2.15.1" },
    })
}

fn with(setting: &str, value: Value) -> ConsumerState {
    let mut config = usual();
    config[setting] = value;
    serde_json::from_value(json!({ "name": "orders-workers", "created": "2026-11-25T10:00:00Z", "config": config }))
        .unwrap()
}

fn stream(more: Value) -> StreamConfig {
    let mut config = json!({ "name": "ORDERS", "subjects": ["orders.>"], "retention": "limits", "num_replicas": 1 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

const OWN: Reserved<'_> = Reserved { inbox: "_INBOX", letters: "TIDEGATE_DEAD", journal: Some("JOURNAL") };

fn judged(state: &ConsumerState, stream: &StreamConfig, more: &str) -> ConsumerVerdict {
    judge(state, stream, &workload(more), OWN)
}

fn alone(setting: &str, value: Value) -> ConsumerVerdict {
    judged(&with(setting, value), &stream(json!({})), "")
}

#[test]
fn a_usual_consumer_flows_without_a_word() {
    let verdict = alone("description", json!("what it is for"));
    assert_eq!((verdict.refusal.clone(), verdict.held.clone(), verdict.warnings.clone()), (None, None, vec![]));
    assert_eq!(verdict.flow("ORDERS", "orders-workers"), ConsumerFlow::Free);
    assert_eq!(verdict.settings.ack_wait, Duration::from_secs(30));
    assert_eq!(verdict.settings.pulls, PullLimits { waiting: 16, ..PullLimits::NONE });
}

#[test]
fn a_consumer_that_has_to_be_made_anew_can_go_on_where_it_was_settled() {
    let mut state = with("priority_groups", json!(["jobs"]));
    let remedy = |state: &ConsumerState, of: Value| judged(state, &stream(of), "").refusal.unwrap().remedy;
    assert!(!remedy(&state, json!({})).contains("--deliver"));
    state.ack_floor.stream_seq = 41;
    let told = remedy(&state, json!({}));
    assert!(
        told.contains("then `nats consumer add` with `--deliver=42`, for all is settled up to message 41"),
        "{told}"
    );
    // The server lets no consumer of such a stream begin elsewhere, and there is nothing before.
    assert!(!remedy(&state, json!({ "retention": "workqueue" })).contains("--deliver"));
}

#[test]
fn an_order_may_have_a_pinned_client_and_in_a_fleet_has_to() {
    let with_group = |policy: &str, timeout: i64| {
        let mut state = with("priority_groups", json!(["jobs"]));
        state.config.priority_policy = policy.to_owned();
        state.config.priority_timeout = timeout;
        state
    };
    let order = "order-key = \"subject\"";
    let of = |state: &ConsumerState, more: &str| judged(state, &stream(json!({})), more);
    let pinned = of(&with_group("pinned_client", 8 * SECOND), order);
    assert_eq!(pinned.refusal, None);
    let group = pinned.settings.pin_group.unwrap();
    assert_eq!((group.name.as_str(), group.timeout), ("jobs", Duration::from_secs(8)));
    assert_eq!(of(&with("description", json!("")), order).refusal, None);
    for (state, problem) in [
        (with_group("overflow", 0), "policy `overflow`, and an order needs one host at a time"),
        (with_group("pinned_client", SECOND / 2), "its priority_timeout is 500ms"),
    ] {
        let refusal = of(&state, order).refusal.unwrap();
        assert!(refusal.problem.contains(problem) && refusal.remedy.contains("--pinned-groups="), "{refusal:?}");
    }
    let mut shared = workload(order);
    shared.order.as_mut().unwrap().in_fleet = true;
    let of = |state: &ConsumerState| judge(state, &stream(json!({})), &shared, OWN).refusal;
    assert!(of(&with("description", json!(""))).unwrap().problem.contains("the hosts of a fleet share it"));
    assert_eq!(of(&with_group("pinned_client", 8 * SECOND)), None);
}

#[test]
fn what_would_lose_messages_or_never_flow_is_refused_with_the_remedy() {
    for (setting, value, problem, remedy) in [
        ("deliver_subject", json!("to.me"), "push consumer", "Use a pull consumer"),
        ("durable_name", json!(""), "not durable", "Use a durable consumer"),
        ("ack_policy", json!("none"), "ack policy `none`", "ack policy `explicit`"),
        ("ack_policy", json!("all"), "not `explicit`", "ack policy `explicit`"),
        ("ack_policy", json!("flow_control"), "not `explicit`", "ack policy `explicit`"),
        ("ack_policy", json!("of a newer server"), "not `explicit`", "ack policy `explicit`"),
        ("headers_only", json!(true), "headers only", "--no-headers-only"),
        ("max_deliver", json!(1), "its max_deliver is 1", "nats consumer edit ORDERS orders-workers --max-deliver=-1"),
        ("max_deliver", json!(i64::MAX), "its max_deliver is 9223372036854775807", "--max-deliver=-1"),
        (
            "replay_policy",
            json!("original"),
            "replay policy is `original`",
            "Make it anew with replay policy `instant`",
        ),
        ("rate_limit_bps", json!(1), "rate limit of 1 bits", "Make it anew without one"),
        ("priority_groups", json!(["jobs"]), "priority groups", "Make it anew without them"),
        ("priority_policy", json!("overflow"), "policy `overflow`", "Make it anew without them"),
        ("priority_policy", json!("pinned_client"), "policy `pinned_client`", "Make it anew without them"),
        ("priority_policy", json!("prioritized"), "policy `prioritized`", "Make it anew without them"),
        ("ack_wait", json!(1), "its ack wait is as short as", "--wait=30s"),
        ("backoff", json!([SECOND, 99 * MS]), "its backoff, which takes the place", "--backoff=none"),
        ("max_expires", json!(MS), "its max_expires is 1ms", "--max-pull-expire=5s"),
        ("inactive_threshold", json!(SECOND), "its inactive_threshold is 1s", "--inactive-threshold=24h"),
        ("direct", json!(true), "mirror or a source", "Name a consumer of your own"),
        ("sourcing", json!(true), "mirror or a source", "Name a consumer of your own"),
    ] {
        let verdict = alone(setting, value.clone());
        let refusal = verdict.refusal.clone().unwrap_or_else(|| panic!("{setting} = {value} is taken"));
        assert!(refusal.problem.contains(problem), "{setting}: {}", refusal.problem);
        assert!(refusal.remedy.contains(remedy), "{setting}: {}", refusal.remedy);
        assert!(matches!(verdict.flow("S", "c"), ConsumerFlow::Refused(_)));
    }
}

#[test]
fn what_only_limits_a_pull_is_kept_to_and_said() {
    for (setting, value, expected) in [
        ("max_batch", json!(1), PullLimits { batch: 1, ..PullLimits::NONE }),
        ("max_batch", json!(i64::MAX), PullLimits { batch: i64::MAX as usize, ..PullLimits::NONE }),
        ("max_bytes", json!(1), PullLimits { bytes: 1, ..PullLimits::NONE }),
        ("max_expires", json!(SECOND), PullLimits { expires: Duration::from_secs(1), ..PullLimits::NONE }),
        (
            "max_expires",
            json!(i64::MAX),
            PullLimits { expires: Duration::from_nanos(i64::MAX as u64), ..PullLimits::NONE },
        ),
    ] {
        let verdict = alone(setting, value.clone());
        assert_eq!(verdict.refusal, None, "{setting}");
        assert_eq!(verdict.settings.pulls, PullLimits { waiting: 16, ..expected }, "{setting}");
        let is_huge = value == json!(i64::MAX);
        assert_eq!(
            verdict.warnings.iter().any(|said| said.contains(setting)),
            !is_huge,
            "{setting}: {:?}",
            verdict.warnings
        );
    }
    assert_eq!(alone("max_waiting", json!(1)).settings.pulls.waiting, 1);
    assert_eq!(alone("max_waiting", json!(i64::MAX)).settings.pulls.waiting, 16);
}

#[test]
fn what_slows_it_or_makes_the_server_forget_it_is_a_warning_with_the_remedy() {
    for (setting, value, said) in [
        ("max_ack_pending", json!(1), "max_ack_pending is less than scale.max:"),
        ("max_ack_pending", json!(1), "nats consumer edit ORDERS orders-workers --max-pending=3200"),
        ("max_waiting", json!(3), "max_waiting is less than 4"),
        ("backoff", json!([SECOND, 2 * SECOND]), "--backoff=none"),
        ("inactive_threshold", json!(3600 * SECOND), "when no host has worked on it for 1h"),
        ("mem_storage", json!(true), "kept in memory"),
        ("a_setting_of_2.99", json!({ "of": ["any", 1] }), "does not know: a_setting_of_2.99"),
    ] {
        let verdict = alone(setting, value);
        assert_eq!(verdict.refusal, None, "{setting}");
        assert!(verdict.warnings.iter().any(|warning| warning.contains(said)), "{setting}: {:?}", verdict.warnings);
    }
}

#[test]
fn what_changes_nothing_for_who_pulls_is_taken_without_a_word() {
    for (setting, value) in [
        ("deliver_policy", json!("new")),
        ("deliver_policy", json!("last_per_subject")),
        ("opt_start_seq", json!(7)),
        ("opt_start_time", json!("2026-01-01T00:00:00Z")),
        ("sample_freq", json!("100%")),
        ("max_ack_pending", json!(-1)),
        ("num_replicas", json!(1)),
        ("priority_policy", json!("none")),
        ("pause_until", json!("2020-01-01T00:00:00Z")),
    ] {
        let verdict = alone(setting, value.clone());
        assert_eq!((verdict.refusal, verdict.warnings), (None, vec![]), "{setting} = {value}");
    }
}

#[test]
fn a_paused_consumer_is_held_until_it_says() {
    let mut state = with("pause_until", json!("2030-01-01T00:00:00Z"));
    state.paused = true;
    let verdict = judged(&state, &stream(json!({})), "");
    let ConsumerFlow::Held(said) = verdict.flow("ORDERS", "orders-workers") else { panic!("it is not held") };
    assert!(said.contains("is paused until 2030-01-01T00:00:00Z"), "{said}");
    assert!(said.contains("nats consumer resume ORDERS orders-workers"), "{said}");
}

#[test]
fn every_difference_from_the_configuration_is_said_with_the_command_that_mends_it() {
    let create = "manage = \"create\"";
    let differs = |setting, value, more: &str| judged(&with(setting, value), &stream(json!({})), more).warnings;
    for (setting, value, more, said) in [
        ("ack_wait", json!(60 * SECOND), "ack-wait = \"90s\"", "nats consumer edit ORDERS orders-workers --wait=1m30s"),
        ("ack_wait", json!(60 * SECOND), create, "--wait=30s"),
        ("max_ack_pending", json!(9000), "max-ack-pending = 5000", "--max-pending=5000"),
        ("max_ack_pending", json!(1000), create, "less than scale.max x pull.batch: 1000 and 16 x 100"),
        ("max_ack_pending", json!(2000), create, "scale.max and pull.batch need a max-ack-pending of 3200"),
        ("max_ack_pending", json!(2000), create, "--max-pending=3200"),
        ("filter_subject", json!("orders.eu.>"), create, "--filter='>'"),
    ] {
        let warnings = differs(setting, value, more);
        assert_eq!(warnings.len(), 1, "{setting}: {warnings:?}");
        assert!(warnings[0].contains(said), "{setting}: {warnings:?}");
    }
    // A file without the key needs less than an earlier one did, by which the host made the consumer.
    for has in [9000, -1] {
        assert_eq!(differs("max_ack_pending", json!(has), create), Vec::<String>::new(), "{has}");
    }
    // What waits for its turn is counted where nothing is said of it.
    for keys in ["per-key = { key = \"subject:2\", max-in-flight = 1 }", "order-key = \"subject:2\""] {
        assert_eq!(differs("max_ack_pending", json!(5000), keys), Vec::<String>::new(), "{keys}");
    }
    let written = "max-ack-pending = 4300\nper-key = { key = \"subject:2\", max-in-flight = 1 }";
    assert_eq!(differs("max_ack_pending", json!(5000), written).len(), 1);
    // A file that only binds and leaves a key out says nothing about it.
    for (setting, value) in
        [("ack_wait", json!(60 * SECOND)), ("max_ack_pending", json!(9000)), ("filter_subject", json!("orders.eu.>"))]
    {
        assert_eq!(differs(setting, value, ""), Vec::<String>::new(), "{setting}");
    }
}

#[test]
fn a_filter_that_is_another_is_refused_in_whatever_order_it_is_written() {
    let verdict =
        |filters: Value, more: &str| judged(&with("filter_subjects", filters), &stream(json!({})), more).refusal;
    assert_eq!(verdict(json!(["orders.b", "orders.a"]), "filter = [\"orders.a\", \"orders.b\"]"), None);
    assert_eq!(verdict(json!([">"]), "filter = [\">\"]"), None);
    let refusal = verdict(json!(["orders.b"]), "filter = \"orders.a\"").unwrap();
    assert_eq!(refusal.problem, "its filter is orders.b, and the configuration's is orders.a");
    assert!(refusal.remedy.contains("--filter='orders.a'"), "{refusal:?}");
    assert_eq!(
        verdict(json!([]), "filter = \"orders.a\"").unwrap().problem,
        "it has no filter, and the configuration's is orders.a"
    );
}

#[test]
fn a_filter_that_nothing_can_match_is_told_and_while_something_waits_it_is_a_warning() {
    let mut state = with("filter_subjects", json!(["bills.>", "receipts"]));
    let verdict = judged(&state, &stream(json!({})), "");
    assert_eq!((verdict.refusal.clone(), verdict.warnings.clone()), (None, vec![]));
    let ConsumerFlow::Doubtful(said) = verdict.flow("ORDERS", "orders-workers") else { panic!("it is not told") };
    let expected = "consumer orders-workers on stream ORDERS is given no message: its filter bills.>, receipts matches \
                    nothing that its stream stores: orders.>. Let the stream store";
    assert!(said.starts_with(expected), "{said}");
    state.paused = true;
    let paused = judged(&state, &stream(json!({})), "").flow("ORDERS", "orders-workers");
    assert!(matches!(paused, ConsumerFlow::Held(_)));
    state.paused = false;
    for (pending, unsettled) in [(1, 0), (0, 1)] {
        (state.num_pending, state.num_ack_pending) = (pending, unsettled);
        let verdict = judged(&state, &stream(json!({})), "");
        assert_eq!(verdict.flow("ORDERS", "orders-workers"), ConsumerFlow::Free);
        assert!(verdict.warnings.len() == 1 && verdict.warnings[0].contains("what waits is handled"), "{verdict:?}");
    }
    // One of several is enough.
    let some = with("filter_subjects", json!(["bills.>", "orders.new"]));
    assert_eq!(judged(&some, &stream(json!({})), "").flow("ORDERS", "c"), ConsumerFlow::Free);
    // A consumer is judged by what its partition can have.
    let partitioned = "order-key = \"subject:2\"\npartitions = 4\nfilter = \"orders.eu\"";
    let mapping = json!({ "src": "orders.*", "dest": "{{partition(4,1)}}.orders.{{wildcard(1)}}" });
    let mapped = stream(json!({ "subjects": ["orders.*"], "subject_transform": mapping }));
    let verdict = judged(&with("filter_subject", json!("0.orders.eu")), &mapped, partitioned);
    assert_eq!((&verdict.refusal, verdict.flow("ORDERS", "c")), (&None, ConsumerFlow::Free));
}

#[test]
fn what_the_stream_has_otherwise_than_the_file_is_said() {
    let file = "manage = \"create\"\nsubjects = [\"bills.>\"]";
    let warnings = judged(&with("max_waiting", json!(512)), &stream(json!({})), file).warnings;
    let said = "subjects of the configuration is bills.>, and the stream has orders.>, which counts";
    assert!(warnings.len() == 1 && warnings[0].contains(said), "{warnings:?}");
}

#[test]
fn a_stream_that_takes_in_what_the_host_says_itself_is_refused() {
    for (subjects, what) in [
        (json!(["*.*"]), "what is delivered to this host (_INBOX.>)"),
        (json!(["orders.>", ">"]), "what is delivered to this host"),
        (json!(["_INBOX.*.>"]), "what is delivered to this host"),
        (json!(["tidegate.>"]), "its dead letters (tidegate.dead.*)"),
        (json!(["tidegate.journal.orders"]), "its lines of the journal"),
    ] {
        let refusal = reserved(&stream(json!({ "subjects": subjects })), None, "_INBOX");
        let refusal = refusal.unwrap_or_else(|| panic!("{subjects} is taken"));
        assert!(refusal.problem.contains(what), "{subjects}: {}", refusal.problem);
        assert!(refusal.remedy.contains("nats stream edit ORDERS"), "{}", refusal.remedy);
    }
    let own = stream(json!({ "subjects": ["tidegate.dead.*"] }));
    assert_eq!(reserved(&own, Some("tidegate.dead.*"), "_INBOX"), None);
    let republished = stream(json!({ "republish": { "src": ">", "dest": "_INBOX.>" } }));
    assert!(reserved(&republished, None, "_INBOX").unwrap().problem.contains("republishes"));
    let own = reserved(&stream(json!({ "subjects": ["*.*"] })), None, "_MINE").unwrap();
    assert!(own.problem.contains("_MINE.>"), "{}", own.problem);
}

#[test]
fn a_stream_that_brings_back_what_the_host_keeps_of_its_workload_is_refused() {
    let refusal = |settings: Value| circular(&stream(settings), "orders", OWN);
    let letters = "TIDEGATE_DEAD brings it this workload's dead letters";
    let lines = "JOURNAL brings it this workload's lines of the journal";
    for (settings, how, what, remedy) in [
        (json!({ "sources": [{ "name": "A" }, { "name": "TIDEGATE_DEAD" }] }), "source", letters, "`OTHER.dead`"),
        (json!({ "mirror": { "name": "TIDEGATE_DEAD" } }), "mirror", letters, "Read another stream"),
        (
            json!({ "sources": [{ "name": "TIDEGATE_DEAD", "filter_subject": "*.dead" }] }),
            "source",
            letters,
            "nats stream edit ORDERS",
        ),
        (
            json!({ "sources": [
                { "name": "TIDEGATE_DEAD", "subject_transforms": [{ "src": "orders.>", "dest": "x" }] },
            ] }),
            "source",
            letters,
            "nats stream edit ORDERS",
        ),
        (json!({ "sources": [{ "name": "JOURNAL" }] }), "source", lines, "`tidegate.journal.OTHER`"),
        (
            json!({ "mirror": { "name": "JOURNAL", "filter_subject": "tidegate.journal.*" } }),
            "mirror",
            lines,
            "Read another stream",
        ),
    ] {
        let told = refusal(settings.clone()).unwrap_or_else(|| panic!("{settings} is taken"));
        assert_eq!(told.problem, format!("its {how} {what}, so that each message would make new ones for ever"));
        assert!(told.remedy.contains(remedy), "{settings}: {}", told.remedy);
    }
    for settings in [
        // Another domain's stream of that name is another stream.
        json!({ "sources": [{ "name": "TIDEGATE_DEAD", "external": { "api": "$JS.hub.API", "deliver": "" } }] }),
        json!({ "mirror": { "name": "TIDEGATE_DEAD", "external": { "api": "$JS.hub.API" } } }),
        // Letters of other workloads may be handled.
        json!({ "sources": [{ "name": "TIDEGATE_DEAD", "filter_subject": "bills.dead" }] }),
        json!({ "sources": [{ "name": "JOURNAL", "filter_subject": "tidegate.journal.bills" }, { "name": "A" }] }),
    ] {
        assert_eq!(refusal(settings.clone()), None, "{settings}");
    }
    let bound = judged(&with("max_waiting", json!(512)), &stream(json!({ "mirror": { "name": "TIDEGATE_DEAD" } })), "");
    assert!(bound.refusal.unwrap().problem.starts_with("of its stream: its mirror TIDEGATE_DEAD"));
    let alone = Reserved { journal: None, ..OWN };
    assert_eq!(circular(&stream(json!({ "sources": [{ "name": "JOURNAL" }] })), "orders", alone), None);
}

#[test]
fn settings_of_a_stream_that_matter_are_said_and_others_are_not() {
    let state = with("max_waiting", json!(512));
    for (settings, said) in
        [(json!({ "sealed": true }), "is sealed"), (json!({ "no_ack": true }), "acknowledges no publication")]
    {
        let warnings = judged(&state, &stream(settings), "").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(said), "{warnings:?}");
    }
    let inherited = judged(
        &with("inactive_threshold", json!(60 * SECOND)),
        &stream(json!({ "consumer_limits": { "inactive_threshold": 60 * SECOND } })),
        "",
    );
    assert!(
        inherited.warnings[0].contains("nats stream edit ORDERS --limit-consumer-inactive"),
        "{:?}",
        inherited.warnings
    );
    let interest = stream(json!({ "retention": "interest" }));
    let dropped = judged(&with("inactive_threshold", json!(60 * SECOND)), &interest, "").warnings;
    assert!(dropped[0].contains("what waits in its stream is then dropped"), "{dropped:?}");
    let replicas = judged(&with("num_replicas", json!(1)), &stream(json!({ "num_replicas": 3 })), "").warnings;
    assert!(replicas.len() == 1 && replicas[0].contains("--replicas=3"), "{replicas:?}");
    for settings in [
        json!({ "retention": "interest" }),
        json!({ "retention": "workqueue" }),
        json!({
            "max_age": 1, "max_msgs": 1, "max_bytes": 1, "max_msgs_per_subject": 1, "max_msg_size": 1, "discard": "new",
        }),
        json!({ "deny_delete": true, "deny_purge": true, "allow_rollup_hdrs": true, "allow_direct": true }),
        json!({ "mirror": { "name": "OTHER" }, "sources": [{ "name": "A" }], "mirror_direct": true, "subjects": [] }),
        json!({ "allow_msg_ttl": true, "allow_msg_counter": true, "allow_atomic": true, "allow_msg_schedules": true }),
        json!({
            "storage": "memory", "compression": "s2", "first_seq": 99, "persist_mode": "async", "duplicate_window": 1,
        }),
        json!({ "subject_transform": { "src": "a", "dest": "b" }, "republish": { "src": "a", "dest": "copies" } }),
    ] {
        let verdict = judged(&state, &stream(settings.clone()), "");
        assert_eq!((verdict.refusal, verdict.warnings), (None, vec![]), "{settings}");
    }
}

#[test]
fn a_grant_for_what_the_workload_reads_itself_is_a_warning() {
    let state = with("filter_subject", json!("orders.new"));
    let warnings = |grant: &str, state: &ConsumerState| {
        judged(state, &stream(json!({})), &format!("grants.publish = [\"{grant}\"]")).warnings
    };
    assert_eq!(warnings("orders.done", &state), Vec::<String>::new());
    let said = warnings("orders.*", &state);
    assert!(said.len() == 1 && said[0].contains("`orders.*`") && said[0].contains("`orders.new`"), "{said:?}");
    assert_eq!(warnings("orders.done", &with("max_waiting", json!(512))).len(), 1);
    let of =
        |stream: Value, grants: &str| judged(&with("max_waiting", json!(512)), &self::stream(stream), grants).warnings;
    let asks = of(json!({}), "grants.request = \"orders.price\"");
    assert!(asks.len() == 1 && asks[0].contains("grants.request has `orders.price`"), "{asks:?}");
    let bucket = json!({ "name": "KV_counters", "subjects": ["$KV.counters.>"] });
    let writes = of(bucket, "grants.kv = \"read-write counters/a\"");
    assert!(writes.len() == 1 && writes[0].contains("this workload reads `$KV.counters.>`"), "{writes:?}");
}

#[test]
fn the_consumer_of_the_headers_source_acknowledges_all_and_brings_headers_alone() {
    let mut state = with("ack_policy", json!("all"));
    assert!(judge_watch(&state, "one that fits").refusal.is_some());
    state.config.headers_only = true;
    assert_eq!(judge_watch(&state, "one that fits").refusal, None);
    state.config.priority_policy = "overflow".to_owned();
    assert!(judge_watch(&state, "one that fits").refusal.unwrap().problem.contains("needs one that fits"));
}
