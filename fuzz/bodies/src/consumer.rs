use std::time::Duration;

use crate::judged::Judged;
use tidegate_runtime::config::Config;
use tidegate_runtime::delivery::consumer_settings::{ConsumerFlow, Effective};

/// What a server says of a consumer and of its stream: two JSON texts with a NUL between them, read as the answers to
/// `CONSUMER.INFO` and `STREAM.INFO`. It is used, held or refused, and what is used can be pulled from without spinning
/// and without losing messages.
pub fn consumer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (consumer, stream) = text.split_once('\0').unwrap_or((text, "{}"));
    let config = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\nmanage = \"create\"\n";
    let workload = Config::from_toml(config).unwrap().workloads.remove(0);
    let Some(Judged { flow, settings, warnings }) = Judged::of(consumer, stream, &workload) else { return };
    for said in flow.problem().into_iter().chain(warnings.iter().map(String::as_str)) {
        assert!(!said.is_empty());
    }
    let effective = Effective::new(&settings);
    effective.flows(flow.clone());
    assert_eq!(effective.is_refused(), matches!(flow, ConsumerFlow::Refused(_)));
    assert!(effective.announce_after() >= Duration::from_millis(1));
    let scale = effective.employable(&workload.scale);
    assert!(scale.min <= scale.max && (1..=workload.scale.max).contains(&scale.max));
    for (count, bytes) in [(1, 0), (100, 64 << 20), (usize::MAX, usize::MAX)] {
        let ask = settings.pulls.ask(count, bytes, workload.pull.expires, 1 << 20);
        assert!((1..=count).contains(&ask.batch) && ask.batch <= settings.pulls.batch.max(1), "{ask:?}");
        assert!(ask.bytes == 0 || ask.bytes >= 2 << 20, "one message may not fit: {ask:?}");
        assert!(ask.bytes <= settings.pulls.bytes && ask.expires <= workload.pull.expires, "{ask:?}");
    }
    if flow == ConsumerFlow::Free {
        assert!(settings.ack_wait >= Duration::from_millis(100), "{settings:?}");
        assert!(settings.pulls.expires >= Duration::from_millis(100) && settings.pulls.waiting > 0, "{settings:?}");
        assert!(settings.pulls.batch > 0 && settings.max_deliver.is_none(), "{settings:?}");
    }
}
