//! Publishes each message on, so many times.

use std::cell::OnceCell;

use tidegate_guest::handler::{Delivery, Failure, Publication, Response};
use tidegate_guest::{Level, log};

tidegate_guest::handler!(handle);

/// Where messages are published, and how often.
struct Settings {
    target: String,
    copies: u32,
}

thread_local! {
    /// The settings do not change as long as an instance lives.
    static SETTINGS: OnceCell<Result<Settings, String>> = const { OnceCell::new() };
}

impl Settings {
    fn read(mut of: tidegate_guest::Settings) -> Result<Self, String> {
        let target = of.take("target").unwrap_or_else(|| "fanned".to_owned());
        let copies = of.take_u32("copies", 1, 0..=1000)?;
        of.finish()?;
        Ok(Self { target, copies })
    }
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    SETTINGS.with(|cell| match cell.get_or_init(|| Settings::read(tidegate_guest::Settings::of_workload()?)) {
        Ok(settings) => Ok(spread(settings, &delivery)),
        // The message is not to blame: it can be handled once the settings are right.
        Err(error) => {
            log(Level::Error, "settings", error);
            Err(Failure::retry())
        }
    })
}

fn spread(settings: &Settings, delivery: &Delivery) -> Response {
    let copy =
        || Publication { subject: settings.target.clone(), headers: Vec::new(), payload: delivery.payload.clone() };
    Response { reply: None, publications: (0..settings.copies).map(|_| copy()).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::settings;

    #[test]
    fn a_message_is_published_as_often_as_the_settings_say() {
        let of = |pairs: &[(&str, &str)]| Settings::read(settings(pairs)).unwrap();
        let spread = |settings: Settings| spread(&settings, &Delivery::test("orders.new", "paid")).publications;
        let three = spread(of(&[("target", "copies"), ("copies", "3")]));
        assert!(three.iter().all(|copy| (copy.subject.as_str(), &copy.payload[..]) == ("copies", b"paid")));
        assert_eq!((three.len(), spread(of(&[])).len(), spread(of(&[("copies", "0")])).len()), (3, 1, 0));
        assert!(Settings::read(settings(&[("copies", "1001")])).is_err());
    }
}
