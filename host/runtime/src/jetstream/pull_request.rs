//! What a pull asks for, and how its answers name it.

use std::fmt;

use async_nats::jetstream::consumer::pull::BatchConfig;
use serde::Serialize;
use serde_json::json;

use crate::delivery::consumer_settings::PullAs;

/// The last token of the subject on which a pull is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PullToken {
    /// Its number on its inbox; `None` of one that asks for nothing.
    pub(super) number: Option<u64>,
    /// Of which change of the pin it was sent.
    pub(super) epoch: u64,
}

impl PullToken {
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (number, epoch) = token.split_once('-').unwrap_or((token, "0"));
        let number = if number == KEEPS { None } else { Some(number.parse().ok()?) };
        Some(Self { number, epoch: epoch.parse().ok()? })
    }
}

/// The number of a pull that asks for nothing.
const KEEPS: &str = "keep";

impl fmt::Display for PullToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.epoch) {
            (Some(number), 0) => write!(f, "{number}"),
            (Some(number), epoch) => write!(f, "{number}-{epoch}"),
            (None, epoch) => write!(f, "{KEEPS}-{epoch}"),
        }
    }
}

/// A pull by a host of a group.
#[derive(Serialize)]
struct PinnedPull<'a> {
    #[serde(flatten)]
    config: BatchConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// The request of a pull.
pub(super) fn request(config: BatchConfig, pulls_as: Option<&PullAs>) -> serde_json::Result<Vec<u8>> {
    match pulls_as {
        None => serde_json::to_vec(&config),
        Some(PullAs { group, id, .. }) => {
            let config = BatchConfig { group: Some(group.clone()), ..config };
            serde_json::to_vec(&PinnedPull { config, id: id.as_deref() })
        }
    }
}

/// A request that is given nothing, for each message is larger than a byte, and by which the pinned host stays it.
pub(super) fn keep_pin(group: &str, id: &str) -> Vec<u8> {
    json!({ "batch": 1, "max_bytes": 1, "no_wait": true, "group": group, "id": id }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_names_its_pull() {
        for (number, epoch, text) in [(Some(7), 0, "7"), (Some(7), 3, "7-3"), (None, 3, "keep-3")] {
            let token = PullToken { number, epoch };
            assert_eq!((token.to_string().as_str(), PullToken::parse(text)), (text, Some(token)));
        }
        assert!(["", "-", "7-", "x", "keep-x", "7-3-1"].iter().all(|text| PullToken::parse(text).is_none()));
    }

    #[test]
    fn a_host_of_a_group_says_who_it_is_and_another_says_nothing_of_it() {
        let config = || BatchConfig { batch: 5, ..BatchConfig::default() };
        let read = |request: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&request).unwrap();
        let of = |id: Option<&str>| PullAs { group: "g".to_owned(), id: id.map(str::to_owned), epoch: 1 };
        let (alone, standby) = (request(config(), None).unwrap(), request(config(), Some(&of(None))).unwrap());
        let pinned = read(request(config(), Some(&of(Some("a")))).unwrap());
        assert!(read(alone).get("id").is_none() && read(standby).get("id").is_none());
        assert_eq!((&pinned["batch"], &pinned["group"], &pinned["id"]), (&json!(5), &json!("g"), &json!("a")));
    }
}
