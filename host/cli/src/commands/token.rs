//! The token of a host's http-admin, as the environment of a command has it.

use std::env::{VarError, var};

use anyhow::bail;

/// The variable that has it.
pub(super) const TOKEN: &str = "TIDEGATE_HTTP_TOKEN";

/// The token, if the variable has one.
///
/// # Errors
/// If what is in it is no text: whoever set it did not mean that there is none.
pub(super) fn of_environment() -> anyhow::Result<Option<String>> {
    match var(TOKEN) {
        Ok(token) => Ok(Some(token).filter(|token| !token.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("the variable {TOKEN} is not UTF-8\n  Write the token in it."),
    }
}
