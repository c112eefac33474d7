//! One fleet: hosts that share workloads, and a JetStream key-value bucket as the only thing between them.
//!
//! Here belongs what a host tells the others ([`entries`], [`figures`]), what it knows of them ([`view`]), who leads a
//! workload ([`seat`]), how workers ([`shares`]), partitions ([`owners`]) and limits ([`limits`]) are shared out and
//! what the hosts have done together ([`totals`]): all of them pure, without a clock. [`host`] and [`member`] carry it
//! out, for a host and for one workload of it; [`partition_place`] is whether a host works a partition; what a person
//! asks of all hosts goes through [`asked`]. How the bucket is read and written is in `jetstream`, what a leader asks
//! the policy in [`scaling`](crate::scaling).
//!
//! No decision here rests on a clock. What is written has a revision, the place in the bucket's stream, and revisions
//! are in one order for all hosts. A host writes its entry once a [`host::BEAT`]; another is silent when it has written
//! nothing since this host has written, and seen, so many of its own.

pub(crate) mod asked;
pub(crate) mod entries;
pub(crate) mod figures;
pub(crate) mod host;
pub(crate) mod limits;
pub(crate) mod member;
#[cfg(test)]
mod model_test;
pub(crate) mod owners;
pub(crate) mod partition_place;
pub(crate) mod seat;
pub(crate) mod set_workers;
pub(crate) mod shares;
pub(crate) mod totals;
pub(crate) mod view;
