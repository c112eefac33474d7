//! What a NATS user may do, as its server says, and what a host lacks of it. No IO.

use serde::Deserialize;

use crate::config::subjects_overlap;
use crate::permissions::{Permissions, Verb};

/// The permissions of a user. What they do not name is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Rights {
    #[serde(default)]
    publish: SubjectRule,
    #[serde(default)]
    subscribe: SubjectRule,
}

/// Subjects with wildcards. Without any that are allowed, all are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct SubjectRule {
    #[serde(default)]
    allow: Option<Vec<String>>,
    #[serde(default)]
    deny: Option<Vec<String>>,
}

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    /// To do what.
    pub verb: Verb,
    /// With which subject, all of it.
    pub subject: String,
    /// What for.
    pub why: String,
}

impl Rights {
    /// What a host needs and this user may not do, or not with all of a subject.
    pub(crate) fn lacks(&self, needed: &Permissions) -> Vec<Lack> {
        let both =
            [(Verb::Publish, &needed.publish, &self.publish), (Verb::Subscribe, &needed.subscribe, &self.subscribe)];
        let lacks = |(verb, subjects, rule): (Verb, &std::collections::BTreeMap<String, String>, &SubjectRule)| {
            let missing = subjects.iter().filter(|(subject, _)| !rule.allows(subject));
            missing.map(|(subject, why)| Lack { verb, subject: subject.clone(), why: why.clone() }).collect::<Vec<_>>()
        };
        both.into_iter().flat_map(lacks).collect()
    }
}

impl SubjectRule {
    fn allows(&self, subject: &str) -> bool {
        // A subscription may be allowed for a queue alone, which stands after the subject.
        let whole = |granted: &&String| !granted.contains(' ');
        let mut denied = self.deny.iter().flatten().filter(whole);
        if denied.any(|denied| subjects_overlap(denied, subject)) {
            return false;
        }
        match self.allow.as_deref() {
            None | Some([]) => true,
            Some(allowed) => allowed.iter().filter(whole).any(|allowed| covers(allowed, subject)),
        }
    }
}

/// Whether each subject that `inner` matches is matched by `outer` too.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(outer), Some(inner)) if outer == inner => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn lacks(rights: &str) -> Vec<(Verb, String)> {
        let mut needed = Permissions::default();
        for subject in ["out.a.>", "$JS.API.STREAM.INFO.S"] {
            needed.publish.insert(subject.to_owned(), String::new());
        }
        needed.subscribe.insert("_INBOX.>".to_owned(), String::new());
        let rights: Rights = serde_json::from_str(rights).unwrap();
        rights.lacks(&needed).into_iter().map(|lack| (lack.verb, lack.subject)).collect()
    }

    #[test]
    fn a_user_without_permissions_may_do_all() {
        for rights in ["{}", r#"{"publish":{},"subscribe":{"allow":[]}}"#, r#"{"publish":{"allow":null}}"#] {
            assert_eq!(lacks(rights), []);
        }
    }

    #[test]
    fn what_is_not_allowed_as_a_whole_or_denied_in_part_is_missing() {
        let out = (Verb::Publish, "out.a.>".to_owned());
        let info = (Verb::Publish, "$JS.API.STREAM.INFO.S".to_owned());
        assert_eq!(lacks(r#"{"publish":{"allow":["$JS.>","out.a.b"]}}"#), std::slice::from_ref(&out));
        assert_eq!(lacks(r#"{"publish":{"allow":["out.*.>"]}}"#), std::slice::from_ref(&info));
        assert_eq!(lacks(r#"{"publish":{"deny":["out.a.b"]}}"#), std::slice::from_ref(&out));
        assert_eq!(lacks(r#"{"publish":{"deny":[">"]}}"#).len(), 2);
        let inbox = (Verb::Subscribe, "_INBOX.>".to_owned());
        assert_eq!(lacks(r#"{"subscribe":{"allow":["_INBOX.> workers"]}}"#), [inbox]);
    }

    proptest! {
        #[test]
        fn who_covers_a_subject_overlaps_it(outer in "[ab*]\\.([ab*]|>)", inner in "[ab*](\\.([ab*]|>))?") {
            prop_assert!(!covers(&outer, &inner) || subjects_overlap(&outer, &inner));
            prop_assert!(covers(">", &inner) && covers(&inner, &inner));
        }
    }
}
