use async_nats::header::{HeaderMap, HeaderName, HeaderValue, NATS_MESSAGE_ID};

use async_nats::jetstream::stream;

use super::Lane;
use crate::delivery::{Death, Delivery};
use crate::ports::Author;

/// What the stream of dead letters is bound to. It is not `<workload>.dead`, for that may well be a subject of the
/// workload's own stream (`orders.>`), and no message belongs in two streams. The stream stores it as that.
pub(super) const SUBJECTS: &str = "tidegate.dead.*";

/// The stream of dead letters: each is stored with the subject `<workload>.dead`.
pub(super) fn stream(name: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        description: Some("Messages that tidegate will not try again".to_owned()),
        subjects: vec![SUBJECTS.to_owned()],
        subject_transform: Some(stream::SubjectTransform {
            source: SUBJECTS.to_owned(),
            destination: "{{wildcard(1)}}.dead".to_owned(),
        }),
        storage: stream::StorageType::File,
        num_replicas: 1,
        allow_direct: true,
        ..stream::Config::default()
    }
}

/// Headers that the server or the host would act upon are kept under this prefix.
const KEPT: &str = "Tidegate-Original-";

/// Where a dead letter is published, and its headers.
///
/// The original's headers stay as they are, but those that begin with `Nats-`: a second `Nats-Expected-Stream` or
/// `Nats-Rollup` would make the server refuse the dead letter, or delete others.
pub(super) fn letter(lane: &Lane, delivery: &Delivery, death: &Death, author: &Author) -> (String, HeaderMap) {
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        let reserved = name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-"));
        append(&mut headers, &if reserved { format!("{KEPT}{name}") } else { name.clone() }, value);
    }
    // A reason is a guest's text and may have anything in it; one line of it is enough.
    let reason: String = death.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    let sequence = delivery.stream_sequence.to_string();
    let (attempt, published) = (delivery.attempt.to_string(), delivery.published_at_ms.to_string());
    for (name, value) in [
        ("Tidegate-Subject", delivery.subject.as_str()),
        ("Tidegate-Stream", &lane.stream),
        ("Tidegate-Sequence", &sequence),
        ("Tidegate-Published-Ms", &published),
        ("Tidegate-Attempts", &attempt),
        ("Tidegate-Cause", death.cause.as_str()),
        ("Tidegate-Reason", &reason),
        ("Tidegate-Plugin", &author.plugin),
        ("Tidegate-Generation", &author.generation),
        ("Tidegate-Host", &lane.host),
    ] {
        append(&mut headers, name, value);
    }
    // One dead letter for a message, however often its term is lost.
    headers.insert(NATS_MESSAGE_ID, format!("dead:{}:{sequence}", lane.stream));
    (SUBJECTS.replace('*', &lane.workload), headers)
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
        headers.append(name, value);
    }
}
