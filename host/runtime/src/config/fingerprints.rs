//! What the settings of a workload come to, so that hosts of a fleet can tell which of them differ.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::keys::{CONNECTION, WORKLOAD};
use super::layer::Layer;
use super::value::Value;

/// The beginning of a digest of each setting, by its key. It does not give a value away, for one may be secret.
pub type Fingerprints = BTreeMap<String, String>;

/// How many characters of a digest are kept: enough to tell two settings apart, and too few to guess one by.
const KEPT: usize = 6;

/// Of all keys of a workload, those that are not set among them. Each host may reach an account in its own way, by
/// credentials of its own.
pub(super) fn fingerprints(layer: &Layer) -> Fingerprints {
    let print = |value: &Value| {
        let digest = HEXLOWER.encode(&Sha256::digest(text(value).as_bytes()));
        digest.chars().take(KEPT).collect()
    };
    let value = |key: &super::keys::Key| match layer.get(key.path) {
        Some(at) => Some(at.value.clone()),
        None => key.default_value(),
    };
    let shared = WORKLOAD.iter().filter(|key| !key.path.starts_with(CONNECTION));
    shared.filter_map(|key| Some((key.path.to_owned(), print(&value(key)?)))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => format!("{texts:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Size(bytes) => bytes.to_string(),
        Value::Duration(duration) => format!("{duration:?}"),
        Value::Delays(delays) => format!("{delays:?}"),
        // Of a secret, where it is.
        Value::Table(table) => format!("{table:?}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_setting_that_is_another_is_told_by_its_key_and_one_that_is_written_otherwise_is_not() {
        let of = |more: &str| {
            let text =
                format!("fleet.bucket = \"F\"\n[workload.w]\nstream = \"W\"\nhandler = \"h\"\npolicy = \"p\"\n{more}");
            Config::from_toml(&text).unwrap().fleet.unwrap().fingerprints["w"].clone()
        };
        let (one, other) = (of("limits.time = \"2s\"\nscale.min = 0"), of("limits.time = \"2000ms\""));
        assert_eq!(one, other);
        let changed = of("limits.time = \"3s\"\nsettings.token = \"a\"");
        let differ: Vec<_> =
            changed.iter().filter(|(key, print)| one.get(*key) != Some(print)).map(|(key, _)| key).collect();
        assert_eq!(differ, ["limits.time", "settings"]);
        assert!(changed.values().all(|print| print.len() == super::KEPT));
    }
}
