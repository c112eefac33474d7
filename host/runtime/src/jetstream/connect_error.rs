//! Why there is no connection, in words that say what to do.

/// What whoever connects does with a configuration file, which could say otherwise how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileUse {
    /// It reads one.
    Read,
    /// It reads one that it is given, and was given none.
    NotGiven,
    /// It never reads one.
    Never,
}

impl FileUse {
    /// What names another server.
    fn server(self) -> &'static str {
        match self {
            Self::Read => "--server, NATS_URL or nats.url",
            Self::NotGiven => "--server, NATS_URL or a configuration file (-c FILE)",
            Self::Never => "--server or NATS_URL",
        }
    }

    /// What gives credentials, besides flags.
    fn credentials(self) -> &'static str {
        match self {
            Self::Read => "the NATS_* variables, or [nats] of the configuration",
            Self::NotGiven => "the NATS_* variables, or [nats] of a configuration file (-c FILE)",
            Self::Never => "or the NATS_* variables",
        }
    }

    /// What gives the files of TLS, besides flags.
    fn tls(self) -> &'static str {
        match self {
            Self::Read => "[nats], NATS_CA, NATS_CERT, NATS_KEY",
            Self::NotGiven => "[nats] of a configuration file (-c FILE), NATS_CA, NATS_CERT, NATS_KEY",
            Self::Never => "NATS_CA, NATS_CERT, NATS_KEY",
        }
    }

    /// What has TLS begin before the server says anything.
    fn tls_first(self) -> &'static str {
        match self {
            Self::Read | Self::NotGiven => {
                "`tls-first = true` in the configuration, or `\"tls_first\": true` in a context"
            }
            Self::Never => "`\"tls_first\": true` in a context (--context)",
        }
    }
}

/// What about TLS is at fault, as far as that decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The files of this client, or what its authority is.
    Files,
    /// The time of the server's certificate.
    ServerTime,
    /// The name that the server's certificate is for.
    ServerName,
    /// The server does not begin with TLS, and the client does.
    First,
    /// The server does not speak TLS.
    Missing,
}

impl TlsFault {
    /// What to do about it, told to somebody who uses a configuration file so.
    fn remedy(self, file: FileUse) -> String {
        match self {
            Self::Files => {
                format!("Check the ca, cert and key that {} or --tlsca, --tlscert, --tlskey give.", file.tls())
            }
            Self::ServerTime => {
                "Give the server another one, and have it read that (`nats-server -sl reload`); or set the clock \
                 of this machine, if that is wrong."
                    .to_owned()
            }
            Self::ServerName => {
                "Write a name into the URL that the certificate has, or give the server a certificate for this one."
                    .to_owned()
            }
            Self::First => format!(
                "Take away {}: a server begins with TLS only where its `handshake_first` says so.",
                file.tls_first()
            ),
            Self::Missing => "Write nats:// in the URL, without ca, cert and key, or give the server TLS.".to_owned(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or the name does not resolve, or the server is not reached in time.
    #[error(
        "no NATS server answers at {servers}: {reason}\n  Start one (`nats-server -js`), or name another with {}.",
        file.server()
    )]
    Unreachable {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
        /// Whether a configuration file can mend it.
        file: FileUse,
    },
    /// The server takes the connection and says nothing.
    #[error(
        "no NATS server answers at {servers}: a connection is taken, and nothing is said on it\n  If the server begins \
         with TLS (`handshake_first`), set {}; if not, look at what listens there: a proxy may have no server yet.",
        file.tls_first()
    )]
    Silent {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// Whether a configuration file can mend it.
        file: FileUse,
    },
    /// The server, or the account, has as many connections as it may.
    #[error(
        "the NATS server at {servers} takes no more connections: {reason}\n  Raise `max_connections` of the server or \
         the limit of the account, or end other clients (`nats server report connections` shows them)."
    )]
    Full {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the server said.
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
         --user and --password, --token, --nkey or --creds, {}.",
        file.credentials()
    )]
    Refused {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// The kind of credentials that were offered.
        offered: String,
        /// Whether a configuration file can mend it.
        file: FileUse,
    },
    /// TLS could not be set up.
    #[error(
        "TLS with {servers} failed: {reason}\n  {}",
        fault.remedy(*file)
    )]
    Tls {
        /// The URLs that were tried, without what is secret in them.
        servers: String,
        /// What the client said.
        reason: String,
        /// What is at fault.
        fault: TlsFault,
        /// Whether a configuration file can mend it.
        file: FileUse,
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
         (https://nats.io/download), or name another with {}.",
        file.server()
    )]
    TooOld {
        /// The URLs, without what is secret in them.
        servers: String,
        /// The server's version.
        version: String,
        /// Whether a configuration file can mend it.
        file: FileUse,
    },
}

