//! Which of the hosts that share an ordered consumer is given its messages: the pinned one (JetStream's priority policy
//! `pinned_client`). The others wait until it is gone.

use std::time::Duration;

/// A group of hosts of which the server gives messages to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinGroup {
    /// The name of the consumer's priority group.
    pub name: String,
    /// The pinned host is not it any more when it has not pulled for so long.
    pub timeout: Duration,
}

/// Whether this host is the pinned one of its group.
#[derive(Debug, Default)]
pub(crate) struct Pin {
    group: Option<PinGroup>,
    id: Option<String>,
    /// Rises with each change, so that what is said of a pull before the change is told apart.
    epoch: u64,
    /// It was the pinned one and is not any more, and that was not asked since.
    is_lost: bool,
    /// It does not want to be the pinned one: it could not work.
    is_idle: bool,
}

/// What a pull says of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PullAs {
    /// The group.
    pub(crate) group: String,
    /// By what the server knows the pinned host; `None` if this host is not known to be it.
    pub(crate) id: Option<String>,
    /// Of which change this is.
    pub(crate) epoch: u64,
}

impl Pin {
    /// The consumer has this group, or none.
    pub(crate) fn set_group(&mut self, group: Option<&PinGroup>) {
        if self.group.as_ref() == group {
            return;
        }
        let other = self.group.as_ref().map(|group| &group.name) != group.map(|group| &group.name);
        self.group = group.cloned();
        if other {
            self.lose();
        }
    }

    pub(crate) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// How a pull is to be sent; `None` where there is no group.
    pub(crate) fn pull_as(&self) -> Option<PullAs> {
        let group = self.group.as_ref()?.name.clone();
        Some(PullAs { group, id: self.id.clone(), epoch: self.epoch })
    }

    /// How often the pinned host has to pull to stay it; `None` if this one is not it, or does not want to be.
    pub(crate) fn keep_every(&self) -> Option<Duration> {
        let timeout = self.group.as_ref()?.timeout;
        (self.id.is_some() && !self.is_idle).then(|| (timeout / 4).max(Duration::from_millis(100)))
    }

    /// A delivery names the pinned host, which is this one, for it came here. `false` where there is no group: then
    /// somebody else wrote that name.
    pub(crate) fn came(&mut self, id: &str) -> bool {
        if self.group.is_some() && self.id.as_deref() != Some(id) {
            self.id = Some(id.to_owned());
            self.epoch += 1;
        }
        self.group.is_some()
    }

    /// The server has refused a pull of this change: another host is pinned, or none. Whether that is news.
    pub(crate) fn refused(&mut self, epoch: u64) -> bool {
        let is_news = self.epoch == epoch && self.id.is_some();
        if is_news {
            self.lose();
        }
        is_news
    }

    fn lose(&mut self) {
        self.is_lost |= self.id.take().is_some();
        self.epoch += 1;
    }

    /// Whether another host may be the pinned one: this one is not known to be it.
    pub(crate) fn is_standby(&self) -> bool {
        self.group.is_some() && self.id.is_none()
    }

    /// Whether it has ceased to be the pinned one since this was asked last.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }

    /// Whether it cannot work, so that another host may take over.
    pub(crate) fn set_idle(&mut self, is_idle: bool) {
        self.is_idle = is_idle;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn group() -> PinGroup {
        PinGroup { name: "g".to_owned(), timeout: Duration::from_secs(8) }
    }

    #[test]
    fn who_gets_a_delivery_is_pinned_until_a_pull_of_that_time_is_refused() {
        let mut pin = Pin::default();
        pin.came("a");
        assert!(!pin.is_standby() && pin.pull_as().is_none());
        pin.set_group(Some(&group()));
        assert!(pin.is_standby() && pin.keep_every().is_none());
        let before = pin.pull_as().unwrap();
        assert_eq!((before.group.as_str(), &before.id), ("g", &None));
        pin.came("a");
        pin.came("a");
        let now = pin.pull_as().unwrap();
        assert_eq!((now.id.as_deref(), now.epoch), (Some("a"), before.epoch + 1));
        assert_eq!(pin.keep_every(), Some(Duration::from_secs(2)));
        // What is said of a pull of before does not count.
        assert!(!pin.refused(before.epoch) && !pin.is_standby() && !pin.take_lost());
        assert!(pin.refused(now.epoch) && !pin.refused(now.epoch));
        assert!(pin.is_standby() && pin.take_lost() && !pin.take_lost());
    }

    #[test]
    fn a_host_that_cannot_work_lets_its_pin_go() {
        let mut pin = Pin::default();
        pin.set_group(Some(&group()));
        pin.came("a");
        pin.set_idle(true);
        assert_eq!(pin.keep_every(), None);
        pin.set_idle(false);
        assert!(pin.keep_every().is_some());
        // Another group is another matter, another time-out is not.
        pin.set_group(Some(&PinGroup { timeout: Duration::from_secs(4), ..group() }));
        assert_eq!(pin.keep_every(), Some(Duration::from_secs(1)));
        pin.set_group(None);
        assert!(pin.take_lost() && !pin.is_standby());
    }
}
