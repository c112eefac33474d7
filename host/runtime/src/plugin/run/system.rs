//! How much the system lets this process map.

use rustix::process::{Resource, getrlimit};

use crate::process_status::ProcessStatus;

/// The file in which Linux says how many mappings a process may have.
const MAX_MAP_COUNT: &str = "/proc/sys/vm/max_map_count";
/// Mappings that the host keeps for itself, at least: threads, buffers, compiled code.
const OWN_MAPPINGS: u64 = 2_000;
/// Address space of a process, where nothing limits it.
const ADDRESSES: u64 = 1 << 47;
/// The most address space that the host keeps for itself: threads, buffers, compiled code.
const OWN_ADDRESSES: u64 = 2 << 30;

/// What there is for instances, and the limits that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Supply {
    pub(crate) mappings: u64,
    pub(crate) address: u64,
    limits: SystemLimits,
}

/// What the system allows the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SystemLimits {
    pub(crate) mappings: u64,
    pub(crate) address: u64,
}

impl Supply {
    #[cfg(test)]
    pub(crate) fn of(mappings: u64, address: u64) -> Self {
        Self { mappings, address, limits: SystemLimits { mappings, address } }
    }

    pub(crate) fn limits(&self) -> SystemLimits {
        self.limits
    }
}

/// What there is now. `instances` is how many bytes of address space instances have taken already.
pub(crate) fn supply(instances: u64) -> Supply {
    // A limit that the system does not tell does not exist.
    let mappings =
        std::fs::read_to_string(MAX_MAP_COUNT).ok().and_then(|count| count.trim().parse().ok()).unwrap_or(u64::MAX);
    let address = getrlimit(Resource::As).current.unwrap_or(u64::MAX).min(ADDRESSES);
    let taken = mapped().unwrap_or(0).saturating_sub(instances);
    let own = (address / 8).min(OWN_ADDRESSES);
    Supply {
        mappings: mappings - own_mappings(mappings),
        address: address.saturating_sub(taken).saturating_sub(own),
        limits: SystemLimits { mappings, address },
    }
}

/// Whether the system allows this process less address space than the processor has.
pub(crate) fn is_bounded() -> bool {
    getrlimit(Resource::As).current.is_some_and(|limit| limit < ADDRESSES)
}

/// How many of the allowed mappings the host keeps for itself.
fn own_mappings(limit: u64) -> u64 {
    (limit / 16).max(OWN_MAPPINGS).min(limit / 2)
}

/// The limit of mappings that leaves this many for instances.
pub(crate) fn limit_for(wanted: u64) -> u64 {
    let limit = wanted.saturating_add(wanted / 15).saturating_add(OWN_MAPPINGS);
    limit.checked_next_multiple_of(1 << 16).unwrap_or(u64::MAX)
}

/// Bytes of address space that this process has taken.
fn mapped() -> Option<u64> {
    Some(ProcessStatus::read()?.number("VmSize")?.saturating_mul(1 << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_what_the_system_gives_is_the_hosts_own() {
        for limit in [0, 1, 1_000, 65_530, 1 << 20, u64::MAX] {
            assert!(own_mappings(limit) <= limit / 2);
        }
        assert_eq!(65_530 - own_mappings(65_530), 61_435);
    }

    #[test]
    fn a_limit_that_is_advised_is_enough() {
        for wanted in [0, 100, 65_530, 700_000] {
            let limit = limit_for(wanted);
            assert!(limit - own_mappings(limit) >= wanted, "{wanted}");
        }
    }
}
