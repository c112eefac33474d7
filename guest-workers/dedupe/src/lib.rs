//! Publishes each message on once, and drops those that it has seen.

use tidegate_guest::handler::{Delivery, Failure, Publication, Response};
use tidegate_guest::key_value::{self, Cas, CasError};
use tidegate_guest::{Level, log};

tidegate_guest::handler!(handle);

/// What tells messages apart, and where is noted what was seen.
struct Settings {
    header: String,
    bucket: String,
    /// What stands before an id in its key.
    prefix: String,
    target: String,
}

impl Settings {
    fn read(mut of: tidegate_guest::Settings) -> Result<Self, String> {
        let mut take = |key, default: &str| of.take(key).unwrap_or_else(|| default.to_owned());
        let header = take("header", "Message-Id");
        let (bucket, prefix, target) = (take("bucket", "seen"), take("prefix", ""), take("target", "unique"));
        of.finish()?;
        Ok(Self { header, bucket, prefix, target })
    }
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let settings = tidegate_guest::Settings::of_workload().and_then(Settings::read).map_err(|error| {
        // The message is not to blame: it can be handled once the settings are right.
        log(Level::Error, "settings", &error);
        Failure::retry()
    })?;
    let key = key(&settings, &delivery)?;
    if is_first(&settings.bucket, &key, &owner(&delivery))? {
        Ok(passed_on(settings, delivery))
    } else {
        Ok(Response::done())
    }
}

/// Where a message's id is noted.
fn key(settings: &Settings, delivery: &Delivery) -> Result<String, Failure> {
    let id = delivery.header(&settings.header).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Failure::reject(format!("the header {} is missing or empty", settings.header)))?;
    Ok(format!("{}{}", settings.prefix, key_value::escape(id)))
}

/// The one message that an id belongs to. It stays the same when the message is delivered again, whose publication may
/// not have been stored the first time.
fn owner(delivery: &Delivery) -> String {
    format!("{}@{}", delivery.stream_sequence, delivery.published_at_ms)
}

/// Whether the id belongs to this message, which takes it if nobody has it. Of several that try at once one gets it.
fn is_first(bucket: &str, key: &str, owner: &str) -> Result<bool, Failure> {
    let mut noted = Cas::new(&key_value::open(bucket)?, key)?;
    loop {
        if let Some(other) = noted.current()? {
            return Ok(other == owner.as_bytes());
        }
        noted = match key_value::swap(noted, owner.as_bytes()) {
            Ok(()) => return Ok(true),
            Err(CasError::CasFailed(now)) => now,
            Err(CasError::StoreError(error)) => return Err(error.into()),
        };
    }
}

fn passed_on(settings: Settings, delivery: Delivery) -> Response {
    // The host's own names are not the handler's to set.
    let headers = delivery.headers.into_iter();
    let headers = headers.filter(|(name, _)| !name.starts_with("Nats-") && !name.starts_with("Tidegate-")).collect();
    Response::done().with(Publication { subject: settings.target, headers, payload: delivery.payload })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::settings;

    fn delivery(id: &str) -> Delivery {
        let headers = [("Message-Id", id), ("Nats-Msg-Id", "x"), ("Trace", "t")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Delivery { stream_sequence: 7, headers, ..Delivery::test("orders.new", "paid") }
    }

    #[test]
    fn an_id_of_any_text_is_a_key_and_one_that_is_missing_is_rejected() {
        let settings = Settings::read(settings(&[("prefix", "orders.")])).unwrap();
        assert_eq!(key(&settings, &delivery("A 1.é")).unwrap(), "orders.A=201=2E=C3=A9");
        assert!(matches!(key(&settings, &delivery("")), Err(Failure::Reject(_))));
        assert!(matches!(key(&settings, &Delivery::test("orders.new", "")), Err(Failure::Reject(_))));
    }

    #[test]
    fn a_message_owns_its_id_each_time_it_is_delivered() {
        assert_eq!(owner(&delivery("a")), "7@1700000000000");
        assert_eq!(owner(&Delivery { attempt: 3, ..delivery("a") }), owner(&delivery("a")));
        assert_ne!(owner(&Delivery { stream_sequence: 8, ..delivery("a") }), owner(&delivery("a")));
    }

    #[test]
    fn what_is_passed_on_keeps_its_payload_and_the_headers_that_a_handler_may_set() {
        let publication = passed_on(Settings::read(settings(&[])).unwrap(), delivery("a")).publications.remove(0);
        assert_eq!((publication.subject.as_str(), publication.payload.as_slice()), ("unique", &b"paid"[..]));
        let names: Vec<_> = publication.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Message-Id", "Trace"]);
    }
}
