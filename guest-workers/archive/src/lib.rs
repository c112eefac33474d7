//! Puts many messages into one.

mod line;

use line::line;
use tidegate_guest::handler::{Delivery, Failure, Publication, Response};
use tidegate_guest::{Level, batch, log};

tidegate_guest::batch_handler!(handle);

/// Where publications go, and how large one is.
struct Settings {
    subject: String,
    max_bytes: usize,
}

impl Settings {
    fn read(mut of: tidegate_guest::Settings) -> Result<Self, String> {
        let subject = of.take("subject").unwrap_or_else(|| "archive".to_owned());
        let max_bytes = of.take_u32("max-bytes", 512 << 10, 1024..=64 << 20)?;
        of.finish()?;
        Ok(Self { subject, max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) })
    }
}

fn handle(deliveries: Vec<Delivery>) -> Vec<Result<Response, Failure>> {
    match tidegate_guest::Settings::of_workload().and_then(Settings::read) {
        Ok(settings) => archive(&settings, &deliveries),
        Err(error) => {
            // The messages are not to blame: they can be handled once the settings are right.
            log(Level::Error, "settings", &error);
            batch::all(deliveries.len(), &Err(Failure::retry()))
        }
    }
}

/// One publication after the other, each in the response to the first delivery of it. The host acknowledges the others
/// when all are stored.
fn archive(settings: &Settings, deliveries: &[Delivery]) -> Vec<Result<Response, Failure>> {
    let mut answers: Vec<Response> = deliveries.iter().map(|_| Response::done()).collect();
    let (mut first, mut lines) = (0, Vec::new());
    for (index, delivery) in deliveries.iter().enumerate() {
        let line = line(delivery);
        if !lines.is_empty() && lines.len() + line.len() > settings.max_bytes {
            publish(settings, answers.get_mut(first), std::mem::take(&mut lines));
            first = index;
        }
        lines.extend(line);
    }
    publish(settings, answers.get_mut(first), lines);
    answers.into_iter().map(Ok).collect()
}

fn publish(settings: &Settings, response: Option<&mut Response>, payload: Vec<u8>) {
    if let Some(response) = response {
        let headers = vec![("Content-Type".to_owned(), "application/jsonl".to_owned())];
        response.publications.push(Publication { subject: settings.subject.clone(), headers, payload });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::settings;

    fn deliveries(count: u64) -> Vec<Delivery> {
        (1..=count).map(|stream_sequence| Delivery { stream_sequence, ..Delivery::test("orders.new", "x") }).collect()
    }

    fn publications(settings: &Settings, count: u64) -> Vec<(usize, usize)> {
        let answers = archive(settings, &deliveries(count));
        assert_eq!(answers.len() as u64, count);
        let of = |(index, answer): (usize, &Result<Response, Failure>)| {
            let publication = answer.as_ref().unwrap().publications.first()?;
            Some((index, publication.payload.split_inclusive(|byte| *byte == b'\n').count()))
        };
        answers.iter().enumerate().filter_map(of).collect()
    }

    #[test]
    fn a_batch_is_one_publication_with_a_line_a_message() {
        let settings = Settings::read(settings(&[])).unwrap();
        assert_eq!(publications(&settings, 100), [(0, 100)]);
        assert_eq!(publications(&settings, 1), [(0, 1)]);
    }

    #[test]
    fn what_is_too_large_for_one_publication_is_in_several_each_with_the_first_of_it() {
        let settings = Settings { subject: "archive".into(), max_bytes: 3 * line(&deliveries(1)[0]).len() };
        assert_eq!(publications(&settings, 7), [(0, 3), (3, 3), (6, 1)]);
        let settings = Settings { max_bytes: 1, ..settings };
        assert_eq!(publications(&settings, 2), [(0, 1), (1, 1)]);
    }

    #[test]
    fn a_setting_that_is_wrong_is_told() {
        let error = Settings::read(settings(&[("max-bytes", "1")])).err().unwrap();
        assert!(error.starts_with("max-bytes = \"1\": must be"), "{error}");
    }
}
