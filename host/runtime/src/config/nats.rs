//! A NATS connection.

use std::fmt;
use std::path::PathBuf;

/// A NATS connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nats {
    /// Server URLs, at least one.
    pub servers: Vec<String>,
    /// Who the host says it is.
    pub auth: Auth,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The first tokens of the subjects on which this client listens for answers; `None` is `_INBOX`, as everybody has
    /// it.
    pub inbox_prefix: Option<String>,
    /// The first tokens of the subjects of requests to JetStream; `None` is `$JS.API`, that of the account's own.
    pub api_prefix: Option<String>,
    /// Whether TLS begins before the server has said anything.
    pub tls_first: bool,
}

/// The first tokens of the subjects of requests to the account's own JetStream.
pub(crate) const JETSTREAM_API: &str = "$JS.API";

impl Nats {
    /// The connection to a server of one's own instead. Of what is configured for others only the inbox's prefix stays.
    #[must_use]
    pub fn moved_to(self, url: &str) -> Self {
        Self { servers: vec![url.to_owned()], inbox_prefix: self.inbox_prefix, ..Self::default() }
    }

    /// The first tokens of the subjects on which this client listens for answers.
    pub(crate) fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }

    /// The first tokens of the subjects of requests to JetStream.
    pub(crate) fn api(&self) -> &str {
        self.api_prefix.as_deref().unwrap_or(JETSTREAM_API)
    }

    /// The subject of a write to a key-value bucket's `subject`. To a JetStream elsewhere it goes as a request does.
    pub(crate) fn of_bucket(&self, subject: String) -> String {
        match &self.api_prefix {
            Some(api) => format!("{api}.{subject}"),
            None => subject,
        }
    }
}

/// How a client proves who it is. Its `Debug` keeps the secrets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Auth {
    /// It does not.
    #[default]
    None,
    /// User and password.
    User {
        /// The user's name.
        name: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Token(String),
    /// A file with an nkey seed.
    Nkey(PathBuf),
    /// A `.creds` file with a JWT and a seed.
    Creds(PathBuf),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Nkey(file) => f.debug_tuple("Nkey").field(file).finish(),
            Self::Creds(file) => f.debug_tuple("Creds").field(file).finish(),
        }
    }
}
