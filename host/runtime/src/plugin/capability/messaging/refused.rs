//! Why something is not published, or a request has no answer.

use crate::ports::RequestFailed;

/// Why something is not published, or a request has no answer, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The subject is none to publish on.
    #[error("{0}")]
    Subject(String),
    /// No grant has the subject.
    #[error("{0}")]
    NotGranted(String),
    /// The call has used up its bytes, or the server takes less.
    #[error("{0}")]
    TooLarge(String),
    /// The call has used up what it may do.
    #[error("{0}")]
    TooMany(String),
    /// Nobody answered in time.
    #[error("{0}")]
    Late(String),
    /// The server is away.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<RequestFailed> for Refused {
    fn from(failed: RequestFailed) -> Self {
        match failed {
            RequestFailed::Late(why) => Self::Late(why),
            RequestFailed::TooLarge(why) => Self::TooLarge(why),
            RequestFailed::Unavailable(why) => Self::Unavailable(why),
            RequestFailed::Other(why) => Self::Other(why),
        }
    }
}
