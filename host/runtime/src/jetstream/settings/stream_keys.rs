//! What the configuration says of a stream that a host may make, and is otherwise in the one that is there.

use super::info::StreamConfig;
use crate::config::{Manage, Queue, Retention};

/// What differs, with what makes it the same. Where the host would not make the stream, the keys say nothing of it.
pub(super) fn differ(stream: &StreamConfig, queue: &Queue) -> Vec<String> {
    if queue.manage == Manage::Bind || queue.subjects.is_empty() {
        return Vec::new();
    }
    let edit = |flag: &str| format!("`nats stream edit {} {flag}`", stream.name);
    let mut warnings: Vec<_> = stream.mirror.iter().map(|_| of_mirror(&stream.name, queue)).collect();
    let mut differ = |key: &str, has: &str, wanted: &str, mends: String| {
        warnings.push(differing((key, wanted), ("stream", has), &mends));
    };
    if stream.mirror.is_none() && sorted(&stream.subjects) != sorted(&queue.subjects) {
        let (has, wanted) = (stream.subjects.join(", "), queue.subjects.join(", "));
        let has = if has.is_empty() { "none" } else { &has };
        differ("subjects", has, &wanted, edit(&format!("--subjects='{}'", queue.subjects.join(","))));
    }
    let wanted = match queue.retention {
        Retention::Limits => "limits",
        Retention::Interest => "interest",
        Retention::Workqueue => "workqueue",
    };
    if !stream.retention.is_empty() && stream.retention != wanted {
        // The server lets no stream become a work queue, or be one no longer.
        let mends = if stream.is_workqueue() || queue.retention == Retention::Workqueue {
            format!("a stream that is made anew (`nats stream rm {}`)", stream.name)
        } else {
            edit(&format!("--retention={wanted}"))
        };
        differ("retention", &stream.retention, wanted, mends);
    }
    if let Some(wanted) = queue.max_bytes.filter(|wanted| *wanted != stream.max_bytes) {
        let has = if stream.max_bytes > 0 { format!("{} bytes", stream.max_bytes) } else { "no limit".to_owned() };
        differ("max-bytes", &has, &format!("{wanted} bytes"), edit(&format!("--max-bytes={wanted}")));
    }
    warnings
}

/// The server lets a mirror have no subjects.
fn of_mirror(stream: &str, queue: &Queue) -> String {
    let wanted = queue.subjects.join(", ");
    format!(
        "subjects of the configuration is {wanted}, and stream {stream} is a mirror, whose messages are those of its \
         origin: leave out subjects, and say with filter what the workload is to have"
    )
}

/// That a `key` says one thing and what is there has another.
pub(super) fn differing((key, wanted): (&str, &str), (what, has): (&str, &str), mends: &str) -> String {
    format!(
        "{key} of the configuration is {wanted}, and the {what} has {has}, which counts: make it what you want with \
         {mends}, or change the file"
    )
}

fn sorted(subjects: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = subjects.iter().collect();
    sorted.sort();
    sorted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::config::Config;
    use crate::jetstream::settings::info::Origin;

    fn told(keys: &str, stream: &StreamConfig) -> Vec<String> {
        let text = format!("[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n{keys}\n");
        let config = Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}"));
        differ(stream, &config.workloads[0].queue)
    }

    fn stream(subjects: &[&str], retention: &str, max_bytes: i64) -> StreamConfig {
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        let (name, retention) = ("ORDERS".to_owned(), retention.to_owned());
        StreamConfig { name, subjects, retention, max_bytes, ..StreamConfig::default() }
    }

    #[test]
    fn each_key_that_differs_is_told_with_what_makes_it_the_same() {
        let keys = "manage = \"create\"\nsubjects = [\"b\", \"a.>\"]\nretention = \"interest\"\nmax-bytes = \"1MiB\"";
        assert_eq!(told(keys, &stream(&["a.>", "b"], "interest", 1048576)), Vec::<String>::new());
        for (there, said) in [
            (
                stream(&["a.>"], "interest", 1048576),
                "subjects of the configuration is b, a.>, and the stream has a.>, which counts: make it what you want \
                 with `nats stream edit ORDERS --subjects='b,a.>'`, or change the file",
            ),
            (stream(&[], "interest", 1048576), "and the stream has none, which counts"),
            (
                stream(&["a.>", "b"], "limits", 1048576),
                "retention of the configuration is interest, and the stream has limits, which counts: make it what you \
                 want with `nats stream edit ORDERS --retention=interest`",
            ),
            (stream(&["a.>", "b"], "workqueue", 1048576), "with a stream that is made anew (`nats stream rm ORDERS`)"),
            (
                stream(&["a.>", "b"], "interest", -1),
                "max-bytes of the configuration is 1048576 bytes, and the stream has no limit, which counts: make it \
                 what you want with `nats stream edit ORDERS --max-bytes=1048576`",
            ),
        ] {
            let warnings = told(keys, &there);
            assert!(warnings.len() == 1 && warnings[0].contains(said), "{warnings:?}");
        }
        assert_eq!(told(keys, &stream(&["other"], "limits", -1)).len(), 3);
    }

    #[test]
    fn a_mirror_is_not_to_be_given_subjects() {
        let mirror = StreamConfig { mirror: Some(Origin::default()), ..stream(&[], "limits", -1) };
        let warnings = told("manage = \"create\"\nsubjects = [\"a\"]", &mirror);
        assert!(warnings.len() == 1 && warnings[0].contains("leave out subjects"), "{warnings:?}");
        assert!(!warnings[0].contains("nats stream edit"), "{warnings:?}");
    }

    #[test]
    fn keys_say_nothing_of_a_stream_that_a_host_would_not_make() {
        let other = stream(&["other"], "workqueue", 7);
        for keys in ["", "subjects = [\"a\"]", "manage = \"create\"\nmax-bytes = \"1MiB\""] {
            assert_eq!(told(keys, &other), Vec::<String>::new(), "{keys}");
        }
    }
}
