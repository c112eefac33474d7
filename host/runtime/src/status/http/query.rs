//! The query of a request's address. Pure.

use percent_encoding::percent_decode_str;

/// The values by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the `?`. What is no UTF-8 has U+FFFD in its place.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// A value that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// A whole number; `Err` says what else it is.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{name} is not a whole number"));
        self.text(name).map(number).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse(Some("workload=a%20b+c&before=12&empty=&odd&reason=%C3%A9%ff%26"));
        assert_eq!(query.text("workload"), Some("a b c"));
        assert_eq!((query.text("empty"), query.text("odd"), query.text("other")), (None, None, None));
        assert_eq!(query.text("reason"), Some("é\u{fffd}&"));
        assert_eq!(query.number("before"), Ok(Some(12)));
        assert_eq!(query.number("reason"), Err("reason is not a whole number".to_owned()));
        assert_eq!(Query::parse(None), Query::default());
    }
}
