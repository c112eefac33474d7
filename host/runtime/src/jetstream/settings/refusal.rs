//! Why a stream or a consumer is not worked on.

/// Why a stream or a consumer cannot be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsRefusal {
    pub problem: String,
    pub remedy: String,
}
