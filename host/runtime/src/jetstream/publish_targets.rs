//! Checks that streams store what handlers may publish, and say so. Nothing is changed.

use async_nats::jetstream::response::Response;
use serde::Deserialize;

use super::Client;
use super::finding::{Finding, ServerCheck};
use super::settings::{SettingsRefusal, StreamConfig, unfit};
use crate::config::{Workload, subjects_overlap};

/// How many of the streams that take a subject are looked at.
const LOOKED_AT: usize = 16;

impl Client {
    /// Checks that there are streams for what handlers may publish, and what becomes of it there. `to_come` are
    /// subjects of streams that a host would make.
    pub(super) async fn grants(&self, workloads: &[&Workload], to_come: &[String], survey: &mut ServerCheck) {
        for workload in workloads {
            for subject in &workload.grants.publish {
                if to_come.iter().any(|own| subjects_overlap(own, subject)) {
                    continue;
                }
                let key = ["workload", workload.written_name(), "grants", "publish"];
                match self.takers(subject).await {
                    Ok(takers) if takers.is_empty() => {
                        let problem = format!(
                            "no stream takes `{subject}`, so a message whose handler publishes there is never \
                             acknowledged"
                        );
                        let remedy =
                            format!("create one, as with `nats stream add NAME --subjects '{subject}' --defaults`");
                        survey.found.push(Finding::new(&key, problem, remedy));
                    }
                    Ok(takers) => {
                        let all_unfit = self.unfit(&takers, survey).await;
                        tell(&key, subject, takers.len(), &all_unfit, survey);
                    }
                    Err(reason) => {
                        let unchecked = format!("whether streams take what handlers may publish: {reason}");
                        return survey.unchecked.push(unchecked);
                    }
                }
            }
        }
    }

    /// Streams that take messages on a subject: at least one of them if there are any.
    pub(super) async fn takers(&self, subject: &str) -> Result<Vec<String>, String> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            streams: Option<Vec<String>>,
        }
        let body = serde_json::json!({ "subject": subject });
        let subject = self.api_subject("STREAM.NAMES");
        match self.heard(&subject, self.context.request("STREAM.NAMES", &body)).await? {
            Ok(Response::Ok(Page { streams })) => Ok(streams.unwrap_or_default()),
            Ok(Response::Err { error }) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Those of the streams that acknowledge no publication of a handler, with the reason.
    async fn unfit(&self, takers: &[String], survey: &mut ServerCheck) -> Vec<(String, SettingsRefusal)> {
        let mut all = Vec::new();
        for stream in takers.iter().take(LOOKED_AT) {
            let asked = self.api_subject(&format!("STREAM.INFO.{stream}"));
            match self.heard(&asked, self.stream_state(stream)).await {
                Ok(Ok(found)) => {
                    let refusal = found.and_then(|found| unfit(&StreamConfig { name: stream.clone(), ..found.config }));
                    all.extend(refusal.map(|refusal| (stream.clone(), refusal)));
                }
                Ok(Err(error)) => survey.not_looked_at(format!("whether stream {stream} acknowledges: {error}")),
                Err(reason) => survey.not_looked_at(format!("whether stream {stream} acknowledges: {reason}")),
            }
        }
        all
    }
}

/// Tells of the streams, of `takers`, that acknowledge nothing. Where others take the subject too, a handler may mean
/// those.
fn tell(key: &[&str], subject: &str, takers: usize, all_unfit: &[(String, SettingsRefusal)], survey: &mut ServerCheck) {
    for (stream, SettingsRefusal { problem, remedy }) in all_unfit {
        let problem = format!(
            "stream {stream}, which takes `{subject}`, {problem}: a message whose handler publishes there is never \
             acknowledged"
        );
        if all_unfit.len() == takers {
            survey.found.push(Finding::new(key, problem, remedy.as_str()));
        } else {
            survey.warnings.push(format!("{}: {problem}; {remedy}", key.join(".")));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_stream_that_confirms_nothing_is_a_problem_where_it_is_the_only_one() {
        let refusal = SettingsRefusal { problem: "is sealed".to_owned(), remedy: "name another".to_owned() };
        let unfit = [("OUT".to_owned(), refusal)];
        let told = |takers| {
            let mut survey = ServerCheck::default();
            tell(&["workload", "w", "grants", "publish"], "out.>", takers, &unfit, &mut survey);
            survey
        };
        let only = told(1);
        assert!(only.found[0].problem.starts_with("stream OUT, which takes `out.>`, is sealed: a message"));
        assert_eq!((only.found[0].remedy.as_str(), only.warnings.len()), ("name another", 0));
        let one_of_two = told(2);
        assert!(one_of_two.found.is_empty());
        assert!(one_of_two.warnings[0].starts_with("workload.w.grants.publish: stream OUT, which"));
    }
}
