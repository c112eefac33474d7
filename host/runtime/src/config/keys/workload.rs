//! The keys of a workload, as they stand in `[workload.NAME]`.

use super::connection;
use super::key::Key;
use crate::config::http_grants;
use crate::config::kv_grants;
use crate::config::names;
use crate::config::nats_headers;
use crate::config::order_key;
use crate::config::words::{Isolation, Manage, Retention, SignalSource};

/// In the order of the page and of the example file.
pub const WORKLOAD: &[Key] = &[
    Key::text("stream", "STREAM")
        .flag("stream")
        .required("the name of the stream to work on")
        .rule(names::jetstream)
        .set("\"ORDERS\"")
        .help("The stream to work on"),
    Key::text("consumer", "CONSUMER")
        .flag("consumer")
        .derived("NAME-workers")
        .set("\"orders-workers\"")
        .rule(names::jetstream)
        .help("The durable consumer")
        .more("Two workloads cannot share one."),
    Key::word::<Manage>("manage", "HOW")
        .flag("manage")
        .derived("bind; create without a file")
        .set("\"create\"")
        .help("Whether the host makes a stream and consumer that are missing")
        .more(
            "`bind`: stream and consumer must be there, with settings that can work. `create`: what is missing is \
             made, what is there is checked.",
        ),
    Key::texts("subjects", "SUBJECT")
        .flag("subjects")
        .rule(names::subject)
        .set("[\"shop.orders.>\", \"shop.receipts.>\"]")
        .help("The subjects of the stream, where the host makes it"),
    Key::word::<Retention>("retention", "WHEN")
        .flag("retention")
        .default("limits")
        .help("When the stream lets go of a message, where the host makes it"),
    Key::size("max-bytes")
        .nothing("no limit")
        .range("1MiB to 1048576GiB")
        .comment("\"10GiB\"")
        .help("Bytes of the stream, where the host makes it; the oldest messages go first")
        .more("Some accounts want it for every stream. In the file alone: the flag `--max-bytes` is of the pulls."),
    Key::texts("filter", "SUBJECT")
        .flag("filter")
        .nothing("all subjects")
        .rule(names::subject)
        .set("\"shop.orders.new\"")
        .help("Subjects that the consumer is limited to")
        .more("They must not overlap."),
    Key::duration("ack-wait")
        .flag("ack-wait")
        .default("30s")
        .range("1s to 1day")
        .help("How long the server waits for a settlement before it delivers again")
        .more("Workers extend it while they work."),
    Key::integer("max-ack-pending", "COUNT")
        .flag("max-ack-pending")
        .derived("max x batch x 2, at least 16000, or 1000 where pull.batch is set; and what may wait for its key")
        .range("more than max x batch; -1 is no limit")
        .set("16000")
        .help("Deliveries that may be unsettled at once")
        .more(
            "Those that wait for a retry count too. The 16000 are made fewer, down to what is needed, where the \
             account allows no more.",
        ),
    Key::integer("max-waiting", "COUNT")
        .flag("max-waiting")
        .default("512")
        .range("16 or more")
        .help("Pulls that may wait at once, of all hosts")
        .more("Fixed when the consumer is created. A host has a few at a time, however many workers it runs."),
    Key::text("handler", "PLUGIN")
        .flag("handler")
        .required("the name of a plugin that handles a message")
        .rule(names::plugin_reference)
        .set("\"receipts\"")
        .help("The plugin that handles a message, by name: receipts for receipts.wasm")
        .more(
            "With `@sha256:` and the digest of a file behind the name, only that file runs. \
             `oci://REGISTRY/NAME:TAG` is one in a registry. So can `policy` and `shadow.policy`.",
        ),
    Key::text("policy", "PLUGIN")
        .flag("policy")
        .required("the name of a plugin that decides the number of workers, such as \"backlog\"")
        .rule(names::plugin_reference)
        .set("\"backlog\"")
        .help("The plugin that decides the number of workers, by name")
        .more("A plugin cannot be a handler in one place and a policy in another."),
    Key::word::<Isolation>("isolation", "LIFE")
        .flag("isolation")
        .default("worker")
        .help("Whether a handler instance lives as long as its worker or for one message"),
    Key::integer("concurrency", "DELIVERIES")
        .flag("concurrency")
        .default("1")
        .range("1 to 1000")
        .comment("64")
        .help("Deliveries that one instance of an asynchronous handler has at once")
        .more(
            "An asynchronous handler exports `async-handler`. With more than 1, one that does not is refused. Not with \
             batching or with isolation `message`, and not more than pull.batch. What a call may use of time, \
             requests and the like holds for each; limits.memory is for all that an instance has at once.",
        ),
    Key::text("order-key", "KEY")
        .flag("order-key")
        .nothing("no order")
        .range("`subject:N` for the Nth token of the subject, `subject`, or `header:NAME`")
        .rule(order_key::rule)
        .comment("\"header:Order-Id\"")
        .help("What messages have in common that are handled one after the other, in the order of the stream")
        .more(
            "The next of a key begins when the one before is acked or a dead letter; other keys flow. A message \
             without the token or the header has a key of its own. Of several hosts \
             one at a time works the consumer, and another takes over when it is gone.",
        ),
    Key::integer("order-buffer", "MESSAGES")
        .flag("order-buffer")
        .derived("10000, or max-ack-pending if that is less")
        .range("1 to 1000000")
        .comment("10000")
        .help("How many messages may wait for an earlier one of their key; then no more are fetched")
        .more("They are unsettled meanwhile, so it is not more than max-ack-pending."),
    Key::size("order-buffer-bytes")
        .flag("order-buffer-bytes")
        .default("64MiB")
        .range("1MiB to 64GiB")
        .comment("\"64MiB\"")
        .help("How many bytes these may have together"),
    Key::integer("partitions", "COUNT")
        .flag("partitions")
        .nothing("one consumer, worked by one host at a time")
        .range("2 to 128")
        .comment("8")
        .help("Over how many consumers the keys of an order are spread, so that several hosts work them")
        .more(
            "Each is a workload of its own, called NAME-p0, NAME-p1 and so on, with the consumer CONSUMER-p0; scale.* \
             holds for each, and rate and max-in-flight are divided among them. The stream maps subjects to \
             partitions, so order-key is `subject:N`, and where the host makes the stream it has one subject whose \
             Nth token is `*`.",
        ),
    Key::integer("max-hops", "COUNT")
        .flag("max-hops")
        .default("16")
        .range("1 to 1000")
        .help("Through how many workloads a message may have come before it becomes a dead letter")
        .more("Each publication counts them in its header `Tidegate-Hops`, so that nothing goes round for ever."),
    Key::boolean("paused")
        .flag("paused")
        .nothing("as it is")
        .comment("true")
        .help("Whether the consumer is paused (true) or resumed (false) when the workload starts")
        .more(
            "On servers of 2.11 and newer. `tidegate pause` and `tidegate resume` do it meanwhile, for all hosts of \
             the consumer.",
        ),
    Key::text("rate", "RATE")
        .flag("rate")
        .nothing("no limit")
        .range("`1/h` to `1000000/s`; `/s`, `/m` or `/h`")
        .comment("\"500/s\"")
        .help("How many deliveries may begin in a second, a minute or an hour, on this host or its fleet")
        .more("What waits stays in the stream. Each attempt counts."),
    Key::integer("burst", "DELIVERIES")
        .flag("burst")
        .derived("what the rate allows in a second, at least 1")
        .range("1 to 1000000")
        .comment("500")
        .help("How many deliveries may begin at once after a time without any, where there is a rate"),
    Key::integer("max-in-flight", "DELIVERIES")
        .flag("max-in-flight")
        .nothing("no limit")
        .range("1 to 1000000")
        .comment("20")
        .help("How many deliveries may be in handlers at once, on this host or its fleet")
        .more("What waits stays in the stream. Each delivery of a batch counts."),
    Key::table("settings")
        .flag("setting")
        .set("subject-prefix = \"shop.receipts\"")
        .secrets()
        .help("Settings that the handler reads through wasi:config/store")
        .more(
            "A value can be `{ env = \"NAME\" }` or `{ file = \"/run/secrets/name\" }`: then each instance reads it \
             when it starts.",
        ),
    Key::table("policy-settings")
        .flag("policy-setting")
        .set("pending-per-worker = 100")
        .help("Settings that the policy gets when it starts"),
    Key::text("shadow.policy", "PLUGIN")
        .flag("shadow")
        .rule(names::plugin_reference)
        .comment("\"candidate\"")
        .help("A policy that is asked too, by name; what it decides is only noted")
        .more("It is asked on every tick, counted, and written in the journal."),
    Key::table("shadow.policy-settings")
        .flag("shadow-setting")
        .nothing("those of the policy")
        .comment("pending-per-worker = 50")
        .help("Settings that the shadow gets when it starts"),
    Key::integer("scale.min", "WORKERS")
        .flag("min")
        .default("0")
        .range("0 to 10000")
        .help("The fewest workers, of all hosts of its fleet if there is one; with 0 an idle workload has none")
        .more("Not more than max. An idle workload's next message starts one."),
    Key::integer("scale.max", "WORKERS")
        .flag("max")
        .default("16")
        .range("1 to 10000")
        .set("64")
        .help("The most workers of this host, or of all hosts of its fleet together")
        .more(
            "16 is enough for most handlers that wait on something, and at 64 MiB each at worst 1 GiB of memory. Linux \
             lets a process have 65,530 memory mappings (`vm.max_map_count`), of which a worker takes about 7: where \
             that is not enough for all workloads together, fewer workers run and `/readyz` says so.",
        ),
    Key::duration("scale.interval")
        .flag("interval")
        .default("1s")
        .range("10ms to 1h")
        .help("Time between decisions of the policy"),
    Key::duration("scale.window")
        .flag("window")
        .derived("5s, or the interval if that is longer")
        .range("interval to 1h")
        .set("\"5s\"")
        .help("What rates are measured over"),
    Key::word::<SignalSource>("scale.source", "SOURCE")
        .flag("source")
        .default("info")
        .help("Where the policy's signals come from: consumer state, or a headers-only consumer")
        .more(
            "`headers` sees every message. It is for one host on a workload (several share the headers, and each sees \
             a part), and not for a stream with workqueue retention.",
        ),
    Key::text("scale.watch-consumer", "CONSUMER")
        .flag("watch-consumer")
        .derived("CONSUMER-watch")
        .set("\"orders-workers-watch\"")
        .rule(names::jetstream)
        .help("The durable consumer of the source headers"),
    Key::integer("pull.batch", "DELIVERIES")
        .flag("batch")
        .derived("100, or batching.size or concurrency if that is more")
        .range("1 to 10000")
        .comment("200")
        .help("The most deliveries a worker holds at once")
        .more(
            "Where it is left out, the workers of a host may hold 2000 together, or an eighth of the consumer's \
             max_ack_pending if that is less, as long as that is not more than 100 ms of their work.",
        ),
    Key::size("pull.max-bytes")
        .flag("max-bytes")
        .default("64MiB")
        .range("1MiB to 64GiB")
        .help("Bytes of messages that wait for workers")
        .more("A message larger than what is left of it is still fetched, alone."),
    Key::duration("pull.expires")
        .flag("expires")
        .default("5s")
        .range("1s to 5m")
        .help("How long a pull waits at the server before it is sent again")
        .more("A host that stops waits for its last pull to end."),
    Key::integer("batching.size", "DELIVERIES")
        .flag("batching-size")
        .derived("100, or pull.batch if that is less")
        .range("1 to 10000")
        .comment("100")
        .help("The most deliveries that a handler of batches is given in one call")
        .more(
            "A handler of batches exports `batch-handler`. Where any key of this table is set, one that does not is \
             refused; where none is, it has these defaults. Not more than pull.batch.",
        ),
    Key::size("batching.max-bytes")
        .flag("batching-max-bytes")
        .default("4MiB")
        .range("1KiB to 1GiB")
        .comment("\"4MiB\"")
        .help("Bytes of payloads and headers that a handler of batches is given in one call")
        .more("A larger message comes alone."),
    Key::duration("batching.wait")
        .flag("batching-wait")
        .default("0s")
        .range("0s to 12h")
        .comment("\"100ms\"")
        .help("How long a batch that is not full waits for more deliveries")
        .more(
            "At most half of ack-wait. They are announced as in progress meanwhile. With 0s a batch has what is there.",
        ),
    Key::texts("grants.publish", "SUBJECT")
        .flag("grant-publish")
        .nothing("nothing")
        .rule(names::subject)
        .set("[\"shop.receipts.>\"]")
        .help("Subjects, with wildcards, that the handler may publish on")
        .more("An answer with another subject is a failure."),
    Key::texts("grants.request", "SUBJECT")
        .flag("grant-request")
        .nothing("nothing")
        .rule(names::subject)
        .comment("[\"prices.>\"]")
        .help("Subjects, with wildcards, that the handler may send requests on by core NATS")
        .more(
            "Of use to components that export `wasmcloud:messaging/handler`. A request is sent at once, whatever the \
             call comes to.",
        ),
    Key::texts("grants.reply", "SUBJECT")
        .flag("grant-reply")
        .default("_INBOX.>")
        .rule(names::subject)
        .help("Subjects that a requester may have the reply sent to; what is given replaces the default")
        .more(
            "Whoever may publish to the stream chooses it, so widen this only to subjects on which anything may be \
             said with this host's rights. No reply is sent elsewhere.",
        ),
    Key::texts("grants.nats-headers", "HEADERS")
        .flag("grant-nats-headers")
        .nothing("none")
        .range("`Nats-Expected-Last-*`, `Nats-Rollup`, `Nats-Schedule*`, `Nats-TTL`")
        .rule(nats_headers::rule)
        .comment("[\"Nats-TTL\"]")
        .help("Headers by which the handler's publications may ask something of their streams")
        .more(
            "`Nats-TTL` needs a server of 2.11 or newer, `Nats-Schedule*` one of 2.12, and each a stream that allows \
             it.",
        ),
    Key::texts("grants.http", "URL")
        .flag("grant-http")
        .nothing("nothing")
        .rule(http_grants::rule)
        .comment("[\"https://api.example.com/v1/\"]")
        .help("Where the handler may send HTTP requests: scheme, host, port, and what the path begins with")
        .more("Redirects are not followed. A request elsewhere is denied, and named in the log."),
    Key::file("grants.http-ca", "FILE")
        .flag("grant-http-ca")
        .nothing("the system's authorities")
        .comment("\"api-ca.pem\"")
        .help("A PEM file with authorities whose certificates those servers may have, beside the system's")
        .more("Read when the workload starts."),
    Key::texts("grants.kv", "GRANT")
        .flag("grant-kv")
        .nothing("none")
        .range("`read BUCKET`, `read-write BUCKET`, or either with `/PREFIX` behind it")
        .rule(kv_grants::rule)
        .comment("[\"read-write counters/orders.\"]")
        .help("JetStream KV buckets that the handler may use, all keys or those that begin with a prefix")
        .more(
            "A bucket that is missing is made where `manage` is `create`; otherwise the workload does not start before \
             it is there.",
        ),
    Key::duration("limits.time")
        .flag("limit-time")
        .default("10s")
        .range("1ms to 1h")
        .help("Wall-clock time of one handler call, whether it has one delivery or a batch"),
    Key::size("limits.memory")
        .flag("limit-memory")
        .default("64MiB")
        .range("64KiB to 4GiB")
        .help("Memory of one instance, all its memories together"),
    Key::integer("limits.table-elements", "COUNT")
        .flag("limit-table-elements")
        .default("100000")
        .range("1 to 10000000")
        .help("Elements of one instance's tables, all together"),
    Key::integer("limits.instances", "COUNT")
        .flag("limit-instances")
        .default("100")
        .range("1 to 10000")
        .help("Core instances, memories and tables, each, that one component may have"),
    Key::integer("limits.fuel", "FUEL")
        .flag("limit-fuel")
        .default("1000000000")
        .range("10000 or more")
        .help("Instructions of one policy call, as wasmtime counts fuel"),
    Key::size("limits.response")
        .flag("limit-response")
        .default("16MiB")
        .range("64KiB to 256MiB")
        .help("Bytes that a guest may hand the host at once, as in a response with all its publications"),
    Key::integer("limits.publications", "COUNT")
        .flag("limit-publications")
        .default("1000")
        .range("0 to 100000")
        .help("Publications of one response"),
    Key::size("limits.log-rate")
        .flag("limit-log-rate")
        .default("256KiB")
        .range("1KiB to 1GiB")
        .help("Bytes that all instances of the handler may log in a second, and those of the policy")
        .more("What is over it is dropped and counted."),
    Key::integer("limits.respawns", "COUNT")
        .flag("limit-respawns")
        .default("100")
        .range("1 to 100000")
        .help("Handler instances made anew in a second after a call that trapped, took too long or too much")
        .more("Workers wait before they make more."),
    Key::integer("limits.http-requests", "COUNT")
        .flag("limit-http-requests")
        .default("100")
        .range("0 to 100000")
        .help("HTTP requests of one handler call"),
    Key::integer("limits.http-at-once", "COUNT")
        .flag("limit-http-at-once")
        .default("256")
        .range("1 to 10000")
        .help("HTTP requests at once, of all instances of the handler")
        .more("Others wait as long as they may for a connection. Each takes a file descriptor of the host."),
    Key::size("limits.http-request-body")
        .flag("limit-http-request-body")
        .default("16MiB")
        .range("0B to 64GiB")
        .help("Bytes of the body of one HTTP request"),
    Key::size("limits.http-response-body")
        .flag("limit-http-response-body")
        .default("16MiB")
        .range("0B to 64GiB")
        .help("Bytes of the body of one HTTP response")
        .more("The host holds no body whole, so what a guest keeps of it counts as its memory."),
    Key::duration("limits.http-connect")
        .flag("limit-http-connect")
        .default("3s")
        .range("1ms to 1h")
        .help("How long an HTTP request waits for its turn, and then for a connection, names and TLS included")
        .more("All that HTTP takes counts in `limits.time` too: where that is shorter, it ends the call first."),
    Key::duration("limits.http-first-byte")
        .flag("limit-http-first-byte")
        .default("5s")
        .range("1ms to 1h")
        .help("How long an HTTP request may take, once it is connected, until its response begins"),
    Key::size("limits.kv-value")
        .flag("limit-kv-value")
        .default("1MiB")
        .range("1KiB to 64MiB")
        .help("Bytes of one value that the handler sets or gets")
        .more(
            "The server's own limit holds too. The values that compare-and-swap handles of an instance keep have at \
             most eight times that together.",
        ),
    Key::integer("limits.kv-operations", "COUNT")
        .flag("limit-kv-operations")
        .default("1000")
        .range("1 to 100000")
        .help("Key-value operations of one handler call; each key of a batch is one"),
    Key::integer("limits.kv-handles", "COUNT")
        .flag("limit-kv-handles")
        .default("100")
        .range("1 to 1000")
        .help("Buckets and compare-and-swap handles that one instance may have open at once"),
    Key::integer("limits.requests", "COUNT")
        .flag("limit-requests")
        .default("1000")
        .range("1 to 100000")
        .help("Requests by core NATS of one handler call"),
    Key::text("per-key.key", "KEY")
        .flag("per-key")
        .nothing("no limit for a key")
        .range("`subject:N` for the Nth token of the subject, `subject`, or `header:NAME`")
        .rule(order_key::rule)
        .comment("\"subject:2\"")
        .help("What messages have in common of which few may be handled at once, in any order")
        .more("A message without the token or the header has a key of its own. Not with order-key."),
    Key::integer("per-key.max-in-flight", "DELIVERIES")
        .flag("per-key-max-in-flight")
        .nothing("no limit for a key")
        .range("1 to 1000000")
        .comment("4")
        .help("How many deliveries of one key may be handled at once, on this host")
        .more("From when one is taken until it is settled, its publications being stored by then."),
    Key::integer("per-key.buffer", "MESSAGES")
        .flag("per-key-buffer")
        .derived("1000, or max-ack-pending if that is less")
        .range("1 to 1000000")
        .comment("1000")
        .help("How many messages may wait for others of their key; then no more are fetched")
        .more("They are unsettled meanwhile, so it is not more than max-ack-pending."),
    Key::size("per-key.buffer-bytes")
        .flag("per-key-buffer-bytes")
        .default("64MiB")
        .range("1MiB to 64GiB")
        .comment("\"64MiB\"")
        .help("How many bytes these may have together"),
    Key::number("breaker.ratio", "SHARE")
        .flag("breaker-ratio")
        .nothing("no breaker")
        .range("0.01 to 0.99")
        .comment("0.5")
        .help("For more than which share of calls that answer `retry` or run out of time the workload slows to probes")
        .more("It comes back when a probe ends otherwise. Traps and faults of memory count neither way."),
    Key::duration("breaker.window")
        .flag("breaker-window")
        .default("10s")
        .range("1s to 1h")
        .comment("\"10s\"")
        .help("What that share is measured over"),
    Key::integer("breaker.min-calls", "COUNT")
        .flag("breaker-min-calls")
        .default("20")
        .range("1 to 1000000")
        .comment("20")
        .help("Before how many calls within the window it does not slow down"),
    Key::duration("breaker.probe-interval")
        .flag("breaker-probe-interval")
        .default("1s")
        .range("10ms to 1h")
        .comment("\"1s\"")
        .help("Time from one probe to the next, each of which is one call"),
    Key::number("rollout.share", "SHARE")
        .flag("rollout-share")
        .nothing("a new generation of the handler takes over at once")
        .range("0.01 to 0.5")
        .comment("0.05")
        .help("The share of the workers that run a new generation of the handler first, at least one")
        .more(
            "It is compared with the old generation on the same minutes, and promoted or rolled back by itself. A \
             single worker runs it for that share of the time.",
        ),
    Key::duration("rollout.for")
        .flag("rollout-for")
        .default("5m")
        .range("1s to 7days")
        .comment("\"5m\"")
        .help("How long both generations run side by side before the new one is promoted")
        .more(
            "One that is worse is rolled back as soon as that is clear. A trial in doubt goes on, for 12 times as \
             long at most.",
        ),
    Key::integer("rollout.min-messages", "MESSAGES")
        .flag("rollout-min-messages")
        .default("1000")
        .range("1 to 1000000000")
        .comment("1000")
        .help("How many messages the new generation has to handle before it is promoted"),
    Key::number("rollout.max-failure-ratio", "TIMES")
        .flag("rollout-max-failure-ratio")
        .default("2.0")
        .range("1.1 to 1000")
        .comment("2.0")
        .help("From how many times as many failures or faults as the old one's, of as many calls, it is rolled back"),
    Key::number("rollout.max-slowdown", "TIMES")
        .flag("rollout-max-slowdown")
        .default("1.5")
        .range("1.1 to 1000")
        .comment("1.5")
        .help("From how many times as long as the old generation's calls, on average, it is rolled back"),
    Key::integer("retry.max-attempts", "COUNT")
        .flag("max-attempts")
        .default("5")
        .range("1 to 10000")
        .help("How often a handler tries a message before it becomes a dead letter")
        .more(
            "Outages use up no attempt; a message that was delivered three times as often and never finished becomes a \
             dead letter untried.",
        ),
    Key::delays("retry.backoff")
        .flag("backoff")
        .default("1s,5s,30s,2m")
        .range("0s to 7days")
        .help("Delays after the first, second, ... failed attempt; the last one repeats")
        .more("So too after a delivery that an outage ended."),
    connection::URL
        .nothing("required, where there is no context")
        .comment("\"tls://nats.example:4222\"")
        .more("With this or `context` the workload has a connection of its own; nothing of `[nats]` counts for it."),
    connection::CONTEXT.help("A context as the nats command keeps them, which says all of it"),
    connection::USER.help("The user's name; needs the password too"),
    connection::PASSWORD.help("The user's password; creds, nkey and context keep secrets out of this file"),
    connection::TOKEN.help("A token"),
    connection::NKEY,
    connection::CREDS,
    connection::CA,
    connection::CERT,
    connection::KEY,
    connection::INBOX_PREFIX,
    connection::JETSTREAM_DOMAIN,
    connection::API_PREFIX,
    connection::TLS_FIRST.comment("false"),
];
