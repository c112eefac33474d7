//! What is made larger, and how large. Pure.

use super::super::load::Load;

/// What one curve is drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Workers of one workload.
    Workers,
    /// Workloads of one host, with a worker each.
    Workloads,
    /// Bytes of a message.
    Payload,
    /// Publications of the handler for each message.
    Publications,
    /// Headers of a message.
    Headers,
    /// Keys of an order.
    Keys,
    /// Hosts that share a consumer.
    Hosts,
    /// Replicas of the stream, on three servers.
    Replicas,
}

impl Axis {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::Workers,
        Self::Workloads,
        Self::Payload,
        Self::Publications,
        Self::Headers,
        Self::Keys,
        Self::Hosts,
        Self::Replicas,
    ];

    /// Its name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Workloads => "workloads",
            Self::Payload => "payload",
            Self::Publications => "publications",
            Self::Headers => "headers",
            Self::Keys => "keys",
            Self::Hosts => "hosts",
            Self::Replicas => "replicas",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|axis| axis.name() == name)
    }

    /// What a chart says below it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Workers => "workers of one workload",
            Self::Workloads => "workloads, a worker each",
            Self::Payload => "bytes of a message",
            Self::Publications => "publications a message",
            Self::Headers => "headers of a message",
            Self::Keys => "keys of an order",
            Self::Hosts => "hosts of one consumer, 4 workers each",
            Self::Replicas => "replicas of the stream, on three servers",
        }
    }

    /// Where it is measured, in ascending order.
    pub(super) fn points(self) -> &'static [u32] {
        match self {
            Self::Workers => &[1, 4, 16, 64, 256, 1_000, 2_500, 5_000, 10_000, 20_000],
            Self::Workloads => &[1, 4, 16, 64, 250, 1_000],
            Self::Payload => &[0, 128, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
            Self::Publications => &[0, 1, 2, 5, 10, 30, 100],
            Self::Headers => &[0, 1, 3, 10, 30, 100],
            Self::Keys => &[1, 10, 100, 1_000, 10_000, 100_000],
            Self::Hosts => &[1, 2, 4],
            Self::Replicas => &[1, 3],
        }
    }

    /// The load at a point, of at most so many `messages`: where one makes much work there are fewer, so that no point
    /// takes much longer than the others.
    pub(super) fn load(self, at: u32, messages: usize) -> Load {
        let base = Load { messages, ..Load::default() };
        let size = usize::try_from(at).unwrap_or(usize::MAX);
        let fewer = |by: usize| messages.div_ceil(by.max(1)).max(100.min(messages));
        match self {
            Self::Workers => Load { workers: at, ..base },
            Self::Workloads => Load { workloads: at, workers: 1, ..base },
            Self::Payload => Load { payload: size, messages: fewer(size >> 12), ..base },
            Self::Publications => Load { publications: at, messages: fewer(size), ..base },
            Self::Headers => Load { headers: size, messages: fewer(size >> 3), ..base },
            Self::Keys => Load { keys: Some(at), ..base },
            Self::Hosts => Load { hosts: at, ..base },
            Self::Replicas => Load { replicas: size, ..base },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn points_ascend_and_no_load_is_out_of_proportion() {
        for axis in Axis::ALL {
            assert_eq!(Axis::named(axis.name()), Some(axis));
            let points = axis.points();
            assert!(points.is_sorted() && points.len() >= 2);
            for at in points {
                let load = axis.load(*at, 100_000);
                let bytes = load.messages * load.payload.max(1) * usize::try_from(load.publications.max(1)).unwrap();
                assert!(bytes <= 420 << 20 && load.messages >= 100, "{axis:?} at {at}: {bytes} bytes");
            }
        }
    }

    #[test]
    fn a_small_run_stays_small() {
        assert_eq!(Axis::Payload.load(1 << 20, 50).messages, 50);
        assert_eq!(Axis::Payload.load(1 << 20, 1_000).messages, 100);
        assert_eq!(Axis::Workers.load(20_000, 1_000).messages, 1_000);
    }
}
