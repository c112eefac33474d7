//! How a trial ends.

use serde::{Deserialize, Serialize};

/// The reason where a person decides.
pub(crate) const BY_HAND: &str = "by hand";

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// The new generation is in use.
    Promoted,
    /// It was worse: the old one goes on.
    RolledBack,
    /// Somebody has ended it.
    Aborted,
    /// The file has changed again.
    Replaced,
}

impl Ending {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Promoted, Self::RolledBack, Self::Aborted, Self::Replaced];

    /// The word for it in metrics and status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Replaced => "replaced",
        }
    }
}
