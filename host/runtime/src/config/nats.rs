//! A NATS connection.

use std::fmt;
use std::path::PathBuf;

/// A NATS connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
}

impl Nats {
    /// The first tokens of the subjects on which this client listens for answers.
    pub(crate) fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }
}

/// How a client proves who it is. Its `Debug` keeps the secrets.
#[derive(Clone, PartialEq, Eq, Default)]
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
