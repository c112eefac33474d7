//! What a handler answers, and what the host then does.

use crate::support::host::{Host, workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_handled_message_is_acknowledged() {
    let host = Host::start(vec![workload("work")]).await;
    host.publish("work.a", "ok").await;
    host.settled("work").await;
    let info = host.consumer("work").await;
    assert_eq!((info.ack_floor.stream_sequence, info.num_redelivered), (1, 0));
    host.stop().await;
}
