//! Why there is no connection, in words that say what to do.

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or the name does not resolve, or the server is not reached in time.
    #[error(
        "no NATS server answers at {servers}: {reason}\n  Start one (`nats-server -js`), or name another with \
         --server, NATS_URL or nats.url."
    )]
    Unreachable {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A URL cannot be read.
    #[error("cannot use the server URL {servers}: {reason}\n  Write host:port, nats://host:port or tls://host:port.")]
    Url {
        /// The URLs, without what is secret in them.
        servers: String,
        /// What is wrong.
        reason: String,
    },
    /// The server refused the credentials.
    #[error(
        "the NATS server at {servers} refuses this client, which offers {offered}\n  Give credentials that it knows: \
         --user and --password, --token, --nkey or --creds, the NATS_* variables, or [nats] of the configuration."
    )]
    Refused {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// The kind of credentials that were offered.
        offered: String,
    },
    /// TLS could not be set up.
    #[error(
        "TLS with {servers} failed: {reason}\n  Check the ca, cert and key that [nats], NATS_CA, NATS_CERT, NATS_KEY \
         or --tlsca, --tlscert, --tlskey give."
    )]
    Tls {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A file that the connection needs could not be used.
    #[error("cannot use {path} as {what}: {reason}\n  {remedy}")]
    File {
        /// The file.
        path: String,
        /// What the file is meant to be.
        what: &'static str,
        /// Why.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server is too old.
    #[error(
        "the NATS server at {servers} is version {version}, and tidegate needs 2.10 or newer\n  Update it \
         (https://nats.io/download), or name another with --server, NATS_URL or nats.url."
    )]
    TooOld {
        /// The URLs, without what is secret in them.
        servers: String,
        /// The server's version.
        version: String,
    },
}