impl ConnectError {
    /// The same, told to somebody who uses a configuration file so.
    #[must_use]
    pub fn with_file(mut self, used: FileUse) -> Self {
        match &mut self {
            Self::Unreachable { file, .. }
            | Self::Silent { file, .. }
            | Self::Refused { file, .. }
            | Self::Tls { file, .. }
            | Self::TooOld { file, .. } => *file = used,
            Self::Url { .. } | Self::File { .. } | Self::Full { .. } => {}
        }
        self
    }

    /// Whether it may pass by itself, so that a host that starts waits for that.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. } | Self::Full { .. })
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn parts(&self) -> (String, String) {
        let text = self.to_string();
        let (problem, remedy) = text.split_once("\n  ").unwrap_or((&text, ""));
        (problem.to_owned(), remedy.to_owned())
    }

    /// The same of a connection that is not made by what the flags say, as a workload's own: without a remedy that
    /// names them.
    pub(crate) fn parts_without_flags(&self) -> (String, Option<String>) {
        let (problem, remedy) = self.parts();
        (problem, (!remedy.contains(" --")).then_some(remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_named_only_where_it_can_mend_it() {
        let (servers, reason) = ("nats://a:1".to_owned(), "refused".to_owned());
        let all = |file| {
            [
                ConnectError::Unreachable { servers: servers.clone(), reason: reason.clone(), file: FileUse::Read },
                ConnectError::Refused { servers: servers.clone(), offered: reason.clone(), file: FileUse::Read },
                ConnectError::Tls {
                    servers: servers.clone(),
                    reason: reason.clone(),
                    fault: TlsFault::Files,
                    file: FileUse::Read,
                },
                ConnectError::TooOld { servers: servers.clone(), version: "2.9".to_owned(), file: FileUse::Read },
            ]
            .map(|error| error.with_file(file).to_string())
        };
        let names_keys = |text: &String| text.contains("nats.url") || text.contains("[nats]");
        assert!(all(FileUse::Read).iter().all(|text| names_keys(text) && !text.contains("-c FILE")));
        assert!(all(FileUse::NotGiven).iter().all(|text| !text.contains("nats.url") && text.contains("(-c FILE)")));
        for text in all(FileUse::Never) {
            assert!(!names_keys(&text) && !text.contains("-c FILE") && text.contains("NATS_"), "{text}");
        }
    }

    #[test]
    fn who_reads_no_file_is_not_sent_to_one() {
        let said = |fault: TlsFault| fault.remedy(FileUse::Never);
        assert!(said(TlsFault::First).contains("context") && !said(TlsFault::First).contains("configuration"));
        assert!(TlsFault::First.remedy(FileUse::Read).contains("`tls-first = true` in the configuration"));
        assert!(said(TlsFault::Files).contains("--tlsca"));
        for fault in [TlsFault::ServerTime, TlsFault::ServerName, TlsFault::Missing] {
            assert!(!said(fault).contains("--tls"), "{fault:?}: the client's files are not to blame");
        }
    }
}
