//! The payload as a list of steps: one a line, done in this order.

/// What a line of the payload asks for. The README lists the lines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Ok,
    Silent,
    Echo,
    Reply(String),
    BigReply(usize),
    Answer(Question),
    Publish { subject: String, headers: Vec<(String, String)>, payload: String },
    BigPublication { subject: String, bytes: usize },
    Ledger { subject: String, id: String },
    Record { subject: String, id: String, bytes: usize },
    Retry(Option<u64>),
    Reject(String),
    Trap,
    Spin,
    Grow,
    Overflow,
    Panic(String),
    Storm(Storm),
    Flood(usize),
    Many { subject: String, count: usize },
    Sleep(u64),
    Print(String),
    Eprint(String),
    Log { level: String, text: String },
    KeyValue(Vec<String>),
}

/// Which of the host's functions is called without end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storm {
    Clock,
    Log,
    Settings,
    Stdout,
}

/// What a reply can tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Question {
    Attempt,
    Batch,
    Clock,
    Config(String),
    Connect(String),
    Count,
    Delivery,
    Environment,
    Open(String),
    Version,
}

/// Reads a payload. Lines that another attempt asks for are left out.
pub(crate) fn parse(payload: &[u8], attempt: u32) -> Result<Vec<Step>, String> {
    let text = std::str::from_utf8(payload).map_err(|error| format!("not text: {error}"))?;
    let mut steps = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        steps.extend(parse_line(line, attempt)?);
    }
    Ok(steps)
}

fn parse_line(line: &str, attempt: u32) -> Result<Option<Step>, String> {
    let (word, rest) = cut(line);
    if word == "before" {
        let (limit, command) = cut(rest);
        let limit: u32 = number(line, limit)?;
        return if attempt < limit { parse_line(command, attempt) } else { Ok(None) };
    }
    if word == "in" {
        let (version, command) = cut(rest);
        return if version == crate::VERSION { parse_line(command, attempt) } else { Ok(None) };
    }
    let (first, second) = cut(rest);
    let step = match word {
        "ok" | "#" | "short" => Step::Ok,
        "silent" => Step::Silent,
        "echo" => Step::Echo,
        "reply" => Step::Reply(rest.to_owned()),
        "big-reply" => Step::BigReply(number(line, rest)?),
        "attempt" => Step::Answer(Question::Attempt),
        "batch" => Step::Answer(Question::Batch),
        "clock" => Step::Answer(Question::Clock),
        "config" => Step::Answer(Question::Config(rest.to_owned())),
        "connect" => Step::Answer(Question::Connect(rest.to_owned())),
        "count" => Step::Answer(Question::Count),
        "delivery" => Step::Answer(Question::Delivery),
        "env" => Step::Answer(Question::Environment),
        "open" => Step::Answer(Question::Open(rest.to_owned())),
        "version" => Step::Answer(Question::Version),
        "publish" => publish(first, None, second),
        "header" => {
            let (name, value) = cut(second);
            publish(first, Some((name, value)), "")
        }
        "bad-header" => publish(first, Some(("Not A: Name", "two\r\nlines")), ""),
        "nats-header" => publish(first, Some(("Nats-Msg-Id", "mine")), ""),
        "bad-subject" => publish("no.*.literal", None, rest),
        "big-publication" => Step::BigPublication { subject: first.to_owned(), bytes: number(line, second)? },
        "ledger" => Step::Ledger { subject: first.to_owned(), id: second.to_owned() },
        "record" => {
            let (id, bytes) = cut(second);
            let bytes = if bytes.is_empty() { 0 } else { number(line, bytes)? };
            Step::Record { subject: first.to_owned(), id: id.to_owned(), bytes }
        }
        "retry" if rest.is_empty() => Step::Retry(None),
        "retry" => Step::Retry(Some(number(line, rest)?)),
        "reject" => Step::Reject(rest.to_owned()),
        "trap" => Step::Trap,
        "spin" => Step::Spin,
        "grow" => Step::Grow,
        "overflow" => Step::Overflow,
        "panic" => Step::Panic(rest.to_owned()),
        "storm" => Step::Storm(match rest {
            "clock" => Storm::Clock,
            "log" => Storm::Log,
            "settings" => Storm::Settings,
            "stdout" => Storm::Stdout,
            _ => return Err(format!("not a storm that the probe knows: {line}")),
        }),
        "flood" => Step::Flood(number(line, rest)?),
        "many" => Step::Many { subject: first.to_owned(), count: number(line, second)? },
        "sleep" => Step::Sleep(number(line, rest)?),
        "print" => Step::Print(rest.to_owned()),
        "eprint" => Step::Eprint(rest.to_owned()),
        "kv" => Step::KeyValue(rest.split_whitespace().map(str::to_owned).collect()),
        "log" => Step::Log { level: first.to_owned(), text: second.to_owned() },
        _ => return Err(format!("not a line that the probe knows: {line}")),
    };
    Ok(Some(step))
}

fn publish(subject: &str, header: Option<(&str, &str)>, payload: &str) -> Step {
    Step::Publish {
        subject: subject.to_owned(),
        headers: header.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        payload: payload.to_owned(),
    }
}

fn cut(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn number<T: std::str::FromStr>(line: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("a number is missing: {line}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_line_is_a_step() {
        let steps = parse(b"sleep 100\n\npublish out.1 two words\n  retry 250\nretry\n", 1).unwrap();
        let publication = publish("out.1", None, "two words");
        assert_eq!(steps, [Step::Sleep(100), publication, Step::Retry(Some(250)), Step::Retry(None)]);
        assert_eq!(parse(b"", 1), Ok(vec![]));
    }

    #[test]
    fn a_line_may_hold_only_for_the_first_attempts() {
        let script = b"before 3 trap\nreply done";
        assert_eq!(parse(script, 2).unwrap(), [Step::Trap, Step::Reply("done".into())]);
        assert_eq!(parse(script, 3).unwrap(), [Step::Reply("done".into())]);
    }

    #[test]
    fn a_line_that_is_not_known_is_an_error() {
        assert_eq!(parse(b"jump", 1).unwrap_err(), "not a line that the probe knows: jump");
        assert_eq!(parse(b"sleep long", 1).unwrap_err(), "a number is missing: sleep long");
        assert!(parse(&[0xff], 1).unwrap_err().starts_with("not text"));
    }
}
