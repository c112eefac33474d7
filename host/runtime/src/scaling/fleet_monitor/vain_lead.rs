//! When a leader whose policy does not decide gives the lead up: another host may have a policy that does. Pure.
//!
//! All hosts may have the same policy. So a host that gave the lead up leads again where no other does, and then keeps
//! it for longer each time.

use std::time::Duration;

use tokio::time::Instant;

/// Decisions in a row that the policy has not made, after which the lead is given up.
const IN_VAIN: u32 = 10;
/// For how long a host does not lead, unless no other does, when it has given the lead up once, and at most.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// How a host leads whose policy does not decide.
#[derive(Debug, Default)]
pub(super) struct VainLead {
    failures: u32,
    /// How often the lead was given up in a row, and until when this host stands back.
    given_up: u32,
    until: Option<Instant>,
}

impl VainLead {
    /// The policy was asked, and has decided or not.
    pub(super) fn asked(&mut self, has_decided: bool) {
        if has_decided {
            *self = Self::default();
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Whether the lead is to be given up.
    pub(super) fn is_enough(&self, now: Instant) -> bool {
        self.failures >= IN_VAIN && !self.stands_back(now)
    }

    /// It is given up.
    pub(super) fn gives_up(&mut self, now: Instant) {
        let back = FIRST.saturating_mul(1_u32.checked_shl(self.given_up).unwrap_or(u32::MAX)).min(LONGEST);
        let given_up = self.given_up.saturating_add(1);
        *self = Self { failures: 0, given_up, until: Some(now + back) };
    }

    /// Whether this host leads only where no other does.
    pub(super) fn stands_back(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_given_up_after_some_decisions_in_a_row_that_were_not_made() {
        let (mut lead, now) = (VainLead::default(), Instant::now());
        for _ in 0..3 {
            (1..IN_VAIN).for_each(|_| lead.asked(false));
            assert!(!lead.is_enough(now));
            lead.asked(true);
        }
        (0..IN_VAIN).for_each(|_| lead.asked(false));
        assert!(lead.is_enough(now) && !lead.stands_back(now));
    }

    #[test]
    fn a_host_that_leads_again_in_vain_keeps_the_lead_for_longer_each_time_until_its_policy_decides() {
        let (mut lead, mut now) = (VainLead::default(), Instant::now());
        let mut kept = Vec::new();
        for _ in 0..40 {
            (0..IN_VAIN).for_each(|_| lead.asked(false));
            let since = now;
            while !lead.is_enough(now) {
                now += FIRST;
            }
            kept.push(now.saturating_duration_since(since).as_secs() / 60);
            lead.gives_up(now);
            assert!(lead.stands_back(now));
        }
        assert_eq!(kept[..8], [0, 1, 2, 4, 8, 16, 32, 60]);
        assert!(kept[8..].iter().all(|minutes| *minutes == 60), "{kept:?}");
        lead.asked(true);
        assert!(!lead.stands_back(now));
    }
}
