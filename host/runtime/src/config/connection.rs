//! The flags that say how to reach NATS. They are named as those of the `nats` command.

use std::collections::BTreeMap;

use super::error::At;
use super::file::NatsTable;
use super::value::Strings;

/// How to reach NATS, as typed. Every command that connects has these.
///
/// A flag wins over the environment variable beside it, and that over the file.
#[derive(Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionFlags {
    /// Servers to connect to, separated by commas [env: NATS_URL] [default: nats://127.0.0.1:4222]
    #[arg(long, short, value_name = "URL", value_delimiter = ',', conflicts_with = "context")]
    pub server: Option<Vec<String>>,
    /// A context as the nats command keeps them; the other variables and the nats table of the file are then ignored [env: NATS_CONTEXT]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The user's name; without a password it is taken as a token [env: NATS_USER]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The user's password; the variable keeps it out of the list of processes [env: NATS_PASSWORD]
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// A token; the variable keeps it out of the list of processes [env: NATS_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file with an nkey seed [env: NATS_NKEY]
    #[arg(long, value_name = "FILE")]
    pub nkey: Option<String>,
    /// A .creds file with a JWT and a seed [env: NATS_CREDS]
    #[arg(long, value_name = "FILE")]
    pub creds: Option<String>,
    /// A PEM file with the certificate authorities to trust instead of the system's [env: NATS_CA]
    #[arg(long, value_name = "FILE")]
    pub tlsca: Option<String>,
    /// A PEM file with the client's certificate; needs --tlskey [env: NATS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<String>,
    /// A PEM file with the key of the client's certificate; needs --tlscert [env: NATS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<String>,
    /// Where replies to this client go: its first tokens instead of _INBOX, so that others cannot be let in on them
    #[arg(long, value_name = "PREFIX")]
    pub inbox_prefix: Option<String>,
}

/// Shows which flags were given and keeps their values, some of which are secret.
impl std::fmt::Debug for ConnectionFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.table();
        let given = [
            ("server", table.url.is_some()),
            ("context", table.context.is_some()),
            ("user", table.user.is_some()),
            ("password", table.password.is_some()),
            ("token", table.token.is_some()),
            ("nkey", table.nkey.is_some()),
            ("creds", table.creds.is_some()),
            ("tlsca", table.ca.is_some()),
            ("tlscert", table.cert.is_some()),
            ("tlskey", table.key.is_some()),
            ("inbox-prefix", table.inbox_prefix.is_some()),
        ];
        f.debug_set().entries(given.iter().filter(|(_, given)| *given).map(|(name, _)| name)).finish()
    }
}

impl ConnectionFlags {
    pub(super) fn table(&self) -> NatsTable {
        let text = |flag: &str, value: &Option<String>| value.clone().map(|value| At::named(flag, value));
        NatsTable {
            url: self.server.clone().map(|urls| At::named("--server", Strings(urls))),
            context: text("--context", &self.context),
            user: text("--user", &self.user),
            password: text("--password", &self.password),
            token: text("--token", &self.token),
            nkey: text("--nkey", &self.nkey),
            creds: text("--creds", &self.creds),
            ca: text("--tlsca", &self.tlsca),
            cert: text("--tlscert", &self.tlscert),
            key: text("--tlskey", &self.tlskey),
            inbox_prefix: text("--inbox-prefix", &self.inbox_prefix),
        }
    }
}

/// The variables the `nats` command reads. An empty one counts as not set.
pub(super) fn environment(variables: &BTreeMap<String, String>) -> NatsTable {
    let text = |name: &str| {
        let value = variables.get(name).filter(|value| !value.is_empty());
        value.map(|value| At::named(name, value.clone()))
    };
    NatsTable {
        url: text("NATS_URL")
            .map(|At { value, place }| At { value: Strings(value.split(',').map(str::to_owned).collect()), place }),
        context: text("NATS_CONTEXT"),
        user: text("NATS_USER"),
        password: text("NATS_PASSWORD"),
        token: text("NATS_TOKEN"),
        nkey: text("NATS_NKEY"),
        creds: text("NATS_CREDS"),
        ca: text("NATS_CA"),
        cert: text("NATS_CERT"),
        key: text("NATS_KEY"),
        inbox_prefix: None,
    }
}
