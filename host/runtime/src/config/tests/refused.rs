//! What is wrong is named with line, key and remedy.

use super::*;

/// The only error of the least configuration with `lines` after it.
fn one(lines: &str) -> String {
    let errors = errors(&format!("{LEAST}{lines}\n"));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn an_unknown_key_is_told_the_one_that_was_meant() {
    assert_eq!(one("consumr = \"x\""), "line 5: workload.orders.consumr: unknown key; did you mean consumer?");
    assert_eq!(
        one("retry.max_attempts = 3"),
        "line 5: workload.orders.retry.max_attempts: unknown key; did you mean max-attempts?"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_told_the_right_one() {
    assert_eq!(one("max = 4"), "line 5: workload.orders.max: unknown key; it belongs in [workload.orders.scale]");
    let text = format!("{LEAST}grace = \"5s\"\nhttp = \"8222\"\n[nats]\nhttp = \"8222\"\n");
    let above = "unknown key; it belongs above the first table";
    let either = "it belongs in [workload.orders.grants], or, for the host, above the first table";
    let expected = [
        format!("line 5: workload.orders.grace: {above}"),
        format!("line 6: workload.orders.http: unknown key; {either}"),
        format!("line 8: nats.http: {above}"),
    ];
    assert_eq!(errors(&text), expected);
    let at_top = errors(&format!("scale.max = 3\nsteam = 1\n{LEAST}"));
    assert_eq!(at_top[0], "line 1: scale: unknown key; it belongs in [workload.NAME]");
    assert!(at_top[1].starts_with("line 2: steam: unknown key; the file may hold "), "{at_top:?}");
}

#[test]
fn an_unknown_key_like_no_other_is_told_all_there_are() {
    assert!(one("pull.banana = 4").ends_with("[workload.orders.pull] may hold batch, max-bytes, expires"));
}

#[test]
fn a_wrong_type_is_told_the_right_one() {
    for (line, expected) in [
        ("scale.max = \"4\"", "expected an integer, found a string"),
        ("consumer = 7", "expected a string, found an integer"),
        ("scale = 4", "expected a table, found an integer"),
        ("ack-wait = 30", "write it with a unit and in quotes, such as \"30s\""),
        ("limits.memory = 64", "write it with a unit and in quotes, such as \"64B\""),
        ("filter = [1]", "expected a list of strings, found an integer"),
        ("retry.backoff = \"1s\"", "expected a list of durations, found a string"),
        ("settings.at = 2020-01-01", "expected a string, a number or a boolean"),
        ("settings.at = { env = 1 }", "this says neither a variable nor a file; write a string, { env = \"NAME\" }"),
        (
            "settings.at = { env = \"A\", file = \"b\" }",
            "this says both a variable and a file, and it can be one of them; ",
        ),
        ("settings.at = { file = \"b\", x = 1, env = \"A\" }", "this says both a variable and a file"),
        ("settings.at = { file = \"b\", x = 1 }", "this says neither a variable nor a file"),
        ("settings.at = { env = \"A=B\" }", "this cannot be the name of a variable"),
        ("settings.at = { file = \"\" }", "the path is empty"),
        ("policy-settings.at = { env = \"A\" }", "what a policy is told cannot be a secret, for the journal keeps it"),
        ("manage = \"crate\"", "did you mean \"create\"?"),
        ("grants.nats-headers = \"Nats-Schedule\"", "did you mean \"Nats-Schedule*\"?"),
        ("grants.nats-headers = [\"Nats-Msg-Id\"]", "it can be \"Nats-Expected-Last-*\", \"Nats-Rollup\", "),
        ("isolation = 1", "it can be \"worker\", \"message\""),
    ] {
        let error = one(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn batches_that_cannot_be_are_told() {
    for (lines, expected) in [
        ("batching.size = 0", "line 5: workload.orders.batching.size: 0 is too small; it can be 1 to 10000"),
        (
            "pull.batch = 10\nbatching.size = 20",
            "line 6: workload.orders.batching.size: 20 is more than pull.batch, which is 10: so many never wait for a \
             worker; lower it, or raise pull.batch to 20 or leave that out",
        ),
        (
            "batching.wait = \"16s\"",
            "line 5: workload.orders.batching.wait: 16s is more than half of ack-wait, which is 30s; lower it, or \
             raise ack-wait",
        ),
        (
            "isolation = \"message\"\nbatching.max-bytes = \"1MiB\"",
            "line 6: workload.orders.batching.max-bytes: an instance that lives for one message (isolation) cannot \
             have several in a call; use isolation \"worker\", or remove batching",
        ),
        ("batching.length = 3", "line 5: workload.orders.batching.length: unknown key; [workload.orders.batching] may"),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}

#[test]
fn several_deliveries_at_once_where_they_cannot_be_are_told() {
    for (lines, expected) in [
        ("concurrency = 0", "line 5: workload.orders.concurrency: 0 is too small; it can be 1 to 1000"),
        ("concurrency = 1001", "line 5: workload.orders.concurrency: 1001 is too large; it can be 1 to 1000"),
        (
            "pull.batch = 10\nconcurrency = 20",
            "line 6: workload.orders.concurrency: 20 is more than pull.batch, which is 10: a worker never has so many; \
             lower it, or raise pull.batch to 20 or leave that out",
        ),
        (
            "isolation = \"message\"\nconcurrency = 2",
            "line 6: workload.orders.concurrency: an instance that lives for one message (isolation) cannot have \
             several at once; use isolation \"worker\", or remove concurrency",
        ),
        (
            "batching.wait = \"1s\"\nconcurrency = 2",
            "line 6: workload.orders.concurrency: a handler has either batches or several deliveries at once, and \
             [batching] is set too; remove one of the two",
        ),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}

#[test]
fn limits_for_what_is_behind_that_cannot_be_are_told() {
    for (lines, expected) in [
        ("rate = \"500\"", "line 5: workload.orders.rate: \"500\" is not a rate; write a whole number in a second"),
        ("rate = 500", "line 5: workload.orders.rate: expected a string, found an integer"),
        ("rate = \"0/s\"", "line 5: workload.orders.rate: \"0/s\" lets nothing begin; write a rate of 1 or more"),
        ("rate = \"5/fortnight\"", "line 5: workload.orders.rate: \"5/fortnight\" has the unknown period"),
        ("burst = 5", "line 5: workload.orders.burst: says nothing without rate; add rate, or remove it"),
        ("rate = \"5/s\"\nburst = 0", "line 6: workload.orders.burst: 0 is too small; it can be 1 to 1000000"),
        ("max-in-flight = 0", "line 5: workload.orders.max-in-flight: 0 is too small; it can be 1 to 1000000"),
        ("breaker.ratio = 1.5", "line 5: workload.orders.breaker.ratio: 1.5 is too large; it can be 0.01 to 0.99"),
        ("breaker.ratio = 0", "line 5: workload.orders.breaker.ratio: 0 is too small; it can be 0.01 to 0.99"),
        ("breaker.ratio = nan", "line 5: workload.orders.breaker.ratio: \"nan\" is not a number; write it as 0.5"),
        ("breaker.ratio = \"half\"", "line 5: workload.orders.breaker.ratio: expected a number, found a string"),
        ("breaker.window = \"5s\"", "line 5: workload.orders.breaker.window: says nothing without breaker.ratio"),
        (
            "breaker = { ratio = 0.5, probe-interval = \"0s\" }",
            "line 5: workload.orders.breaker.probe-interval: 0s is too small; it can be 10ms to 1h",
        ),
        (
            "rate = \"10/s\"\nbatching.size = 20",
            "line 6: workload.orders.batching.size: 20 is more than burst, which is 10: no batch has so many; lower \
             it, or raise burst",
        ),
        (
            "max-in-flight = 5\nbatching.size = 20",
            "line 6: workload.orders.batching.size: 20 is more than max-in-flight, which is 5",
        ),
        ("paused = \"yes\"", "line 5: workload.orders.paused: expected a boolean, found a string; write true or false"),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}

#[test]
fn partitions_that_cannot_be_are_told() {
    for (lines, expected) in [
        ("partitions = 1", "line 5: workload.orders.partitions: 1 is too small; it can be 2 to 128"),
        ("partitions = 129", "line 5: workload.orders.partitions: 129 is too large; it can be 2 to 128"),
        (
            "partitions = 8",
            "line 5: workload.orders.partitions: are for a workload that keeps an order, and this one has",
        ),
        (
            "order-key = \"header:Id\"\npartitions = 8",
            "line 6: workload.orders.partitions: need order-key = \"subject:N\": the server finds the partition of a \
             message by one token of its subject, before any host sees it; name the token",
        ),
        (
            "order-key = \"subject\"\npartitions = 8",
            "line 6: workload.orders.partitions: need order-key = \"subject:N\"",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\nsubjects = [\"orders.>\"]",
            "line 7: workload.orders.subjects: with partitions the stream has one subject whose token 2 is `*`",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\nsubjects = [\"orders.*\", \"returns.*\"]",
            "line 7: workload.orders.subjects: with partitions the stream has one subject",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\nmanage = \"create\"\nretention = \"interest\"",
            "line 8: workload.orders.retention: a stream with interest retention drops a message whose partition",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\nmax-in-flight = 7",
            "line 7: workload.orders.max-in-flight: 7 is less than the 8 partitions, each of which has its part",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\n[workload.orders-p7]\nstream = \"S\"\nhandler = \"h\"\n\
             policy = \"p\"",
            "line 7: workload.orders-p7.consumer: \"orders-p7\" is what a partition is called, here and by",
        ),
        (
            "order-key = \"subject:2\"\npartitions = 8\n[workload.more]\nstream = \"ORDERS\"\nhandler = \"h\"\n\
             policy = \"p\"",
            "line 7: workload.more.partitions: the stream ORDERS maps subjects to the partitions of",
        ),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}

#[test]
fn an_order_that_cannot_be_kept_is_told() {
    for (lines, expected) in [
        ("order-key = \"customer\"", "line 5: workload.orders.order-key: \"customer\" is no key; write \"subject:2\""),
        ("order-key = 2", "line 5: workload.orders.order-key: expected a string, found an integer"),
        (
            "order-key = \"subject:0\"",
            "line 5: workload.orders.order-key: \"subject:0\" does not name a token of the subject by its number, from \
             1 to 128; write",
        ),
        ("order-key = \"subject:x\"", "line 5: workload.orders.order-key: \"subject:x\" does not name a token"),
        ("order-key = \"header:\"", "line 5: workload.orders.order-key: \"header:\" does not name a header; write"),
        ("order-key = \"header:a b\"", "line 5: workload.orders.order-key: \"header:a b\" does not name a header"),
        (
            "order-key = \"subject\"\norder-buffer = 0",
            "line 6: workload.orders.order-buffer: 0 is too small; it can be 1 to 1000000",
        ),
        (
            "order-key = \"subject\"\norder-buffer-bytes = \"1B\"",
            "line 6: workload.orders.order-buffer-bytes: 1B is too small; it can be 1MiB to 64GiB",
        ),
        (
            "order-key = \"subject\"\nmax-ack-pending = 20000\norder-buffer = 20001",
            "line 7: workload.orders.order-buffer: 20001 is more than max-ack-pending, which is 20000: what waits is \
             unsettled, and the server delivers no more than that; write at most 20000, or raise max-ack-pending",
        ),
        (
            "order-buffer = 100",
            "line 5: workload.orders.order-buffer: is for a workload that keeps an order, and this one has no \
             order-key; give order-key as well, or remove it",
        ),
        (
            "per-key = { key = \"subject\" }",
            "line 5: workload.orders.per-key.key: says nothing without per-key.max-in-flight; add",
        ),
        (
            "per-key = { max-in-flight = 2, buffer = 5 }",
            "line 5: workload.orders.per-key.max-in-flight: says nothing without per-key.key; add",
        ),
        (
            "per-key = { key = \"token\", max-in-flight = 2 }",
            "line 5: workload.orders.per-key.key: \"token\" is no key; write \"subject:2\"",
        ),
        (
            "per-key = { key = \"subject\", max-in-flight = 0 }",
            "line 5: workload.orders.per-key.max-in-flight: 0 is too small; it can be 1 to 1000000",
        ),
        (
            "order-key = \"subject\"\nper-key = { key = \"subject\", max-in-flight = 2 }",
            "line 6: workload.orders.per-key.key: is for a workload without order-key, which lets one message",
        ),
        (
            "max-ack-pending = 20000\nper-key = { key = \"subject\", max-in-flight = 2, buffer = 20001 }",
            "line 6: workload.orders.per-key.buffer: 20001 is more than max-ack-pending, which is 20000",
        ),
        ("order-buffer-bytes = \"1MiB\"", "line 5: workload.orders.order-buffer-bytes: is for a workload that keeps"),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}

#[test]
fn a_key_that_no_message_can_have_is_told_the_token_that_there_is() {
    let told = |at: &str, subjects: &str, most: u32| {
        format!(
            "{at}: no message has this token of its subject, for what is read is {subjects}: each would have a key of \
             its own and wait for no other; name a token that is there, such as \"subject:{most}\", or correct filter \
             or subjects"
        )
    };
    let (order, per_key) = ("line 6: workload.orders.order-key", "line 6: workload.orders.per-key.key");
    for (lines, expected) in [
        ("subjects = [\"wt.*\"]\norder-key = \"subject:3\"", told(order, "\"wt.*\"", 2)),
        ("filter = [\"wt.a\", \"wt\"]\norder-key = \"subject:3\"", told(order, "\"wt.a\", \"wt\"", 2)),
        (
            "subjects = \"wt.>\"\nfilter = \"wt.a\"\norder-key = \"subject:3\"",
            told(&order.replace('6', "7"), "\"wt.a\"", 2),
        ),
        ("subjects = \"wt\"\nper-key = { key = \"subject:2\", max-in-flight = 1 }", told(per_key, "\"wt\"", 1)),
        ("filter = \"wt.a\"\norder-key = \"subject:3\"\npartitions = 4", told(order, "\"wt.a\"", 2)),
    ] {
        assert_eq!(one(lines), expected);
    }
    for lines in [
        "order-key = \"subject:3\"",
        "subjects = [\"wt\", \"wt.*.>\"]\norder-key = \"subject:3\"",
        "subjects = \">\"\nfilter = \"wt.*.*\"\norder-key = \"subject:3\"",
        "subjects = \"wt\"\norder-key = \"header:Id\"",
        "subjects = \"wt\"\norder-key = \"subject\"",
    ] {
        Config::from_toml(&format!("{LEAST}{lines}\n")).unwrap_or_else(|errors| panic!("{lines}: {errors}"));
    }
    // Another workload says what the stream takes.
    let maker = "[workload.maker]\nstream = \"ORDERS\"\nsubjects = \"wt.*\"\nhandler = \"h\"\npolicy = \"p\"\n";
    let errors = errors(&format!("{LEAST}order-key = \"subject:3\"\n{maker}"));
    assert!(errors.len() == 1 && errors[0].starts_with("line 5: workload.orders.order-key: no message"), "{errors:#?}");
}

#[test]
fn a_stream_that_would_take_in_what_the_host_says_itself_is_told_before_it_is_made() {
    for (subjects, what) in [
        ("_INBOX.*.x", "what is delivered to this host (_INBOX.>)"),
        (">", "what is delivered to this host (_INBOX.>)"),
        ("*.*", "what is delivered to this host (_INBOX.>)"),
        ("tidegate.>", "its dead letters (tidegate.dead.*)"),
        ("tidegate.journal.orders", "its lines of the journal (tidegate.journal.*)"),
    ] {
        let expected = format!(
            "line 6: workload.orders.subjects: \"{subjects}\" takes in {what}, so that each message would make new \
             ones for ever; give the stream subjects of its own, such as \"orders.>\""
        );
        assert_eq!(one(&format!("manage = \"create\"\nsubjects = \"{subjects}\"")), expected);
    }
    // A host that only binds makes no stream of these.
    Config::from_toml(&format!("{LEAST}subjects = \">\"\n")).unwrap();
    let created = format!("{LEAST}manage = \"create\"\nsubjects = \"mine.>\"\n");
    Config::from_toml(&created).unwrap();
    for own in ["[nats]\ninbox-prefix = \"mine\"\n", "nats = { url = \"nats://a\", inbox-prefix = \"mine\" }\n"] {
        let errors = errors(&format!("{created}{own}"));
        assert!(errors.len() == 1 && errors[0].contains("(mine.>)"), "{errors:#?}");
    }
    for (stream, lines) in [("TIDEGATE_DEAD", ""), ("MORGUE", "[dead-letters]\nstream = \"MORGUE\"\n")] {
        let errors = errors(&format!("{}{lines}", LEAST.replace("ORDERS", stream)));
        let expected =
            format!("line 2: workload.orders.stream: \"{stream}\" is where this host keeps dead letters, so");
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{errors:#?}");
    }
    let journal = LEAST.replace("ORDERS", "LINES") + "[journal]\nstream = \"LINES\"\n";
    assert!(errors(&journal)[0].contains("\"LINES\" is where this host keeps lines of the journal"));
}

#[test]
fn a_stream_of_dead_letters_is_made_within_what_a_server_takes() {
    for (line, expected) in [
        ("replicas = 0", "dead-letters.replicas: 0 is too small; it can be 1 to 5"),
        ("replicas = 6", "dead-letters.replicas: 6 is too large; it can be 1 to 5"),
        ("max-age = \"0s\"", "dead-letters.max-age: 0s is too small; it can be 1s to"),
        ("max-bytes = \"1B\"", "dead-letters.max-bytes: 1B is too small; it can be 1MiB to"),
        ("max-bytes = 7", "write it with a unit and in quotes, such as \"7B\""),
        ("max_age = \"1h\"", "dead-letters.max_age: unknown key; did you mean max-age?"),
    ] {
        let error = one(&format!("[dead-letters]\n{line}"));
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn what_is_out_of_range_is_told_the_range() {
    for (line, expected) in [
        ("limits.response = \"1B\"", "1B is too small; it can be 64KiB to 256MiB"),
        ("limits.publications = -1", "-1 is too small; it can be 0 to 100000"),
        ("limits.log-rate = \"2GiB\"", "2GiB is too large; it can be 1KiB to 1GiB"),
        ("limits.respawns = 0", "0 is too small; it can be 1 to 100000"),
        ("grants.publish = \"a..b\"", "has an empty token"),
        ("grants.reply = [\"a.>.b\"]", "goes on after >"),
        ("scale.max = 0", "0 is too small; it can be 1 to 10000"),
        ("scale.min = -1", "-1 is too small; it can be 0 to 10000"),
        ("scale.interval = \"1ms\"", "1ms is too small; it can be 10ms to 1h"),
        ("scale.interval = \"2h\"", "2h is too large"),
        ("scale.window = \"500ms\"", "500ms is less than interval, which is 1s"),
        ("pull.batch = 0", "0 is too small; it can be 1 to 10000"),
        ("pull.expires = \"10ms\"", "it can be 1s to 5m"),
        ("ack-wait = \"0s\"", "it can be 1s to 1day"),
        ("retry.max-attempts = 0", "it can be 1 to 10000"),
        ("retry.backoff = []", "the list is empty"),
        ("retry.backoff = [\"-1s\"]", "is negative"),
        ("retry.backoff = [\"8days\"]", "8days is too large; a delay can be 0s to 7days"),
        ("limits.memory = \"1KiB\"", "1KiB is too small; it can be 64KiB to 4GiB"),
        ("limits.memory = \"64parsec\"", "unknown unit \"parsec\""),
        ("max-ack-pending = 1600", "1600 is not more than max x batch, which is 16 x 100; write at least 1601"),
        ("max-waiting = 15", "15 is too small; it can be 16 or more"),
    ] {
        let error = one(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert!(errors(&format!("grace = \"2h\"\n{LEAST}"))[0].contains("grace: 2h is too large; it can be 0s to 1h"));
    for (line, said) in [
        ("max-size = \"2GiB\"", "plugins.max-size: 2GiB is too large; it can be 1KiB to 1GiB"),
        ("compile-time = \"1ms\"", "plugins.compile-time: 1ms is too small; it can be 1s to 1h"),
        ("compile-memory = \"1MiB\"", "plugins.compile-memory: 1MiB is too small; it can be 128MiB to 64GiB"),
    ] {
        let errors = errors(&format!("[plugins]\n{line}\n{LEAST}"));
        assert!(errors[0].contains(said), "{errors:?}");
    }
}

#[test]
fn min_above_max_names_both() {
    assert_eq!(
        one("scale.min = 5\nscale.max = 4"),
        "line 5: workload.orders.scale.min: 5 is more than max, which is 4; lower min or raise max"
    );
    assert!(one("scale.min = 20").contains("20 is more than max, which is 16 by default"));
}

#[test]
fn names_that_jetstream_or_the_directory_cannot_have_are_refused() {
    for (line, expected) in [
        ("consumer = \"a.b\"", "holds '.'"),
        ("scale.watch-consumer = \"a b\"", "holds ' '"),
        ("filter = \"a..b\"", "has an empty token"),
        ("filter = [\"a.>\", \"a.b\"]", "match some of the same messages"),
    ] {
        let error = one(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert!(errors(&LEAST.replace("ORDERS", "MY ORDERS"))[0].starts_with("line 2: workload.orders.stream: "));
    assert!(errors(&LEAST.replace("receipts", "plugins/receipts.wasm"))[0].contains("without .wasm: \"receipts\""));
    assert!(errors(&LEAST.replace("workload.orders", "workload.\"a b\""))[0].starts_with("line 1: workload.a b: "));
}

#[test]
fn what_is_required_is_asked_for_where_the_workload_begins() {
    let all = errors("\n[workload.orders]\n");
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(all.iter().all(|error| error.starts_with("line 2: workload.orders.")), "{all:#?}");
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let all = errors(&format!("{LEAST}ack-wait = 3\nconsumr = \"x\"\nscale.max = 0\npull.batch = \"x\"\n"));
    let lines: Vec<&str> = all.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["line 5", "line 6", "line 7", "line 8"], "{all:#?}");
}

#[test]
fn no_toml_names_the_line() {
    let error = &errors("[workload.orders]\nstream = \n")[0];
    assert!(error.starts_with("line 2: this is not TOML"), "{error}");
}

#[test]
fn two_workloads_do_not_share_a_consumer() {
    let both = format!("{LEAST}consumer = \"c\"\n{}consumer = \"c\"\n", LEAST.replace("orders]", "invoices]"));
    let all = errors(&both);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].starts_with("line 10: workload.invoices.consumer: "), "{}", all[0]);
    assert!(all[0].contains("workload.orders.consumer (line 5)"), "{}", all[0]);
    let watched = format!("{LEAST}scale.source = \"headers\"\nscale.watch-consumer = \"orders-workers\"\n");
    assert_eq!(errors(&watched).len(), 1);
}

#[test]
fn a_plugin_is_not_both_handler_and_policy() {
    let second =
        LEAST.replace("orders]", "invoices]").replace("receipts", "backlog").replace("\"backlog\"\n", "\"x\"\n");
    let both = format!("{LEAST}{}", second.replace("handler = \"x\"", "handler = \"backlog\""));
    let all = errors(&both);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].starts_with("line 4: workload.orders.policy: \"backlog\" is used as a policy here"), "{}", all[0]);
}

#[test]
fn a_filter_matches_something_in_its_stream() {
    assert!(one("subjects = \"shop.>\"\nfilter = \"other.x\"").contains("the filter \"other.x\" matches none"));
}

#[test]
fn the_headers_of_a_workqueue_cannot_be_watched() {
    let error = one("retention = \"workqueue\"\nscale.source = \"headers\"");
    assert!(error.starts_with("line 6: workload.orders.scale.source: "), "{error}");
    assert!(error.ends_with("use source \"info\", or another retention"), "{error}");
}

#[test]
fn an_empty_file_and_one_without_workloads_say_so() {
    assert!(errors("")[0].starts_with("the file is empty; add [workload.NAME]"));
    assert!(errors("[nats]\n")[0].starts_with("there is no workload; "));
}

#[test]
fn a_missing_file_and_one_that_is_not_text_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let load = || Config::from_file(directory.path().join("t.toml")).unwrap_err().to_string();
    assert!(load().contains("t.toml: there is no such file; "), "{}", load());
    std::fs::write(directory.path().join("t.toml"), [0xff, 0xfe]).unwrap();
    assert!(load().contains("t.toml: this is not text; "), "{}", load());
}

#[test]
fn a_file_is_named_in_its_errors() {
    let (_directory, config) = written(&format!("{LEAST}scale.max = 0\n"));
    let error = Config::load(&flags(&config), &variables(&[])).unwrap_err().to_string();
    assert!(error.contains("tidegate.toml:5: workload.orders.scale.max: 0 is too small"), "{error}");
}

#[test]
fn a_key_with_a_line_break_is_told_on_one_line() {
    assert!(
        one("\"max\\nline 9: all is well\" = 4").starts_with("line 5: workload.orders.max\\nline 9: all is well: ")
    );
    let all = errors("[workload.\"a\\r\\nb\"]\n");
    assert!(!all.is_empty() && all.iter().all(|error| !error.contains(['\r', '\n'])), "{all:#?}");
}

#[test]
fn what_is_of_use_in_a_fleet_only_or_would_be_wrong_there_is_refused() {
    let of = |head: &str, tail: &str| {
        let workload = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n";
        Config::from_toml(&format!("{head}\n{workload}{tail}")).map_err(|errors| errors.to_string())
    };
    assert!(of("host.max-workers = 3", "").unwrap_err().contains("of no use without a fleet; set fleet.bucket"));
    assert!(of("host.id = \"a\"", "").unwrap_err().contains("host.id"));
    assert!(of("host.id = \"a.b\"\nfleet.bucket = \"F\"", "").unwrap_err().contains("cannot be the id of a host"));
    assert!(of("fleet.bucket = \"a b\"", "").unwrap_err().contains("is not the name of a bucket"));
    let headers = of("fleet.bucket = \"F\"", "scale.source = \"headers\"\n").unwrap_err();
    assert!(headers.contains("each see a part of them") && headers.contains("info"), "{headers}");
    let order = of("fleet.bucket = \"F\"", "order-key = \"subject\"\n").unwrap();
    assert!(order.workloads[0].order.as_ref().unwrap().in_fleet);
    let fleet = of("fleet.bucket = \"F\"\nhost = { id = \"a\", max-workers = 3 }", "").unwrap().fleet.unwrap();
    assert_eq!((fleet.bucket.as_str(), fleet.host.as_deref(), fleet.max_workers), ("F", Some("a"), Some(3)));
}

#[test]
fn keys_of_a_service_are_refused_where_there_is_none_and_so_is_what_would_let_strangers_speak_for_the_host() {
    let of = |lines: &str| errors(&format!("{lines}\n{LEAST}"));
    for (line, words) in [
        (
            "service.admin = true",
            "line 1: service.admin: it is of no use where the host is no NATS service; set service",
        ),
        ("service.prefix = \"a\"", "line 1: service.prefix: it is of no use where the host is no NATS service"),
        ("host.id = \"a\"", "it is of no use without a fleet"),
        ("service = { enabled = true, prefix = \"a.>\" }", "\"a.>\" has a wildcard"),
        ("service = { enabled = true, prefix = \"$JS.API\" }", "begins with $, which NATS keeps for itself"),
        ("service = { enabled = true, replies = [\"_INBOX.>\", \"$JS.>\"] }", "have this host speak to JetStream"),
        ("service = { enabled = true, replies = \">\" }", "such as \"_INBOX_ops.>\""),
    ] {
        let errors = of(line);
        assert!(errors.len() == 1 && errors[0].contains(words), "{line}: {errors:#?}");
    }
    let config = Config::from_toml(&format!("host.id = \"a\"\nservice.enabled = true\n{LEAST}")).unwrap();
    let replies = vec!["_INBOX.>".to_owned(), "_R_.>".to_owned()];
    let (host, prefix) = (Some("a".to_owned()), "tidegate.host".to_owned());
    assert_eq!(config.service, Some(ServiceConfig { host, prefix, admin: false, replies }));
}

#[test]
fn rollouts_that_cannot_be_are_told() {
    for (lines, expected) in [
        (
            "rollout.for = \"5m\"",
            "line 5: workload.orders.rollout.for: says nothing without rollout.share; add rollout.share, such as 0.05, \
             or remove it",
        ),
        ("rollout.share = 0.9", "line 5: workload.orders.rollout.share: 0.9 is too large; it can be 0.01 to 0.5"),
        ("rollout = 0.05", "line 5: workload.orders.rollout: expected a table, found a float"),
        (
            "rollout.share = 0.1\nrollout.max-slowdown = 1",
            "line 6: workload.orders.rollout.max-slowdown: 1 is too small; it can be 1.1 to 1000",
        ),
        ("rollout.shares = 0.1", "line 5: workload.orders.rollout.shares: unknown key; did you mean share?"),
    ] {
        let error = one(lines);
        assert!(error.starts_with(expected), "{lines}: {error}");
    }
}
