//! Why dead letters cannot be read, deleted or sent back.

use crate::permissions::Verb;

/// Why dead letters cannot be read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The stream is not there.
    #[error(
        "there are no dead letters: stream {stream} is not there\n  A host makes it when it starts; name another with \
         --dead-letters."
    )]
    NoStream {
        /// The stream.
        stream: String,
    },
    /// The server did not answer, or refused.
    #[error("cannot {verb} the dead letters in stream {stream}: {reason}")]
    Server {
        /// What was to be done with the letters.
        verb: &'static str,
        /// The stream.
        stream: String,
        /// What the server or the client said.
        reason: String,
    },
    /// The server does not let this user do it.
    #[error(
        "cannot {verb} the dead letters in stream {stream}: the NATS server does not let this user {does} to \
         `{subject}`\n  Allow it to {does} to `{allow}`, or connect as another user."
    )]
    Denied {
        /// What was to be done with the letters.
        verb: &'static str,
        /// The stream.
        stream: String,
        /// What this user wanted to do.
        does: Verb,
        /// With which subject.
        subject: String,
        /// The subject to allow.
        allow: String,
    },
}

/// Why a letter was not sent back. It stays where it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Something is wrong with this letter. Others may be sent.
    #[error("{0}")]
    Letter(String),
    /// Something is wrong with the server or the connection. Others cannot be sent now either.
    #[error("{0}")]
    Server(String),
}
