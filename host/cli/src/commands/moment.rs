//! Times as they are given to a command.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use tidegate_runtime::config::units;

/// A time, or how long ago it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(SystemTime),
}

impl Moment {
    /// The time.
    pub(super) fn resolve(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

/// Reads one.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = units::duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from);
    time.filter(|time| *time >= SystemTime::UNIX_EPOCH).map(Moment::At).ok_or_else(|| {
        "it is neither a duration nor a time; write how long ago, such as 2h, or a time such as 2026-01-31T12:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_a_duration_ago_or_one_with_any_offset() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(moment("2h").unwrap().resolve(at(10_000)), at(2_800));
        assert_eq!(moment("99999h").unwrap().resolve(at(1)), SystemTime::UNIX_EPOCH);
        assert_eq!(moment("1970-01-01T01:00:00Z").unwrap(), Moment::At(at(3600)));
        assert_eq!(moment("1970-01-01T03:00:00+02:00").unwrap(), Moment::At(at(3600)));
        for bad in ["", "yesterday", "2026-01-31", "5", "1960-01-01T00:00:00Z"] {
            assert!(moment(bad).unwrap_err().contains("such as 2h"), "{bad}");
        }
    }
}
