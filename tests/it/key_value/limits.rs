//! What one guest may have and spend.

use super::{granted_to, kv};
use crate::support::host::Host;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_so_many_handles_operations_and_bytes_and_no_more() {
    let limits = "limits = { kv-value = \"1KiB\", kv-operations = 50, kv-handles = 20 }";
    let host = Host::start(vec![granted_to("work", 1, &["read-write counters"], limits)]).await;
    let said = kv(&host, "counters hoard 45").await;
    assert_eq!(said, "20 open, error: more than 20 handles are open (limits.kv-handles)");
    let said = kv(&host, "counters hoard 100000").await;
    assert_eq!(said, "20 open, error: more than 50 operations in one call (limits.kv-operations)");
    // The next call has all of them again.
    assert_eq!(kv(&host, "counters set-large k 1024").await, "done");
    let said = kv(&host, "counters set-large k 1025").await;
    assert_eq!(said, "error: the value has 1025 bytes, and 1024 are allowed (limits.kv-value)");
    host.js.get_key_value("counters").await.unwrap().put("theirs", vec![b'x'; 5_000].into()).await.unwrap();
    for step in ["get theirs", "keep theirs", "get-many k theirs", "increment theirs 1"] {
        assert!(kv(&host, &format!("counters {step}")).await.contains("limits.kv-value"), "{step}");
    }
    assert_eq!(kv(&host, "counters exists theirs").await, "true");
    let many = vec!["k"; 60].join(" ");
    assert!(kv(&host, &format!("counters get-many {many}")).await.contains("limits.kv-operations"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_larger_than_the_server_takes_is_told() {
    let limits = "limits = { kv-value = \"4MiB\" }";
    let host = Host::start(vec![granted_to("work", 1, &["read-write counters"], limits)]).await;
    assert_eq!(kv(&host, "counters set-large k 1000000").await, "done");
    let said = kv(&host, "counters set-large k 2000000").await;
    assert!(said.starts_with("error: ") && said.contains("1048576 bytes"), "{said}");
    // Headers count too, and it is the value's fault that they do not fit and not the server's.
    let said = kv(&host, "counters cas-large other 1048576").await;
    assert!(said.contains("takes no more than 1048576 bytes at once, headers included"), "{said}");
}
