//! The trace that a message belongs to, by W3C Trace Context: what is published because of it belongs there too. Pure.
//!
//! A handler sees both headers with the others. One that sets them itself on a publication decides alone; where it does
//! not, the host passes on those of the delivery.

use crate::contract::Delivery;

/// The header that names the trace and the step in it.
pub(crate) const PARENT: &str = "traceparent";
/// The header with what tracing systems add.
pub(crate) const STATE: &str = "tracestate";
/// The most bytes of either: more than version 00 of the one has, and what every system passes on of the other.
const MOST: usize = 512;

/// The trace that a delivery belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext<'a> {
    parent: &'a str,
    /// Empty if there is none.
    state: String,
}

impl<'a> TraceContext<'a> {
    /// That of a delivery. Whoever publishes can write anything into the headers: what names no trace is not passed on.
    pub(crate) fn of(delivery: &'a Delivery) -> Option<Self> {
        let mut parents = values(delivery, PARENT);
        let parent = parents.next().filter(|value| is_parent(value))?;
        if parents.next().is_some() {
            return None;
        }
        // Several are one list.
        let state = values(delivery, STATE).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(",");
        let fits = state.len() <= MOST && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        Some(Self { parent, state: if fits { state } else { String::new() } })
    }

    /// The same, as it comes from another step of the trace.
    pub(crate) fn at_step<'b>(&'b self, parent: &'b str) -> TraceContext<'b> {
        TraceContext { parent, state: self.state.clone() }
    }

    /// The trace, the step in it that the message comes from, and whether it is kept.
    pub(crate) fn ids(&self) -> ([u8; 16], [u8; 8], bool) {
        let mut fields = self.parent.split('-').skip(1);
        let mut field = || u128::from_str_radix(fields.next().unwrap_or_default(), 16).unwrap_or_default();
        let (trace, parent, flags) = (field(), field(), field());
        let [.., a, b, c, d, e, f, g, h] = parent.to_be_bytes();
        (trace.to_be_bytes(), [a, b, c, d, e, f, g, h], flags & 1 == 1)
    }

    /// What tracing systems added.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// The headers that a publication with these headers gets.
    pub(crate) fn missing_in(&self, headers: &[(String, String)]) -> impl Iterator<Item = (&'static str, &str)> {
        let has = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let (parent, state) = (has(PARENT), has(STATE));
        let parent = (!parent).then_some((PARENT, self.parent));
        // What was added for one step says nothing of another.
        let state = (parent.is_some() && !state && !self.state.is_empty()).then_some((STATE, self.state.as_str()));
        parent.into_iter().chain(state)
    }
}

fn values<'a>(delivery: &'a Delivery, name: &'static str) -> impl Iterator<Item = &'a str> {
    let named = move |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
    delivery.headers.iter().filter(named).map(|(_, value)| value.trim())
}

/// Whether this is `version-trace-parent-flags` in small hexadecimal digits. Newer versions may add to it.
fn is_parent(value: &str) -> bool {
    let mut fields = value.split('-');
    let mut field = |digits: usize| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        fields.next().filter(|field| field.len() == digits && field.bytes().all(is_hex))
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) = (field(2), field(32), field(16), field(2)) else {
        return false;
    };
    let names = |digits: &str| digits.bytes().any(|digit| digit != b'0');
    let is_whole = fields.next().is_none() || version != "00";
    let is_printable = value.len() <= MOST && value.bytes().all(|byte| byte.is_ascii_graphic());
    version != "ff" && names(trace) && names(parent) && is_whole && is_printable
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn delivery(headers: &[(&str, &str)]) -> Delivery {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Delivery { headers, ..Delivery::default() }
    }

    fn passed_on(of: &[(&str, &str)], own: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let (of, own) = (delivery(of), delivery(own).headers);
        let context = TraceContext::of(&of);
        let missing = context.iter().flat_map(|context| context.missing_in(&own));
        missing.map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn a_publication_belongs_to_the_trace_of_its_message_unless_it_says_otherwise() {
        let of = [("Traceparent", VALID), ("tracestate", "a=1"), ("TraceState", "b=2")];
        assert_eq!(passed_on(&of, &[("X", "y")]), [(PARENT, VALID.to_owned()), (STATE, "a=1,b=2".to_owned())]);
        assert_eq!(passed_on(&of, &[("TRACEPARENT", "mine")]), []);
        assert_eq!(passed_on(&of, &[("tracestate", "c=3")]), [(PARENT, VALID.to_owned())]);
        assert_eq!(passed_on(&[("tracestate", "a=1")], &[]), []);
    }

    #[test]
    fn the_ids_of_a_trace_are_read() {
        let parent = delivery(&[("traceparent", VALID)]);
        let (trace, step, kept) = TraceContext::of(&parent).unwrap().ids();
        assert_eq!((trace[0], trace[15], step[0], step[1], step[7]), (0x4b, 0x36, 0, 0xf0, 0xb7));
        assert!(kept);
        let unkept = delivery(&[("traceparent", &VALID.replace("-01", "-fe"))]);
        assert!(!TraceContext::of(&unkept).unwrap().ids().2);
    }

    #[test]
    fn what_names_no_trace_is_not_passed_on() {
        for (wrong, right) in [("00-", "ff-"), ("4bf9", "4BF9"), ("-01", "-1"), ("-01", "-01-more"), ("00-4", "00-")] {
            let value = VALID.replacen(wrong, right, 1);
            assert_eq!(passed_on(&[("traceparent", &value)], &[]), [], "{value}");
        }
        let zeros = [
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ];
        for value in zeros.iter().map(String::as_str).chain(["", "yes"]) {
            assert_eq!(passed_on(&[("traceparent", value)], &[]), [], "{value}");
        }
        assert_eq!(passed_on(&[("traceparent", VALID), ("traceparent", VALID)], &[]), []);
        let newer = VALID.replacen("00-", "01-", 1) + "-more";
        assert_eq!(passed_on(&[("traceparent", &newer)], &[]), [(PARENT, newer.clone())]);
        let long = "x".repeat(MOST + 1);
        for state in ["a=\u{e9}", &long, ""] {
            assert_eq!(passed_on(&[("traceparent", VALID), ("tracestate", state)], &[]).len(), 1, "{state}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_short_and_legal(
            parent in "(\\PC|[\r\n0-9a-f-]){0,90}", state in "(\\PC|[\r\n]){0,600}",
        ) {
            for parent in [parent.as_str(), VALID] {
                for (_, value) in passed_on(&[("traceparent", parent), ("tracestate", &state)], &[]) {
                    prop_assert!(value.len() <= MOST && value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                }
            }
        }
    }
}
