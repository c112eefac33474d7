//! How many deliveries one instance of an asynchronous handler has at once: what that cannot go with.

use super::reader::Reader;
use super::words::Isolation;

/// Notes what is wrong with `concurrency`, in a workload where a worker holds at most `held` deliveries.
pub(super) fn check(
    keys: &mut Reader<'_>,
    concurrency: usize,
    batches_wanted: bool,
    isolation: Isolation,
    held: usize,
) {
    if concurrency == 1 {
        return;
    }
    let (problem, remedy) = if batches_wanted {
        let problem = "a handler has either batches or several deliveries at once, and [batching] is set too";
        (problem.to_owned(), "remove one of the two".to_owned())
    } else if isolation == Isolation::Message {
        let problem = "an instance that lives for one message (isolation) cannot have several at once";
        (problem.to_owned(), "use isolation \"worker\", or remove concurrency".to_owned())
    } else if concurrency > held {
        let problem = format!("{concurrency} is more than pull.batch, which is {held}: a worker never has so many");
        (problem, format!("lower it, or raise pull.batch to {concurrency} or leave that out"))
    } else {
        return;
    };
    keys.note(keys.place("concurrency").error(problem, remedy));
}
