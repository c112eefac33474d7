//! The one place that reads the time of day. What decides is given it.

use std::time::SystemTime;

/// The time of day, as the operating system has it. It may be set back.
#[expect(clippy::disallowed_methods, reason = "everything else calls this")]
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}
