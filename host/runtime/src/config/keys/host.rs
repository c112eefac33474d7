//! The keys of the host: what all its workloads share.

use super::connection;
use super::key::{Key, of_the_host};
use crate::config::{names, oci_reference};

/// The stream that keeps dead letters if no other is named.
pub(in crate::config) const DEAD_LETTERS: &str = "TIDEGATE_DEAD";

/// In the order of the page and of the example file.
pub const HOST: &[Key] = &of_the_host([
    Key::duration("grace")
        .flag("grace")
        .default("30s")
        .range("0s to 1h")
        .help("How long workers may take to finish what they have when the host stops")
        .more("What they cannot finish they give back."),
    Key::text("http", "ADDRESS")
        .flag("http")
        .nothing("nowhere")
        .range("a port, or an IP address and a port")
        .comment("\"8222\"")
        .help("Where health, metrics and status can be read over HTTP; a port alone is on the loopback address")
        .more(
            "Paths: `/` (a page for the browser), `/healthz`, `/readyz`, `/metrics`, `/status`, `/scale`. What the \
             host does can be read without authentication: do not listen where strangers can reach it.",
        ),
    Key::texts("http-names", "NAME")
        .flag("http-names")
        .range("names of hosts, without ports")
        .rule(names::host)
        .comment("[\"tidegate.internal\"]")
        .help("Names under which that may be asked for, beside addresses and localhost")
        .more(
            "What is asked for under another name is refused (421), for a page in somebody's browser could have its \
             own name lead here. Where one is listed, dead letters need the token of `http-admin`.",
        ),
    Key::table("http-admin")
        .secrets()
        .comment("token = { env = \"TIDEGATE_HTTP_TOKEN\" }")
        .help(
            "Who may redrive and delete dead letters, end rollouts and have the configuration read again by HTTP: by \
             this token, of 16 characters or more",
        )
        .more(
            "Its one key is `token`: a string, `{ env = \"NAME\" }` or `{ file = \"/run/secrets/name\" }`, which is \
             read each time it is asked for. Without it the page only shows. Where `http` is another address than \
             loopback, dead letters are shown only to who has it.",
        ),
    connection::URL.flag("server").letter('s').variable("NATS_URL").default("nats://127.0.0.1:4222"),
    connection::CONTEXT
        .flag("context")
        .variable("NATS_CONTEXT")
        .help("A context as the nats command keeps them; the other variables and the nats table are then ignored"),
    connection::USER
        .flag("user")
        .variable("NATS_USER")
        .help("The user's name; as flag or variable without a password it is taken as a token"),
    connection::PASSWORD
        .flag("password")
        .variable("NATS_PASSWORD")
        .help("The user's password; the variable keeps it out of files and of the list of processes"),
    connection::TOKEN
        .flag("token")
        .variable("NATS_TOKEN")
        .help("A token; the variable keeps it out of files and of the list of processes"),
    connection::NKEY.flag("nkey").variable("NATS_NKEY"),
    connection::CREDS.flag("creds").variable("NATS_CREDS"),
    connection::CA.flag("tlsca").variable("NATS_CA"),
    connection::CERT.flag("tlscert").variable("NATS_CERT"),
    connection::KEY.flag("tlskey").variable("NATS_KEY"),
    connection::INBOX_PREFIX.flag("inbox-prefix"),
    connection::JETSTREAM_DOMAIN.flag("jetstream-domain"),
    connection::API_PREFIX.flag("api-prefix"),
    connection::TLS_FIRST,
    Key::boolean("reload.watch")
        .default("true")
        .help("Whether the configuration is read again as soon as its files change")
        .more("Otherwise on SIGHUP and `tidegate reload` alone."),
    Key::file("plugins.dir", "DIR")
        .flag("plugins")
        .default("plugins")
        .help("The directory with the plugins, which are *.wasm files")
        .more("It is flat."),
    Key::text("plugins.bucket", "BUCKET")
        .flag("plugin-bucket")
        .nothing("plugins come from the directory")
        .rule(names::bucket)
        .comment("\"TIDEGATE_PLUGINS\"")
        .help("The bucket of an object store with the plugins, in place of a directory")
        .more("`tidegate plugin push` puts one there, and every host with the bucket swaps to it."),
    Key::duration("plugins.rescan")
        .flag("rescan")
        .default("5s")
        .range("100ms to 1h")
        .help("How often the plugin directory is read even if no file system event came"),
    Key::duration("plugins.poll")
        .flag("plugin-poll")
        .default("1m")
        .range("100ms to 1day")
        .help("How often a registry is asked whether the tag of a plugin (`oci://...:TAG`) has moved"),
    Key::file("plugins.cache", "DIR")
        .flag("cache-dir")
        .switch("no-cache", "off", "Compile every plugin at every start")
        .derived("$XDG_CACHE_HOME/tidegate/compiled or ~/.cache/tidegate/compiled")
        .range("a path, or off")
        .comment("\"/var/cache/tidegate\"")
        .help("Where compiled plugins are kept")
        .more(
            "With `\"off\"`, or without a home directory, each start compiles them again, into a temporary directory \
             of its own.",
        ),
    Key::size("plugins.max-size")
        .flag("max-plugin-size")
        .default("64MiB")
        .range("1KiB to 1GiB")
        .help("The largest plugin file")
        .more("A larger one is refused before it is read."),
    Key::duration("plugins.compile-time")
        .flag("compile-time")
        .default("60s")
        .range("1s to 1h")
        .help("How long compiling one plugin may take"),
    Key::size("plugins.compile-memory")
        .flag("compile-memory")
        .default("2GiB")
        .range("128MiB to 64GiB")
        .help("Memory that compiling one plugin may take"),
    Key::texts("plugins.trusted", "KEY")
        .flag("trusted")
        .nothing("nobody: plugins need not be signed")
        .range("public nkeys of users, U...")
        .rule(names::signing_key)
        .comment("[\"UBKXGEDXNI5MS6QZEFSCITCBYZ4ORXSS7DYGBWAUWRWGFR5HMMQDKMWB\"]")
        .help("Whose signatures plugins must have; one of them is enough")
        .more(
            "A plugin is refused that none of them has signed (`tidegate plugin sign`), or whose signature is of other \
             content.",
        ),
    Key::file("plugins.oci.ca", "FILE")
        .flag("oci-ca")
        .nothing("the system's authorities alone")
        .comment("\"/etc/ssl/registry-ca.pem\"")
        .help("A PEM file with authorities that registries are trusted by, beside the system's"),
    Key::file("plugins.oci.docker-config", "FILE")
        .flag("docker-config")
        .derived("$DOCKER_CONFIG/config.json or ~/.docker/config.json, if it is there")
        .comment("\"/run/secrets/docker-config.json\"")
        .help("A file with the credentials of registries, as `docker login` writes it")
        .more(
            "It is read each time that a registry wants credentials. Programs that it names as stores of credentials \
             are not run.",
        ),
    Key::table("plugins.oci.credentials")
        .secrets()
        .nothing("those of the file of docker, or none")
        .comment("\"ghcr.io\" = { env = \"GHCR_CREDENTIALS\" }")
        .help("By registry, where `USER:PASSWORD` for it stands: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`")
        .more("It is read each time that the registry wants it, goes before the file of docker, and is never shown."),
    Key::texts("plugins.oci.plain-http", "REGISTRY")
        .flag("oci-plain-http")
        .nothing("TLS for all")
        .rule(oci_reference::registry)
        .comment("[\"localhost:5000\"]")
        .help("The registries that are spoken to without TLS"),
    Key::duration("plugins.oci.timeout")
        .flag("oci-timeout")
        .default("2m")
        .range("1s to 1h")
        .help("How long a registry may take to give one plugin, in all"),
    Key::file("plugins.oci.cache", "DIR")
        .flag("oci-cache-dir")
        .derived("$XDG_CACHE_HOME/tidegate/oci or ~/.cache/tidegate/oci")
        .range("a path, or off")
        .comment("\"/var/cache/tidegate-oci\"")
        .help("Where plugins of registries are kept, for a start while their registry is away")
        .more("With `\"off\"`, or without a home directory, such a start waits for the registry."),
    Key::text("dead-letters.stream", "STREAM")
        .flag("dead-letters")
        .default(DEAD_LETTERS)
        .rule(names::jetstream)
        .help("The stream that keeps dead letters"),
    Key::integer("dead-letters.replicas", "COUNT")
        .default("1")
        .range("1 to 5")
        .help("Servers of a cluster that keep a copy, where the host makes the stream"),
    Key::duration("dead-letters.max-age")
        .nothing("for ever")
        .range("1s to 10 years")
        .comment("\"720h\"")
        .help("How long a letter is kept, where the host makes the stream")
        .more("Without it, until it is redriven or purged."),
    Key::size("dead-letters.max-bytes")
        .nothing("no limit")
        .range("1MiB to 1048576GiB")
        .comment("\"1GiB\"")
        .help("Bytes of all letters together, where the host makes the stream; a full one takes no more")
        .more("Messages that should become a letter then stay in their streams and are tried again."),
    Key::file("journal.path", "FILE")
        .flag("journal")
        .comment("\"journal.jsonl\"")
        .help("A file for every decision with what led to it, which tidegate replay reads")
        .more("Each host needs one of its own."),
    Key::size("journal.max-size")
        .default("64MiB")
        .range("1KiB to 1024GiB")
        .help("Bytes after which the file is turned over: journal.jsonl becomes journal.jsonl.1"),
    Key::integer("journal.keep", "COUNT")
        .default("4")
        .range("0 to 10000")
        .help("Full files that are kept beside the one being written"),
    Key::text("journal.stream", "STREAM")
        .rule(names::jetstream)
        .comment("\"TIDEGATE_JOURNAL\"")
        .help("A stream that keeps the same lines, as well or instead")
        .more("Their subject is `tidegate.journal.<workload>`."),
    Key::integer("journal.replicas", "COUNT")
        .default("1")
        .range("1 to 5")
        .help("Servers of a cluster that keep a copy, where the host makes the stream"),
    Key::duration("journal.max-age")
        .nothing("for ever")
        .range("1s to 10 years")
        .comment("\"720h\"")
        .help("How long a line is kept, where the host makes the stream"),
    Key::size("journal.max-bytes")
        .default("1GiB")
        .range("1MiB to 1048576GiB")
        .help("Bytes of all lines together, where the host makes the stream; the oldest go first"),
    Key::text("telemetry.otlp", "URL")
        .nothing("no spans are made")
        .range("a URL with http or https, a host and maybe a port and a path")
        .comment("\"http://localhost:4318\"")
        .help("The collector that gets spans of messages, by OTLP over HTTP; `/v1/traces` is added")
        .more(
            "Headers that it wants stand in the variable OTEL_EXPORTER_OTLP_HEADERS, for they may be secret: \
             `Authorization=Bearer%20...`.",
        ),
    Key::number("telemetry.sample", "SHARE")
        .default("0.01")
        .range("0 to 1")
        .comment("0.01")
        .help("The share of the messages without a `traceparent` that are traced")
        .more("One with a `traceparent` is traced if that says so."),
    Key::file("telemetry.ca", "FILE")
        .nothing("the system's authorities")
        .comment("\"ca.pem\"")
        .help("A PEM file with authorities of the collector's certificate, beside the system's"),
    Key::text("fleet.bucket", "BUCKET")
        .rule(names::bucket)
        .comment("\"TIDEGATE_FLEET\"")
        .help("The JetStream key-value bucket that makes all hosts which name it one fleet")
        .more("`scale.min` and `scale.max` then count for all of them together."),
    Key::integer("fleet.replicas", "COUNT")
        .default("1")
        .range("1 to 5")
        .help("Servers of a cluster that keep a copy, where the host makes the bucket"),
    Key::text("host.id", "ID")
        .nothing("one of this process alone")
        .range("letters, digits, - and _")
        .rule(names::host_id)
        .comment("\"rack-3\"")
        .help("What this host is called in its fleet and as a NATS service; no other may be called so")
        .more("A host that is started again under its id has its share at once."),
    Key::integer("host.max-workers", "COUNT")
        .nothing("no limit")
        .range("1 to 100000")
        .comment("64")
        .help("The most workers of all workloads that this host runs, and what its shares are in proportion to")
        .more("Without it they are in proportion to the machine's cores."),
    Key::boolean("service.enabled")
        .default("false")
        .comment("true")
        .help("Whether the host answers as a NATS service, which `nats micro` and `tidegate top` find")
        .more("It has a connection of its own for that, which no request can take from the workloads."),
    Key::text("service.prefix", "SUBJECT")
        .default("tidegate.host")
        .comment("\"tidegate.host\"")
        .range("a subject without wildcards")
        .rule(names::service_prefix)
        .help("The first tokens of the subjects on which it is asked; the host's id and what is asked follow"),
    Key::boolean("service.admin")
        .default("false")
        .comment("true")
        .help("Whether it may be told what to do by NATS: to set workers, to pause and resume workloads, to drain")
        .more("Who may is what the server's permissions say, for each of these apart."),
    Key::texts("service.replies", "SUBJECT")
        .default("_INBOX.>,_R_.>")
        .comment("[\"_INBOX.>\", \"_R_.>\"]")
        .range("subjects, which do not begin with $ or a wildcard")
        .rule(names::service_reply)
        .help("Where answers may go")
        .more(
            "Whoever asks names a subject for the answer, and the host has rights that they may not have. Add the \
             inboxes of users who have an own prefix for them.",
        ),
]);
