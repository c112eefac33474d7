//! The keys of a connection: the host's own, and those of workloads in an account of their own.

use super::key::Key;
use crate::config::names;

pub(super) const URL: Key = Key::texts("nats.url", "URL").help("Servers to connect to");

pub(super) const CONTEXT: Key = Key::text("nats.context", "NAME").comment("\"prod\"");

pub(super) const USER: Key = Key::text("nats.user", "NAME").comment("\"tidegate\"");

pub(super) const PASSWORD: Key = Key::text("nats.password", "PASSWORD").comment("\"secret\"");

pub(super) const TOKEN: Key = Key::text("nats.token", "TOKEN").comment("\"secret\"");

pub(super) const NKEY: Key = Key::file("nats.nkey", "FILE").comment("\"tidegate.nk\"").help("A file with an nkey seed");

pub(super) const CREDS: Key =
    Key::file("nats.creds", "FILE").comment("\"tidegate.creds\"").help("A .creds file with a JWT and a seed");

pub(super) const CA: Key = Key::file("nats.ca", "FILE")
    .nothing("the system's authorities")
    .comment("\"ca.pem\"")
    .help("A PEM file with the certificate authorities to trust instead of the system's");

pub(super) const CERT: Key = Key::file("nats.cert", "FILE")
    .comment("\"client.pem\"")
    .help("A PEM file with the client's certificate; needs the key too");

pub(super) const KEY: Key = Key::file("nats.key", "FILE")
    .comment("\"client-key.pem\"")
    .help("A PEM file with the key of the client's certificate; needs the certificate too");

pub(super) const INBOX_PREFIX: Key = Key::text("nats.inbox-prefix", "PREFIX")
    .nothing("_INBOX")
    .range("a subject without wildcards")
    .rule(names::inbox_prefix)
    .comment("\"_INBOX_tidegate\"")
    .help("The first tokens of the subjects on which deliveries and answers come, to keep others from them");

pub(super) const JETSTREAM_DOMAIN: Key = Key::text("nats.jetstream-domain", "DOMAIN")
    .nothing("that of the server it is connected to")
    .range("a name without dots")
    .rule(names::jetstream_domain)
    .comment("\"hub\"")
    .help("The domain of the JetStream that has the streams, as seen from a leaf node or its hub")
    .more("Requests go to `$JS.DOMAIN.API`. The plain form of `api-prefix`; give one of the two.");

pub(super) const API_PREFIX: Key = Key::text("nats.api-prefix", "SUBJECT")
    .nothing("$JS.API")
    .range("a subject without wildcards")
    .rule(names::api_prefix)
    .comment("\"ORDERS.API\"")
    .help("The first tokens of requests to JetStream, where the account imports another's under a name")
    .more(
        "The account must also import the subjects of acks (`$JS.ACK.>`), and those of its dead letters and \
         publications where their streams are the other account's.",
    );

pub(super) const TLS_FIRST: Key = Key::boolean("nats.tls-first")
    .default("false")
    .help("Whether TLS begins before the server says anything, as its `handshake_first` wants it");
