//! Subjects that strangers and guests name. Pure.

/// The most bytes of a subject. The server ends a connection that sends a longer control line than 4 KiB, and beside
/// the subject that has an inbox and sizes.
pub(crate) const MAX_SUBJECT: usize = 3072;
/// The most characters of a stranger's or a guest's text that are shown in an error.
const SHOWN: usize = 100;

/// Checks that a message can be sent on a subject, and that what it is stored as can be read by every client.
///
/// # Errors
/// What is wrong, with the subject.
pub(crate) fn check_subject(subject: &str) -> Result<(), String> {
    if !is_literal_subject(subject) {
        return Err(format!("`{}` is not a literal subject", shown(subject)));
    }
    if subject.len() > MAX_SUBJECT {
        let (size, subject) = (subject.len(), shown(subject));
        return Err(format!("the subject `{subject}` has {size} bytes, and {MAX_SUBJECT} are allowed"));
    }
    Ok(())
}

/// Whether a subject names one place: no wildcards, no empty tokens, nothing that could end the protocol's line. Some
/// clients end it, or a part of it, at any white space that Unicode knows.
fn is_literal_subject(subject: &str) -> bool {
    !subject.is_empty()
        && subject.split('.').all(|token| !token.is_empty() && token != "*" && token != ">")
        && subject.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

/// Somebody else's text, on one line and not endless.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_literal_subjects_are_published_on() {
        for good in ["a", "a.b", "test.foo", "ä.ö", "$x.y-z_1"] {
            assert_eq!(check_subject(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "*.a", "a\r\nPUB", "a\tb", "a\0", "a\u{7f}"] {
            assert!(check_subject(bad).is_err(), "{bad:?}");
        }
        for breaks_a_clients_lines in ["a\u{85}b", "a\u{a0}b", "a\u{1680}b", "a\u{2028}b", "a\u{3000}b"] {
            assert!(check_subject(breaks_a_clients_lines).is_err(), "{breaks_a_clients_lines:?}");
        }
    }

    #[test]
    fn a_subject_that_would_end_the_connection_is_refused_and_named_in_a_few_words() {
        assert_eq!(check_subject(&"a".repeat(MAX_SUBJECT)), Ok(()));
        for long in [MAX_SUBJECT + 1, 4096, 1 << 20] {
            let problem = check_subject(&"a".repeat(long)).unwrap_err();
            assert!(problem.contains(&long.to_string()) && problem.len() < 300, "{problem}");
        }
        assert!(check_subject(&"a b".repeat(1 << 20)).unwrap_err().len() < 300);
    }
}
