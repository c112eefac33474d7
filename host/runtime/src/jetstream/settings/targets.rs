//! Whether a stream can store what handlers publish, and say so.

use super::info::StreamConfig;
use super::refusal::SettingsRefusal;

/// Why no publication of a handler to a stream is ever acknowledged, if that is so.
pub(crate) fn unfit(stream: &StreamConfig) -> Option<SettingsRefusal> {
    let refuse = |problem: &str, remedy: String| Some(SettingsRefusal { problem: problem.to_owned(), remedy });
    if stream.sealed {
        let remedy = "let another stream take the subject, for this one stays sealed".to_owned();
        return refuse("is sealed, and stores nothing any more", remedy);
    }
    if stream.no_ack {
        let remedy = format!("let it acknowledge them: `nats stream edit {} --ack`", stream.name);
        return refuse("acknowledges no publication (no_ack)", remedy);
    }
    if stream.allow_msg_counter {
        let problem = "counts (allow_msg_counter), and stores no message without the header Nats-Incr, which no \
                       handler may set";
        return refuse(problem, "let another stream take the subject".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stream_that_never_confirms_is_told_with_the_setting() {
        let name = "OUT".to_owned();
        let fine = StreamConfig { name: name.clone(), ..StreamConfig::default() };
        assert_eq!(unfit(&fine), None);
        for (stream, problem, remedy) in [
            (StreamConfig { no_ack: true, ..fine.clone() }, "(no_ack)", "`nats stream edit OUT --ack`"),
            (StreamConfig { sealed: true, ..fine.clone() }, "is sealed", "another stream"),
            (StreamConfig { allow_msg_counter: true, ..fine.clone() }, "(allow_msg_counter)", "another stream"),
            // Nothing makes a sealed stream store again.
            (StreamConfig { sealed: true, no_ack: true, ..fine.clone() }, "is sealed", "another stream"),
        ] {
            let refusal = unfit(&stream).unwrap();
            assert!(refusal.problem.contains(problem) && refusal.remedy.contains(remedy), "{refusal:?}");
        }
    }
}
