//! What the host was configured with.

/// Millionths, so that a tax of 7.7 % is exact.
pub(crate) const WHOLE: u64 = 1_000_000;

/// The checked settings.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    /// The tax in millionths of the price: 0 to 1,000,000.
    pub(crate) tax_millionths: u64,
    /// The tax as the receipt shows it.
    pub(crate) tax_percent: String,
    /// What stands before the customer in the subject.
    pub(crate) subject_prefix: String,
}

impl Settings {
    /// Reads them. An error names the key, the value and what would be right.
    pub(crate) fn read(mut of: tidegate_guest::Settings) -> Result<Self, String> {
        let percent = "from 0 to 100 with at most 4 decimals, like 7.7";
        let (tax_millionths, tax_percent) = of.take_with("tax-percent", (0, "0".to_owned()), percent, |text| {
            Some((parse_percent(text)?, text.to_owned()))
        })?;
        let subject = "a literal subject, like receipts or shop.eu";
        let subject_prefix = of.take_with("subject-prefix", "receipts".to_owned(), subject, |text| {
            is_subject(text).then(|| text.to_owned())
        })?;
        of.finish()?;
        Ok(Self { tax_millionths, tax_percent, subject_prefix })
    }
}

/// A percentage as millionths of the whole; `None` if it is not from 0 to 100 with at most 4 decimals.
fn parse_percent(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 4 {
        return None;
    }
    let fraction: u64 = format!("{decimals:0<4}").parse().ok()?;
    let millionths = whole.parse::<u64>().ok()?.checked_mul(10_000)?.checked_add(fraction)?;
    (millionths <= WHOLE).then_some(millionths)
}

/// Whether a text can be the beginning of a subject to publish on: tokens of visible characters, no wildcards.
fn is_subject(text: &str) -> bool {
    text.split('.').all(|token| {
        !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>')
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use tidegate_guest::testing::settings;

    fn read(key: &str, value: &str) -> Result<Settings, String> {
        Settings::read(settings(&[(key, value)]))
    }

    #[test]
    fn without_settings_there_is_no_tax() {
        let settings = Settings::read(settings(&[])).unwrap();
        assert_eq!((settings.tax_millionths, settings.subject_prefix.as_str()), (0, "receipts"));
    }

    #[test]
    fn a_tax_is_exact_to_four_decimals() {
        for (text, millionths) in
            [("0", 0), ("19", 190_000), ("7.7", 77_000), ("0.0001", 1), ("12.3456", 123_456), ("100.0", WHOLE)]
        {
            assert_eq!(read("tax-percent", text).unwrap().tax_millionths, millionths, "{text}");
        }
    }

    #[test]
    fn settings_that_are_wrong_or_unknown_are_refused() {
        for text in ["", "-1", "+1", "7,7", "7.", ".7", "1.23456", "100.0001", "101", "7.7%", "99999999999999999999"] {
            let error = read("tax-percent", text).unwrap_err();
            let wanted = "must be from 0 to 100 with at most 4 decimals, like 7.7";
            assert_eq!(error, format!("tax-percent = \"{text}\": {wanted}"));
        }
        for text in ["", "a.", ".a", "a..b", "a b", "a.*", ">"] {
            assert!(read("subject-prefix", text).unwrap_err().contains("must be a literal subject"), "{text}");
        }
        assert_eq!(
            read("tax", "7.7").unwrap_err(),
            "tax = \"7.7\": there is no such setting; there are tax-percent, subject-prefix"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_of_a_percentage_panic(text: String) {
            let _ = parse_percent(&text);
        }

        #[test]
        fn every_percentage_of_four_decimals_is_read(millionths in 0..=WHOLE) {
            let text = format!("{}.{:04}", millionths / 10_000, millionths % 10_000);
            prop_assert_eq!(parse_percent(&text), Some(millionths));
        }
    }
}
