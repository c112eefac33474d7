//! Where a redriven message belongs: in the stream that it died in, or in one that this stream takes its messages from.
//!
//! The message's subject alone may lead elsewhere: the stream may transform subjects, may have other subjects by now,
//! or may be gone.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::jetstream::stream;
use tokio::sync::Mutex;

use super::Client;

/// Through how many streams a chain of sources is followed.
const MOST: usize = 64;

/// The streams that may take a message so that one stream gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedriveTarget {
    /// The stream that has to get the message.
    pub(super) stream: String,
    /// That stream, and those that it mirrors or sources, at any distance.
    pub(super) takers: Vec<String>,
    /// Whether the message's headers may name the stream that has to take it. A stream republishes messages with all
    /// headers, so another stream that takes what is republished would refuse such a message.
    pub(super) is_exact: bool,
    /// Whether the stream is there.
    is_there: bool,
    /// Whether the stream stores messages with other subjects than they were published on.
    transforms: bool,
}

impl RedriveTarget {
    fn new(stream: &str) -> Self {
        let stream = stream.to_owned();
        Self { takers: vec![stream.clone()], stream, is_exact: true, is_there: false, transforms: false }
    }

    /// Notes a stream, and returns the streams that it has messages from.
    fn add(&mut self, config: &stream::Config) -> Vec<String> {
        self.is_exact &= config.republish.is_none();
        if config.name == self.stream {
            self.is_there = true;
            self.transforms = config.subject_transform.is_some();
        }
        let sources = config.mirror.iter().chain(config.sources.iter().flatten());
        let new: Vec<String> = sources.map(|source| source.name.clone()).collect();
        let new: Vec<String> = new.into_iter().filter(|name| !self.takers.contains(name)).collect();
        self.takers.extend(new.iter().cloned());
        new
    }

    /// The error for a message whose subject leads to another stream, or to none.
    pub(super) fn misled(&self, subject: &str, taker: Option<&str>, copy: &str) -> String {
        let (stream, subject) = (&self.stream, subject.escape_debug());
        let takes = match taker {
            Some(taker) => format!("stream {taker} takes `{subject}` now{copy}"),
            None => format!("another stream takes `{subject}` now"),
        };
        let died = match (self.is_there, self.transforms) {
            (false, _) => format!("it belongs into {stream}, which is not there"),
            (true, true) => format!("it belongs into {stream}, which transforms the subjects that it takes"),
            (true, false) => format!("it belongs into {stream}"),
        };
        format!("{takes}, and {died}; correct the subjects of the streams, or name the stream with --into")
    }
}

/// The targets that were looked up, by stream, so that each is looked up once.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes(Arc<Mutex<HashMap<String, RedriveTarget>>>);

impl Homes {
    /// # Errors
    /// If the server does not say, in its words.
    pub(super) async fn of(&self, client: &Client, stream: &str) -> Result<RedriveTarget, String> {
        // The lock is held while the server is asked: others that come meanwhile want the same.
        let mut known = self.0.lock().await;
        if let Some(home) = known.get(stream) {
            return Ok(home.clone());
        }
        let mut home = RedriveTarget::new(stream);
        let mut left = vec![stream.to_owned()];
        while let Some(name) = left.pop() {
            let found = client.find_stream(&name).await.map_err(|error| format!("stream {name}: {error}"))?;
            // Streams of other domains and accounts are not found.
            if let Some(found) = found {
                left.extend(home.add(&found.cached_info().config));
            }
            if home.takers.len() > MOST {
                break;
            }
        }
        known.insert(stream.to_owned(), home.clone());
        Ok(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> stream::Source {
        stream::Source { name: name.to_owned(), ..stream::Source::default() }
    }

    #[test]
    fn a_stream_has_messages_from_those_that_it_mirrors_and_sources_each_named_once() {
        let mut home = RedriveTarget::new("ALL");
        let all = stream::Config {
            name: "ALL".to_owned(),
            sources: Some(vec![source("A"), source("B"), source("ALL")]),
            ..stream::Config::default()
        };
        assert_eq!(home.add(&all), ["A", "B"]);
        let mirror = stream::Config { name: "A".to_owned(), mirror: Some(source("B")), ..stream::Config::default() };
        assert_eq!(home.add(&mirror), Vec::<String>::new());
        assert_eq!(home.takers, ["ALL", "A", "B"]);
    }

    #[test]
    fn what_is_republished_is_not_bound_to_a_stream() {
        let mut home = RedriveTarget::new("ORDERS");
        let republish =
            stream::Republish { source: ">".to_owned(), destination: "copy.>".to_owned(), headers_only: false };
        home.add(&stream::Config {
            name: "ORDERS".to_owned(),
            republish: Some(republish),
            ..stream::Config::default()
        });
        assert!(!home.is_exact);
    }

    #[test]
    fn both_streams_are_named() {
        let gone = RedriveTarget::new("ORDERS");
        let text = gone.misled("u.a", Some("OTHER"), "");
        assert!(
            text.starts_with("stream OTHER takes `u.a` now, and it belongs into ORDERS, which is not there; "),
            "{text}"
        );
    }
}
