//! What to do when a stream does not store a publication. The server's words name no setting.

use crate::config::DEAD_LETTERS;
use crate::permissions::covers;

/// What to do about JetStream's error of this number, which answered a publication on this subject; `None` where its
/// words suffice.
pub(super) fn remedy(subject: &str, code: u64) -> Option<&'static str> {
    if covers(DEAD_LETTERS, subject) {
        return for_letters(code).or_else(|| for_all(code));
    }
    Some(match code {
        10077 => {
            "the stream cannot store it: if it is full, make room (`nats stream purge`), raise its limits (`nats \
             stream edit`), or let it drop its oldest (`--discard=old`); else see what the server logs"
        }
        10109 => "nothing makes a sealed stream store again: let another stream take the subject",
        10169 => {
            "the stream counts (allow_msg_counter), and no handler may set the header Nats-Incr: let another stream \
             take the subject"
        }
        10166 => "let the stream take it: `nats stream edit NAME --allow-msg-ttl`",
        10188 => "let the stream take it: `nats stream edit NAME --allow-schedules`",
        _ => return for_all(code),
    })
}

/// The same for a dead letter. Room is made for it by looking at others, and not by throwing them away.
fn for_letters(code: u64) -> Option<&'static str> {
    Some(match code {
        10077 => {
            "the stream of dead letters cannot store it: if it is full, look at what is there (`tidegate dead list`), \
             redrive or purge it (`tidegate dead redrive`, `tidegate dead purge`), or raise its limits (`nats stream \
             edit`); else see what the server logs"
        }
        10109 => "nothing makes a sealed stream store again: name another stream in [dead-letters]",
        10169 => {
            "the stream counts (allow_msg_counter), and stores nothing without the header Nats-Incr: name another \
             stream in [dead-letters]"
        }
        _ => return None,
    })
}

/// The same for whatever is published.
fn for_all(code: u64) -> Option<&'static str> {
    Some(match code {
        10054 => "the stream takes none as large: raise its max_msg_size (`nats stream edit NAME --max-msg-size`)",
        10023 | 10028 | 10047 => {
            "JetStream has no room left in the server: make room, or give it more (`max_file_store`, \
             `max_memory_store`)"
        }
        10002 => "the account has no room left: have its limits raised, or make room (`nats account info`)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_dead_letter_is_thrown_away_for_another() {
        for (code, expected) in [
            (10077, "`tidegate dead redrive`"),
            (10054, "--max-msg-size"),
            (10109, "[dead-letters]"),
            (10169, "[dead-letters]"),
            (10047, "max_file_store"),
        ] {
            let remedy = remedy("tidegate.dead.orders", code).unwrap();
            assert!(remedy.contains(expected) && !remedy.contains("discard"), "{remedy}");
        }
        assert_eq!(remedy("tidegate.dead.orders", 10003), None);
    }

    #[test]
    fn the_servers_numbers_name_what_mends_it() {
        for (code, expected) in [
            (10077, "`nats stream purge`"),
            (10054, "--max-msg-size"),
            (10023, "max_file_store"),
            (10047, "max_file_store"),
            (10002, "`nats account info`"),
            (10109, "sealed"),
            (10169, "allow_msg_counter"),
            (10166, "--allow-msg-ttl"),
            (10188, "--allow-schedules"),
        ] {
            assert!(remedy("out.a", code).unwrap().contains(expected), "{code}");
        }
        assert_eq!(remedy("out.a", 10003), None);
    }
}
