//! What an artifact is made of, in the layout for components that `wkg` writes. Pure.

use std::collections::BTreeMap;

use crate::digest::{is_sha256, sha256};
use serde::{Deserialize, Serialize};

/// The type of a manifest, and those of what stands in its place where an artifact is for several machines.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The type of the description of a component.
pub(super) const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The type of a component.
pub(super) const COMPONENT: &str = "application/wasm";
/// The annotation that has the signature of the component.
pub(super) const SIGNATURE: &str = "tidegate-signature";

/// Bytes of the largest manifest. That of a component has a few hundred, and its signature.
pub(super) const LARGEST: usize = 256 << 10;

/// A manifest, as far as it is read or written here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// What a manifest says of something that the registry has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

/// The component of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// Its SHA-256, in hexadecimal digits.
    pub(super) digest: String,
    pub(super) bytes: u64,
    pub(super) signature: Option<String>,
}

/// Reads the component out of a manifest.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn component(manifest: &[u8]) -> Result<Component, String> {
    const AGAIN: &str = "push the component with `tidegate plugin push` or `wkg oci push`";
    let read: Manifest = serde_json::from_slice(manifest).map_err(|_| format!("its manifest is not one; {AGAIN}"))?;
    if read.media_type.as_deref().is_some_and(|kind| INDEXES.contains(&kind)) {
        return Err(index());
    }
    if read.schema_version != 2 {
        return Err(format!("its manifest is of a version that is not known; {AGAIN}"));
    }
    let kind = read.config.map(|config| config.media_type).unwrap_or_default();
    if kind != CONFIG {
        let kind = shown(&kind);
        return Err(format!("it is no component but {kind} (a component's config is {CONFIG}); {AGAIN}"));
    }
    let [layer] = read.layers.as_slice() else {
        return Err(format!("it has {} layers, and a component is one; {AGAIN}", read.layers.len()));
    };
    if layer.media_type != COMPONENT {
        return Err(format!("its layer is {} and not {COMPONENT}; {AGAIN}", shown(&layer.media_type)));
    }
    let digest = layer.digest.strip_prefix("sha256:").filter(|digits| is_sha256(digits));
    let digest = digest.ok_or_else(|| format!("its manifest does not say the SHA-256 of its layer; {AGAIN}"))?;
    let signature = read.annotations.and_then(|mut annotations| annotations.remove(SIGNATURE));
    Ok(Component { digest: digest.to_owned(), bytes: layer.size, signature })
}

/// What is wrong where there is an index in place of a manifest.
pub(super) fn index() -> String {
    "it is an index of several artifacts, and a component is one for all machines; name one of them by its digest"
        .to_owned()
}

/// The manifest of a component.
pub(super) fn written(config: &[u8], content: &[u8], signature: Option<String>) -> Vec<u8> {
    let of = |kind: &str, bytes: &[u8]| Descriptor {
        media_type: kind.to_owned(),
        digest: format!("sha256:{}", sha256(bytes)),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: Some(of(CONFIG, config)),
        layers: vec![of(COMPONENT, content)],
        annotations: signature.map(|text| BTreeMap::from([(SIGNATURE.to_owned(), text)])),
    };
    serde_json::to_vec(&manifest).unwrap_or_default()
}

/// What a component exports and imports, by name.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    /// As in `tidegate:plugin/handler@0.1.0`.
    pub exports: Vec<String>,
    /// As in `wasi:cli/stdout@0.2.3`.
    pub imports: Vec<String>,
}

/// The description of a component. It says nothing of when and where, so that the same component has the same digest.
pub(super) fn config(content: &[u8], Interfaces { exports, imports }: &Interfaces) -> Vec<u8> {
    let digests = [format!("sha256:{}", sha256(content))];
    let config = serde_json::json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": digests,
        "component": { "exports": exports, "imports": imports },
    });
    config.to_string().into_bytes()
}

/// A type, as a part of a line. A registry may say anything.
fn shown(kind: &str) -> String {
    let is_of_type = |c: &char| c.is_ascii_alphanumeric() || "/.+-_".contains(*c);
    let kind: String = kind.chars().filter(is_of_type).take(100).collect();
    if kind.is_empty() { "of no type".to_owned() } else { kind }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn manifest(change: impl FnOnce(&mut Value)) -> Result<Component, String> {
        let text = written(&config(b"wasm", &Interfaces::default()), b"wasm", Some("signed".to_owned()));
        let mut value: Value = serde_json::from_slice(&text).unwrap();
        change(&mut value);
        component(value.to_string().as_bytes())
    }

    #[test]
    fn what_is_written_is_read() {
        let read = manifest(|_| {}).unwrap();
        let expected = Component { digest: sha256(b"wasm"), bytes: 4, signature: Some("signed".to_owned()) };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_component_is_told_with_what_it_is() {
        let other_config = |kind: &'static str| move |value: &mut Value| value["config"]["mediaType"] = json!(kind);
        for (read, expected) in [
            (manifest(other_config("application/vnd.oci.image.config.v1+json")), "vnd.oci.image.config.v1+json"),
            (manifest(other_config("\u{1b}[2J\n")), "it is no component but 2J"),
            (manifest(|value| value["layers"][0]["mediaType"] = json!("application/x-tar")), "application/x-tar"),
            (manifest(|value| value["layers"] = json!([])), "it has 0 layers"),
            (manifest(|value| value["layers"][0]["digest"] = json!("sha512:00")), "the SHA-256 of its layer"),
            (manifest(|value| value["layers"][0]["digest"] = json!("sha256:../../x")), "the SHA-256 of its layer"),
            (manifest(|value| value["layers"][0]["size"] = json!(-1)), "its manifest is not one"),
            (manifest(|value| value["schemaVersion"] = json!(1)), "of a version that is not known"),
            (manifest(|value| value["mediaType"] = json!(INDEXES[0])), "an index of several artifacts"),
            (component(b"<html>"), "its manifest is not one"),
        ] {
            let told = read.unwrap_err();
            assert!(told.contains(expected) && !told.contains('\u{1b}'), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_manifest_makes_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = component(&bytes);
        }
    }
}
