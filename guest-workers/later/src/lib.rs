//! Has each message stored once more, later.

use std::time::Duration;

use tidegate_guest::handler::{Delivery, Failure, Publication, Response};
use tidegate_guest::{Level, log};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

tidegate_guest::handler!(handle);

/// When and where messages are stored once more.
struct Settings {
    after_ms: u64,
    /// What stands before a message's position in the subject of its schedule.
    schedules: String,
    target: String,
}

impl Settings {
    fn read(mut of: tidegate_guest::Settings) -> Result<Self, String> {
        let after = of.take_duration("after", Duration::from_secs(60))?;
        let schedules = of.take("schedules").unwrap_or_else(|| "later".to_owned());
        let target = of.take("target").unwrap_or_else(|| "due".to_owned());
        of.finish()?;
        Ok(Self { after_ms: tidegate_guest::settings::millis(after), schedules, target })
    }
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let settings = tidegate_guest::Settings::of_workload().and_then(Settings::read).map_err(|error| {
        // The message is not to blame: it can be handled once the settings are right.
        log(Level::Error, "settings", &error);
        Failure::retry()
    })?;
    schedule(&settings, delivery)
}

fn schedule(settings: &Settings, delivery: Delivery) -> Result<Response, Failure> {
    let after = match delivery.header("After-Ms") {
        Some(text) => text.parse().map_err(|_| Failure::reject(format!("After-Ms: `{text}` is not a number")))?,
        None => settings.after_ms,
    };
    // It depends on nothing but the message, so that a redelivery makes the same schedule.
    let at = rfc3339(delivery.published_at_ms.saturating_add(after))
        .ok_or_else(|| Failure::reject(format!("After-Ms: {after} is too far away")))?;
    let headers = [("Nats-Schedule", format!("@at {at}")), ("Nats-Schedule-Target", settings.target.clone())];
    Ok(Response::done().with(Publication {
        subject: format!("{}.{}", settings.schedules, delivery.stream_sequence),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        payload: delivery.payload,
    }))
}

/// A time in milliseconds since the Unix epoch as NATS reads it; `None` after the year 9999.
fn rfc3339(ms: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::settings;

    fn scheduled(pairs: &[(&str, &str)], after: Option<&str>) -> Result<Publication, Failure> {
        let headers = after.map(|after| ("After-Ms".to_owned(), after.to_owned())).into_iter().collect();
        let delivery = Delivery { stream_sequence: 7, headers, ..Delivery::test("reminders", "wake up") };
        let settings = Settings::read(settings(pairs)).unwrap();
        schedule(&settings, delivery).map(|mut response| response.publications.remove(0))
    }

    #[test]
    fn the_schedule_is_counted_from_when_the_message_was_published() {
        let publication = scheduled(&[("after", "90s"), ("target", "ring")], None).unwrap();
        assert_eq!((publication.subject.as_str(), publication.payload.as_slice()), ("later.7", &b"wake up"[..]));
        let headers: Vec<_> = publication.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("Nats-Schedule", "@at 2023-11-14T22:14:50Z"), ("Nats-Schedule-Target", "ring")]);
    }

    #[test]
    fn a_message_can_have_a_delay_of_its_own() {
        let publication = scheduled(&[], Some("1500")).unwrap();
        assert_eq!(publication.headers[0].1, "@at 2023-11-14T22:13:21.5Z");
        for wrong in ["", "soon", "-1", "18446744073709551615"] {
            assert!(matches!(scheduled(&[], Some(wrong)), Err(Failure::Reject(_))), "{wrong}");
        }
    }
}
