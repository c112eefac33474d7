//! What the calls of an instance may do of one thing. Pure.

/// What the calls of an instance may do of one thing, such as requests. Several may run at once, and then nobody knows
/// whose doing it is: what one of them leaves, another may use. All of them together never have more than their sum.
#[derive(Debug, Default)]
pub(super) struct CallBudget {
    calls: usize,
    used: usize,
}

impl CallBudget {
    /// A call begins.
    pub(super) fn begin(&mut self) {
        if self.calls == 0 {
            self.used = 0;
        }
        self.calls = self.calls.saturating_add(1);
    }

    /// A call that could do `each` has ended, and takes its share with it.
    pub(super) fn end(&mut self, each: usize) {
        self.calls = self.calls.saturating_sub(1);
        self.used = self.used.saturating_sub(each);
    }

    /// Uses so many, where each call that runs may do `each`. `false`, and nothing is used, if they are too many.
    pub(super) fn take(&mut self, count: usize, each: usize) -> bool {
        let used = self.used.saturating_add(count);
        // Before the first call an instance may do what a call may.
        let fits = used <= each.saturating_mul(self.calls.max(1));
        if fits {
            self.used = used;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_may_do_as_much_and_calls_that_run_together_share_it() {
        let mut budget = CallBudget::default();
        budget.begin();
        assert!(budget.take(2, 2) && !budget.take(1, 2));
        budget.end(2);
        budget.begin();
        budget.begin();
        assert!(budget.take(4, 2) && !budget.take(1, 2));
        // The first ends: as if it had used its share.
        budget.end(2);
        assert!(!budget.take(1, 2));
        budget.begin();
        assert!(budget.take(2, 2) && !budget.take(1, 2));
    }

    #[test]
    fn calls_without_end_never_do_more_than_their_sum() {
        let mut budget = CallBudget::default();
        let mut done = 0;
        for begun in 1..1000 {
            budget.begin();
            while budget.take(1, 3) {
                done += 1;
            }
            assert!(done <= begun * 3);
            if begun % 4 == 0 {
                budget.end(3);
            }
        }
    }
}
