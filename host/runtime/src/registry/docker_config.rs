//! The file that `docker login` writes. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Under which name that file has the registry of Docker.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// `USER:PASSWORD` for a registry; `None` if the file has nothing for it.
///
/// # Errors
/// Why it cannot be used, in words that repeat nothing of the file.
pub(super) fn credentials(file: &[u8], registry: &str) -> Result<Option<String>, String> {
    let config: DockerConfig = serde_json::from_slice(file)
        .map_err(|_| "it is not what `docker login` writes; log in anew, or name another".to_owned())?;
    let is_it = |name: &str| {
        let bare = name.strip_prefix("https://").or(name.strip_prefix("http://")).unwrap_or(name);
        bare.trim_end_matches('/') == registry || (registry, name) == DOCKER_HUB
    };
    let Some((_, login)) = config.auths.iter().find(|(name, _)| is_it(name)) else {
        let by_program = config.cred_helpers.keys().any(|name| is_it(name));
        return if by_program { Err(elsewhere(registry)) } else { Ok(None) };
    };
    if let Some((user, password)) = login.username.as_ref().zip(login.password.as_ref()) {
        return Ok(Some(format!("{user}:{password}")));
    }
    let Some(auth) = login.auth.as_ref().filter(|auth| !auth.is_empty()) else {
        // Docker leaves an empty entry where a program keeps the credentials.
        let by_program = config.creds_store.is_some() || !config.cred_helpers.is_empty();
        return if by_program { Err(elsewhere(registry)) } else { Ok(None) };
    };
    let unreadable = || format!("what it has for {registry} cannot be read; log in anew");
    let decoded = STANDARD.decode(auth.trim()).map_err(|_| unreadable())?;
    let text = String::from_utf8(decoded).map_err(|_| unreadable())?;
    if text.contains(':') { Ok(Some(text)) } else { Err(unreadable()) }
}

fn elsewhere(registry: &str) -> String {
    format!(
        "a program keeps the credentials for {registry}, and a host does not run it; give them in \
         [plugins.oci.credentials]"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_credentials_of_a_registry_are_found_as_docker_writes_them() {
        let file = br#"{"auths": {"ghcr.io": {"auth": "YW5uYTpzZWNyZXQ="}, "https://r.io/": {"username": "a",
            "password": "b"}, "https://index.docker.io/v1/": {"auth": "aHViOnB3"}}}"#;
        for (registry, expected) in
            [("ghcr.io", Some("anna:secret")), ("r.io", Some("a:b")), ("docker.io", Some("hub:pw")), ("x.io", None)]
        {
            assert_eq!(credentials(file, registry).unwrap().as_deref(), expected, "{registry}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_nothing_of_it_repeated() {
        for (file, expected) in [
            (&b"hunter2"[..], "not what `docker login` writes"),
            (br#"{"auths": {"r.io": {"auth": "hunter2!"}}}"#, "for r.io cannot be read"),
            (br#"{"auths": {"r.io": {}}, "credsStore": "hunter2"}"#, "[plugins.oci.credentials]"),
            (br#"{"credHelpers": {"r.io": "hunter2"}}"#, "[plugins.oci.credentials]"),
        ] {
            let told = credentials(file, "r.io").unwrap_err();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
        }
    }
}
