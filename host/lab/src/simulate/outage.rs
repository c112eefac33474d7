//! A time in which what is behind the handler does not work.

use std::str::FromStr;

use super::parse::nanos;

/// A time in which each call that begins asks to retry. Nanoseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub from: u64,
    /// When it is over; after `from`.
    pub to: u64,
}

impl Outage {
    /// Whether a call fails that begins then.
    pub fn has(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

impl FromStr for Outage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").ok_or("write FROM..TO, such as 60s..120s")?;
        let (from, to) = (nanos(from)?, nanos(to)?);
        if from < to { Ok(Self { from, to }) } else { Err("it must end after it begins".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_from_one_time_to_before_another() {
        let outage: Outage = "1s..2m".parse().unwrap();
        assert_eq!(outage, Outage { from: 1_000_000_000, to: 120_000_000_000 });
        let at = [999_999_999, 1_000_000_000, 119_999_999_999, 120_000_000_000];
        assert_eq!(at.map(|at| outage.has(at)), [false, true, true, false]);
        for text in ["", "1s", "1s..", "..1s", "2s..1s", "1s..1s", "1s..20d", "1..2"] {
            assert!(text.parse::<Outage>().is_err(), "{text}");
        }
    }
}
