//! Which letters are meant.

use std::time::SystemTime;

use super::Letter;
use crate::config::subjects_overlap;
use crate::contract::Cause;

/// What a letter has to be. What is not set allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The workload.
    pub workload: Option<String>,
    /// One of these causes; empty allows all.
    pub causes: Vec<Cause>,
    /// A part of the reason, in upper or lower case.
    pub reason: Option<String>,
    /// The handler's plugin name.
    pub plugin: Option<String>,
    /// How the digest of the generation begins.
    pub generation: Option<String>,
    /// The subject of the original, with wildcards as in a subscription.
    pub subject: Option<String>,
    /// Kept at this time or later.
    pub since: Option<SystemTime>,
    /// Kept before this time.
    pub until: Option<SystemTime>,
}

impl Filter {
    /// Whether the letter is meant.
    pub fn takes(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let holds = |part: &String| letter.reason.to_lowercase().contains(&part.to_lowercase());
        is(&self.workload, &letter.workload)
            && is(&self.plugin, &letter.plugin)
            && (self.causes.is_empty() || self.causes.iter().any(|cause| cause.as_str() == letter.cause))
            && self.reason.as_ref().is_none_or(holds)
            && self.generation.as_ref().is_none_or(|start| letter.generation.starts_with(start.as_str()))
            && self.subject.as_ref().is_none_or(|pattern| subjects_overlap(pattern, &letter.subject))
            && self.since.is_none_or(|since| letter.time >= since)
            && self.until.is_none_or(|until| letter.time < until)
    }

    /// Whether only the workload counts, if anything does.
    pub fn is_by_workload(&self) -> bool {
        *self == Self { workload: self.workload.clone(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dead_letter::letter;

    fn letter() -> Letter {
        Letter {
            subject: "orders.new.eu".into(),
            cause: "trapped".into(),
            reason: "trapped: Unreachable".into(),
            ..letter::tests::letter(100)
        }
    }

    #[test]
    fn each_part_of_a_filter_has_to_hold() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let all = Filter::default();
        for (filter, takes) in [
            (all.clone(), true),
            (Filter { workload: Some("orders".into()), ..all.clone() }, true),
            (Filter { workload: Some("order".into()), ..all.clone() }, false),
            (Filter { causes: vec![Cause::Time, Cause::Trapped], ..all.clone() }, true),
            (Filter { causes: vec![Cause::Time], ..all.clone() }, false),
            (Filter { reason: Some("unreach".into()), ..all.clone() }, true),
            (Filter { reason: Some("memory".into()), ..all.clone() }, false),
            (Filter { plugin: Some("receipts".into()), ..all.clone() }, true),
            (Filter { plugin: Some("echo".into()), ..all.clone() }, false),
            (Filter { generation: Some("2ea2".into()), ..all.clone() }, true),
            (Filter { generation: Some("71d2".into()), ..all.clone() }, false),
            (Filter { subject: Some("orders.*.eu".into()), ..all.clone() }, true),
            (Filter { subject: Some("orders.>".into()), ..all.clone() }, true),
            (Filter { subject: Some("orders.new".into()), ..all.clone() }, false),
            (Filter { since: at(100), ..all.clone() }, true),
            (Filter { since: at(101), ..all.clone() }, false),
            (Filter { until: at(101), ..all.clone() }, true),
            (Filter { until: at(100), ..all.clone() }, false),
        ] {
            assert_eq!(filter.takes(&letter()), takes, "{filter:?}");
            let also = Filter { plugin: Some("other".into()), ..filter };
            assert!(!also.takes(&letter()), "{also:?}");
        }
    }
}
