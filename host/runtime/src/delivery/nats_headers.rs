//! Checks publication headers that begin with `Nats-`: which a handler may set, and to what. Pure.

use crate::config::{Grants, NatsHeaders};
use crate::subject::{check_subject, shown};

/// Whether a header's name is one that NATS reserves.
pub(super) fn is_nats(name: &str) -> bool {
    name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-"))
}

/// Checks a header that NATS reserves: it has to be granted, and must not reach further than `grants.publish`.
pub(super) fn check_nats_header(name: &str, value: &str, grants: &Grants) -> Result<(), String> {
    let Some(group) = NatsHeaders::of(name) else {
        return Err(format!("the header `{}` belongs to the host", shown(name)));
    };
    if !grants.nats_headers.contains(&group) {
        let grant = group.as_str();
        return Err(format!(
            "the header `{name}` is not granted: grants.nats-headers of its workload does not have `{grant}`"
        ));
    }
    match name {
        "Nats-Schedule-Target" => {
            check_subject(value).map_err(|problem| format!("{name}: {problem}"))?;
            if !grants.may_publish(value) {
                let value = shown(value);
                return Err(format!(
                    "{name}: `{value}` is not granted: grants.publish of its workload has no subject that matches"
                ));
            }
        }
        "Nats-Rollup" if value != "sub" => {
            return Err(format!("{name} can only be `sub`: anything else would delete messages of other subjects"));
        }
        "Nats-Expected-Last-Sequence" | "Nats-Expected-Last-Subject-Sequence" if value.parse::<u64>().is_err() => {
            return Err(format!("{name}: `{}` is no position in a stream", shown(value)));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(name: &str, value: &str, granted: &[NatsHeaders]) -> Result<(), String> {
        let grants = Grants { publish: vec!["out.*".into()], nats_headers: granted.to_vec(), ..Grants::default() };
        check_nats_header(name, value, &grants)
    }

    const ALL: &[NatsHeaders] =
        &[NatsHeaders::ExpectedLast, NatsHeaders::Rollup, NatsHeaders::Schedule, NatsHeaders::Ttl];

    #[test]
    fn each_grant_opens_its_own_headers_and_no_others() {
        for (name, value, grant) in [
            ("Nats-Expected-Last-Sequence", "7", NatsHeaders::ExpectedLast),
            ("Nats-Expected-Last-Subject-Sequence", "0", NatsHeaders::ExpectedLast),
            ("Nats-Expected-Last-Msg-Id", "x", NatsHeaders::ExpectedLast),
            ("Nats-Rollup", "sub", NatsHeaders::Rollup),
            ("Nats-Schedule", "@every 5m", NatsHeaders::Schedule),
            ("Nats-Schedule-Target", "out.a", NatsHeaders::Schedule),
            ("Nats-TTL", "1h", NatsHeaders::Ttl),
        ] {
            assert_eq!(check(name, value, &[grant]), Ok(()), "{name}");
            for other in ALL.iter().filter(|other| **other != grant) {
                let problem = check(name, value, &[*other]).unwrap_err();
                assert!(problem.ends_with(&format!("does not have `{}`", grant.as_str())), "{problem}");
            }
        }
    }

    #[test]
    fn what_is_the_hosts_own_or_reads_a_subject_is_never_granted() {
        for name in ["Nats-Msg-Id", "nats-ttl", "Nats-Expected-Stream", "Nats-Schedule-Source", "Nats-Scheduler"] {
            let problem = check(name, "1", ALL).unwrap_err();
            assert!(problem.contains("belongs to the host"), "{problem}");
        }
    }

    #[test]
    fn a_header_reaches_no_further_than_the_subjects_that_are_granted() {
        for (name, value, expected) in [
            ("Nats-Schedule-Target", "$JS.API.STREAM.DELETE.X", "grants.publish"),
            ("Nats-Schedule-Target", "out.*", "Nats-Schedule-Target: "),
            ("Nats-Schedule-Target", "out.a b", "Nats-Schedule-Target: "),
            ("Nats-Rollup", "all", "can only be `sub`"),
            ("Nats-Rollup", "SUB", "can only be `sub`"),
            ("Nats-Expected-Last-Sequence", "-1", "no position"),
        ] {
            let problem = check(name, value, ALL).unwrap_err();
            assert!(problem.contains(expected), "{name} {value}: {problem}");
        }
    }
}
