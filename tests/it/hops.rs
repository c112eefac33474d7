//! Messages that go round: from workload to workload, and to the one that they come from.

use tidegate_runtime::config::{Grants, Workload};

use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, header};

fn may_publish(name: &str, max_hops: u32) -> Workload {
    let workload = workload(name);
    let grants = Grants { publish: vec!["in.>".to_owned()], ..workload.grants.clone() };
    Workload { grants, max_hops, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_goes_round_is_a_dead_letter_after_so_many_workloads_and_its_path_is_told() {
    let host = Host::start(vec![may_publish("one", 3), may_publish("two", 3)]).await;
    // Each has the other publish the rest of the line.
    let round = "publish in.two.a publish in.one.a ".repeat(3);
    host.publish("in.one.a", format!("{round}ok")).await;
    let letters = host.stored_count(DEAD, 1).await;
    assert_eq!(header(&letters[0], "Tidegate-Cause"), Some("hops"));
    let reason = header(&letters[0], "Tidegate-Reason").unwrap();
    assert!(reason.contains("4 workloads") && reason.ends_with(": one two one two"), "{reason}");
    for (stream, handled) in [("one", 3), ("two", 2)] {
        host.settled(stream).await;
        assert_eq!(host.stored(stream).await.len(), handled, "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_writes_there_itself_does_not_count() {
    let host = Host::start(vec![may_publish("work", 16)]).await;
    host.publish("in.work.a", "header in.work.b tidegate-hops 0").await;
    let stored = host.stored_count("work", 2).await;
    let headers = stored[1].headers.as_ref().unwrap();
    let hops: Vec<_> =
        headers.iter().filter(|(name, _)| name.to_string().eq_ignore_ascii_case("tidegate-hops")).collect();
    assert!(
        matches!(hops.as_slice(), [(_, values)] if values.len() == 1 && values[0].as_str() == "1 work"),
        "{hops:?}"
    );
    host.settled("work").await;
    assert!(host.stored(DEAD).await.is_empty());
}
