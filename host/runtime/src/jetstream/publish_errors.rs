//! What to do when a stream does not store a publication. The server's words name no setting.

/// What to do about JetStream's error of this number; `None` where its words suffice.
pub(super) fn remedy(code: u64) -> Option<&'static str> {
    Some(match code {
        10077 => {
            "the stream cannot store it: if it is full, make room (`nats stream purge`), raise its limits (`nats \
             stream edit`), or let it drop its oldest (`--discard=old`); else see what the server logs"
        }
        10023 | 10028 | 10047 => {
            "JetStream has no room left in the server: make room, or give it more (`max_file_store`, \
             `max_memory_store`)"
        }
        10002 => "the account has no room left: have its limits raised, or make room (`nats account info`)",
        10109 => "nothing makes a sealed stream store again: let another stream take the subject",
        10169 => {
            "the stream counts (allow_msg_counter), and no handler may set the header Nats-Incr: let another stream \
             take the subject"
        }
        10166 => "let the stream take it: `nats stream edit NAME --allow-msg-ttl`",
        10188 => "let the stream take it: `nats stream edit NAME --allow-schedules`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_servers_numbers_name_what_mends_it() {
        for (code, expected) in [
            (10077, "`nats stream purge`"),
            (10023, "max_file_store"),
            (10047, "max_file_store"),
            (10002, "`nats account info`"),
            (10109, "sealed"),
            (10169, "allow_msg_counter"),
            (10166, "--allow-msg-ttl"),
            (10188, "--allow-schedules"),
        ] {
            assert!(remedy(code).unwrap().contains(expected), "{code}");
        }
        assert_eq!(remedy(10003), None);
    }
}
