use std::time::{Duration, SystemTime};

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;

use tidegate_runtime::contract::Author;
use tidegate_runtime::contract::{Cause, Death, Delivery};
use tidegate_runtime::dead_letter::draft::{Draft, LetterOrigin, Shape};
use tidegate_runtime::dead_letter::{Content, Headers, Letter, StoredMessage, block, headers};
use tidegate_runtime::jetstream;

/// Any delivery as a dead letter: it can be published, and what is read of it is what was written. Any bytes as a
/// header block, and any headers as a letter: read, or refused.
pub fn letter(bytes: &[u8]) {
    if let Ok(read) = block::read(bytes) {
        // White space before a value cannot be written. The client has some where the first line of a value is empty.
        let trimmed: Headers = read.iter().map(|(name, value)| (name.clone(), value.trim_start().to_owned())).collect();
        assert_eq!(block::read(&block::write(&read)), Ok(trimmed));
    }
    let u = &mut Unstructured::new(bytes);
    // Bytes that do not suffice are as good as none.
    let _ = Vec::arbitrary(u).map(|headers| Letter::read(&stored(headers)));
    let _ = written(u);
}

fn written(u: &mut Unstructured<'_>) -> Result<()> {
    let delivery = Delivery {
        subject: format!("a.{}", name(u)?),
        headers: published(u)?,
        stream_sequence: u64::arbitrary(u)?,
        attempt: u32::arbitrary(u)?,
        // To the end of the year 9999.
        published_at_ms: u.int_in_range(0..=253_402_300_799_999)?,
        ..Delivery::default()
    };
    let (payload, more) = (u.int_in_range(0..=5_000usize)?, u.int_in_range(0..=3_000usize)?);
    let (cause, reason) = (*u.choose(&Cause::ALL)?, String::arbitrary(u)?);
    let death = Death { cause, reason, stderr: String::arbitrary(u)? };
    let author = Author { plugin: "receipts".into(), generation: "2ea20000aaaa".into() };
    let place = LetterOrigin { workload: "orders", stream: "ORDERS", host: "here:1" };
    // The message came, so the server takes as much; and it takes the shortest of letters about that subject.
    let limit = (block::size(&delivery.headers) + payload).max(1_000 + delivery.subject.len()) + more;
    let (original, redriven) = headers::origin(&delivery.headers);
    let letter = match Draft::new(place, &delivery, &death, &author).shape(payload, limit) {
        Shape::Whole(headers) => {
            assert!(block::size(&headers) + payload <= limit);
            assert!(jetstream::may_be_headers(headers.clone()), "{headers:?}");
            let letter = Letter::read(&stored(headers)).unwrap();
            assert_eq!(letter.content, Content::Here(original.clone()));
            letter
        }
        Shape::Apart { block, mut headers } => {
            assert!(block.len() + payload <= limit && block::size(&headers) <= limit);
            assert_eq!(block::read(&block).as_ref(), Ok(&original));
            headers.push(("Tidegate-Content".to_owned(), "9".to_owned()));
            assert!(jetstream::may_be_headers(headers.clone()), "{headers:?}");
            let letter = Letter::read(&stored(headers)).unwrap();
            assert_eq!(letter.content, Content::Apart { sequence: 9, headers: block.len() });
            letter
        }
    };
    assert_eq!((&letter.subject, letter.stream_sequence), (&delivery.subject, delivery.stream_sequence));
    assert_eq!((letter.attempts, letter.published_ms()), (Some(delivery.attempt), Some(delivery.published_at_ms)));
    assert_eq!((letter.stream.as_str(), letter.host.as_str()), ("ORDERS", "here:1"));
    assert_eq!((letter.plugin.as_str(), letter.generation.as_str()), ("receipts", "2ea20000aaaa"));
    assert_eq!(letter.cause, death.cause.as_str());
    assert_eq!(letter.redrives, redriven.map_or(0, |redriven| redriven.times));
    // And once more around.
    if letter.redrives < u32::MAX {
        let (again, from) = headers::origin(&letter.redriven(&original, Some("ORDERS")));
        assert_eq!((again, from.map(|from| from.times)), (original, Some(letter.redrives + 1)));
    }
    Ok(())
}

/// Headers as a client may publish them, with a liking for names that mean something.
fn published(u: &mut Unstructured<'_>) -> Result<Headers> {
    const KNOWN: [&str; 8] = [
        "Nats-Msg-Id",
        "nats-odd",
        "Nats-Reply",
        "Tidegate-Reason",
        "Tidegate-Redrives",
        "Tidegate-First",
        "Tidegate-Original-Nats-Msg-Id",
        "tidegate-original-x",
    ];
    (0..u.int_in_range(0..=6)?)
        .map(|_| {
            let name = if bool::arbitrary(u)? { (*u.choose(&KNOWN)?).to_owned() } else { name(u)? };
            let value = if u.ratio(1, 4)? { "redrive:S:7:3".to_owned() } else { value(u)? };
            Ok((name, value))
        })
        .collect()
}

fn name(u: &mut Unstructured<'_>) -> Result<String> {
    let text = String::arbitrary(u)?;
    let legal: String = text.chars().filter(|c| c.is_ascii_graphic() && !":.*>".contains(*c)).collect();
    Ok(if legal.is_empty() { "x".to_owned() } else { legal })
}

fn value(u: &mut Unstructured<'_>) -> Result<String> {
    let text = String::arbitrary(u)?;
    Ok(text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned())
}

fn stored(headers: Headers) -> StoredMessage {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    StoredMessage {
        sequence: 1,
        subject: "orders.dead".into(),
        headers,
        is_readable: true,
        payload: Bytes::new(),
        size: 0,
        time,
    }
}
