//! What policies are called, and the settings that are typed for each. Pure.

use std::path::PathBuf;

use anyhow::bail;

/// One setting, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySetting {
    /// For which policy; `None` where there is only one.
    pub policy: Option<String>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

pub(super) fn setting(text: &str) -> Result<PolicySetting, String> {
    let (name, value) = text.split_once('=').ok_or("write it as [POLICY.]KEY=VALUE")?;
    // Keys of policies have no dots; names of files may.
    let (policy, key) = name.rsplit_once('.').map_or((None, name), |(policy, key)| (Some(policy.to_owned()), key));
    if key.is_empty() || policy.as_ref().is_some_and(String::is_empty) {
        return Err("write it as [POLICY.]KEY=VALUE".to_owned());
    }
    Ok(PolicySetting { policy, key: key.to_owned(), value: value.to_owned() })
}

/// The stems of the files. One that came before gets -2, -3 and so on.
pub(super) fn names(files: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let name = std::iter::once(stem.clone()).chain(numbered).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}

/// The settings of each policy.
pub(super) fn settings(names: &[String], typed: &[PolicySetting]) -> anyhow::Result<Vec<Vec<(String, String)>>> {
    let mut all = vec![Vec::new(); names.len()];
    for PolicySetting { policy, key, value } in typed {
        let place = match policy {
            None if names.len() == 1 => Some(0),
            None => {
                bail!("--policy-setting {key}: say whose it is, as in {}.{key}", names.join(&format!(".{key} or ")))
            }
            Some(policy) => names.iter().position(|name| name == policy),
        };
        match place.and_then(|place| all.get_mut(place)) {
            Some(settings) => settings.push((key.clone(), value.clone())),
            None => bail!(
                "--policy-setting {}.{key}: there is no such policy; there are {}",
                policy.as_deref().unwrap_or_default(),
                names.join(", ")
            ),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_are_stems_and_differ() {
        let files = ["a/step.wasm", "b/step.wasm", "step-2.wasm", "c/step.wasm"].map(PathBuf::from);
        assert_eq!(names(&files), ["step", "step-2", "step-2-2", "step-3"]);
    }

    #[test]
    fn a_setting_goes_to_the_policy_it_names() {
        let names = ["a".to_owned(), "v1.2".to_owned()];
        let typed: Vec<PolicySetting> = ["a.k=1", "v1.2.k=x=y"].iter().map(|text| setting(text).unwrap()).collect();
        let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        assert_eq!(settings(&names, &typed).unwrap(), [pair("k", "1"), pair("k", "x=y")]);
        let refused = |text: &str| settings(&names, &[setting(text).unwrap()]).unwrap_err().to_string();
        assert_eq!(refused("b.k=1"), "--policy-setting b.k: there is no such policy; there are a, v1.2");
        assert_eq!(refused("k=1"), "--policy-setting k: say whose it is, as in a.k or v1.2.k");
        assert_eq!(settings(&names[..1], &[setting("k=1").unwrap()]).unwrap(), [pair("k", "1")]);
        assert!(
            setting("k").is_err() && setting("=1").is_err() && setting(".k=1").is_err() && setting("a.=1").is_err()
        );
    }
}
