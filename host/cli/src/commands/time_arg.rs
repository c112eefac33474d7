//! Times as they are given to a command.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use tidegate_runtime::config::units;
use tidegate_runtime::duration::has_rfc3339;

/// A time, or how long ago it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeArg {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(SystemTime),
}

impl TimeArg {
    /// The time.
    pub(super) fn resolve(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

/// Reads one.
pub(super) fn time_arg(text: &str) -> Result<TimeArg, String> {
    if let Ok(ago) = units::duration(text) {
        return Ok(TimeArg::Ago(ago));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from);
    time.filter(|time| has_rfc3339(*time)).map(TimeArg::At).ok_or_else(|| {
        "it is neither a duration nor a time; write how long ago, such as 2h, or a time such as 2026-01-31T12:00:00Z"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_a_duration_ago_or_one_with_any_offset() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(time_arg("2h").unwrap().resolve(at(10_000)), at(2_800));
        assert_eq!(time_arg("99999h").unwrap().resolve(at(1)), SystemTime::UNIX_EPOCH);
        assert_eq!(time_arg("1970-01-01T01:00:00Z").unwrap(), TimeArg::At(at(3600)));
        assert_eq!(time_arg("1970-01-01T03:00:00+02:00").unwrap(), TimeArg::At(at(3600)));
        for bad in ["", "yesterday", "2026-01-31", "5", "1960-01-01T00:00:00Z", "9999-12-31T23:00:00-02:00"] {
            assert!(time_arg(bad).unwrap_err().contains("such as 2h"), "{bad}");
        }
    }
}
