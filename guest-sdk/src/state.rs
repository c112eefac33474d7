//! A policy's state, with a version.
//!
//! Every call of a policy runs in a fresh instance, so `decide` knows the settings only from the state that `init` made
//! of them. [`encode`] and [`decode`] write a state as one line of text, which [`Settings`] can read again. Its first
//! word is the form: a name and a version, such as `step/1`. A newer version of a policy that reads the forms before
//! its own too goes on where the one before stopped.

use crate::Settings;

/// Writes a state: the name and version of its form, then keys and values, with spaces between.
///
/// Neither keys nor values may contain spaces, and keys no `=`.
#[must_use]
pub fn encode(form: &str, pairs: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from(form);
    for (key, value) in pairs {
        text.push(' ');
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    text.into_bytes()
}

/// Reads a state that [`encode`] wrote; `None` if it has another form, is damaged or is not ours at all.
#[must_use]
pub fn decode(form: &str, state: &[u8]) -> Option<Settings> {
    let mut words = std::str::from_utf8(state).ok()?.split(' ');
    if words.next() != Some(form) {
        return None;
    }
    let mut pairs = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=')?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Settings::new(pairs).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_of_another_form_is_not_read() {
        for state in ["", "other/1 a=1", "form/2 a=1", "form/1 a", "form/1 a=1 a=2", "form/1  a=1"] {
            assert!(decode("form/1", state.as_bytes()).is_none(), "{state:?}");
        }
        assert!(decode("form/1", &[0xff, 0xfe]).is_none());
    }

    proptest! {
        #[test]
        fn a_state_is_read_as_it_was_written(
            number: u64, fraction in any::<f64>().prop_filter("finite", |f| f.is_finite()),
        ) {
            let state = encode("form/1", &[("n", number.to_string()), ("f", fraction.to_string())]);
            let mut read = decode("form/1", &state).unwrap();
            prop_assert_eq!(read.take_u64("n", 0, 0..=u64::MAX).unwrap(), number);
            prop_assert_eq!(read.take_f64("f", 0.0, f64::MIN..=f64::MAX).unwrap(), fraction);
            prop_assert!(read.finish().is_ok());
        }

        #[test]
        fn no_bytes_make_the_reading_of_a_state_panic(bytes: Vec<u8>) {
            let _ = decode("form/1", &bytes);
        }
    }
}
