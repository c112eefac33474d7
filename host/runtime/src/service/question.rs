//! What is asked, read from a subject and a payload that anybody may have written. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::units;
use crate::jetstream::Refusal;
use crate::permissions::SERVICE;
use crate::subject::shown;

/// The most bytes of a request.
const MOST: usize = 4096;

/// What is asked of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Who is there.
    Ping,
    /// What it is and what can be asked of it.
    Info,
    /// What was asked of it and what its workloads have done.
    Stats,
    /// One of its endpoints.
    Endpoint(Endpoint, Demand),
}

/// An endpoint, with which those of all workloads are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Endpoint {
    Status,
    Scale,
    Pause,
    Resume,
    Drain,
    Undrain,
}

/// What an endpoint is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// The status, with the workloads from this place on.
    Status { from: usize },
    /// The status of one workload.
    StatusOf(String),
    /// So many workers, for a time or until it is ended.
    SetWorkers { workload: String, count: u32, last: Option<Duration> },
    /// The workers that the policy wants.
    FreeWorkers { workload: String },
    /// That nothing is delivered, for a time or until it is ended.
    Pause { workload: String, last: Option<Duration> },
    /// The end of that.
    Resume { workload: String },
    /// That the host fetches no more, and finishes what it has; or that it goes on.
    Drain(bool),
}

impl Endpoint {
    pub(super) const ALL: [Self; 6] =
        [Self::Status, Self::Scale, Self::Pause, Self::Resume, Self::Drain, Self::Undrain];

    /// Its name, which is also what its subject has after the host's id.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
        }
    }

    /// Whether it changes something.
    pub(super) fn is_admin(self) -> bool {
        self != Self::Status
    }

    /// Whether the last token of its subject is a workload.
    pub(super) fn is_of_a_workload(self) -> bool {
        matches!(self, Self::Scale | Self::Pause | Self::Resume)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StatusBody {
    from: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleBody {
    set: Option<u32>,
    auto: Option<bool>,
    r#for: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseBody {
    r#for: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoBody {}

/// What is asked by a message on `subject`; `None` if it is nothing that this host answers. `place` is the prefix and
/// the id of the host.
pub(super) fn read(subject: &str, payload: &[u8], place: (&str, &str)) -> Option<Result<Question, Refusal>> {
    if let Some(rest) = subject.strip_prefix("$SRV.") {
        return verb(rest, place.1).map(Ok);
    }
    let rest = subject.strip_prefix(place.0)?.strip_prefix('.')?.strip_prefix(place.1)?.strip_prefix('.')?;
    let (name, workload) = rest.split_once('.').map_or((rest, None), |(name, workload)| (name, Some(workload)));
    let known = Endpoint::ALL.into_iter().find(|endpoint| endpoint.as_str() == name);
    let Some(endpoint) = known else {
        return Some(Err(refusal(404, format!("there is nothing to be asked on `{}`", shown(subject)))));
    };
    if payload.len() > MOST {
        return Some(Err(refusal(413, format!("the request has more than {MOST} bytes"))));
    }
    let demand = demand(endpoint, workload.map(str::to_owned), payload);
    Some(demand.map(|demand| Question::Endpoint(endpoint, demand)))
}

fn verb(rest: &str, id: &str) -> Option<Question> {
    let mut tokens = rest.split('.');
    let question = match tokens.next()? {
        "PING" => Question::Ping,
        "INFO" => Question::Info,
        "STATS" => Question::Stats,
        _ => return None,
    };
    let addressed = match (tokens.next(), tokens.next(), tokens.next()) {
        (None, ..) => true,
        (Some(SERVICE), None, _) => true,
        (Some(SERVICE), Some(of), None) => of == id,
        _ => false,
    };
    addressed.then_some(question)
}

fn demand(endpoint: Endpoint, workload: Option<String>, payload: &[u8]) -> Result<Demand, Refusal> {
    let of = |workload: Option<String>| {
        let why = format!("its subject ends with a workload: {}.WORKLOAD", endpoint.as_str());
        workload.ok_or_else(|| refusal(404, why))
    };
    Ok(match endpoint {
        Endpoint::Status => match workload {
            Some(workload) => {
                body::<NoBody>(payload, "{}")?;
                Demand::StatusOf(workload)
            }
            None => Demand::Status { from: body::<StatusBody>(payload, "{\"from\":0}")?.from },
        },
        Endpoint::Scale => scale(of(workload)?, payload)?,
        Endpoint::Pause => {
            let body = body::<PauseBody>(payload, "{} or {\"for\":\"30m\"}")?;
            Demand::Pause { workload: of(workload)?, last: span(body.r#for)? }
        }
        Endpoint::Resume => {
            body::<NoBody>(payload, "{}")?;
            Demand::Resume { workload: of(workload)? }
        }
        Endpoint::Drain | Endpoint::Undrain => {
            if workload.is_some() {
                return Err(refusal(404, format!("{} is of the whole host", endpoint.as_str())));
            }
            body::<NoBody>(payload, "{}")?;
            Demand::Drain(endpoint == Endpoint::Drain)
        }
    })
}

fn scale(workload: String, payload: &[u8]) -> Result<Demand, Refusal> {
    const FORM: &str = "{\"set\":4}, {\"set\":4,\"for\":\"1h\"} or {\"auto\":true}";
    let body: Option<ScaleBody> = serde_json::from_slice(payload).ok();
    match body {
        Some(ScaleBody { set: Some(count), auto: None, r#for: last }) => {
            Ok(Demand::SetWorkers { workload, count, last: span(last)? })
        }
        Some(ScaleBody { set: None, auto: Some(true), r#for: None }) => Ok(Demand::FreeWorkers { workload }),
        _ => Err(refusal(400, format!("the request is none of {FORM}"))),
    }
}

/// A body, which may be left out.
fn body<T: DeserializeOwned + Default>(payload: &[u8], form: &str) -> Result<T, Refusal> {
    if payload.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(payload).map_err(|_| refusal(400, format!("the request is not empty and not {form}")))
}

fn span(text: Option<String>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match units::duration(&text) {
        Ok(Duration::ZERO) => Err(refusal(400, "`for` is longer than nothing".to_owned())),
        Ok(span) => Ok(Some(span)),
        Err(_) => Err(refusal(400, format!("`for` is a duration such as \"30m\", and not {:?}", shown(&text)))),
    }
}

pub(super) fn refusal(code: u16, why: String) -> Refusal {
    Refusal { code, why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PLACE: (&str, &str) = ("tidegate.host", "one");

    fn asked(subject: &str, payload: &str) -> Option<Result<Question, (u16, String)>> {
        let read = read(subject, payload.as_bytes(), PLACE)?;
        Some(read.map_err(|Refusal { code, why }| (code, why)))
    }

    #[test]
    fn a_host_answers_to_all_to_its_service_and_to_its_id() {
        for subject in ["$SRV.PING", "$SRV.PING.tidegate", "$SRV.PING.tidegate.one"] {
            assert_eq!(asked(subject, "anything"), Some(Ok(Question::Ping)), "{subject}");
        }
        assert_eq!(asked("$SRV.INFO", ""), Some(Ok(Question::Info)));
        assert_eq!(asked("$SRV.STATS.tidegate", ""), Some(Ok(Question::Stats)));
        for other in ["$SRV.SCHEMA", "$SRV.PING.other", "$SRV.PING.tidegate.two", "$SRV.PING.tidegate.one.x", "$SRV."] {
            assert_eq!(asked(other, ""), None, "{other}");
        }
        assert_eq!(asked("tidegate.host.two.status", ""), None);
    }

    #[test]
    fn what_is_demanded_is_read_and_what_cannot_be_meant_is_refused_with_the_form() {
        let of = |rest: &str, payload: &str| asked(&format!("tidegate.host.one.{rest}"), payload).unwrap();
        let demand = |rest: &str, payload: &str| match of(rest, payload) {
            Ok(Question::Endpoint(_, demand)) => Ok(demand),
            Ok(other) => Err((0, format!("{other:?}"))),
            Err(refused) => Err(refused),
        };
        let work = || "work".to_owned();
        let hour = Some(Duration::from_secs(3600));
        for (rest, payload, expected) in [
            ("status", "", Demand::Status { from: 0 }),
            ("status", "{\"from\": 7}", Demand::Status { from: 7 }),
            ("status.work", " \n", Demand::StatusOf(work())),
            ("scale.work", "{\"set\":4}", Demand::SetWorkers { workload: work(), count: 4, last: None }),
            ("scale.work", "{\"set\":0,\"for\":\"1h\"}", Demand::SetWorkers { workload: work(), count: 0, last: hour }),
            ("scale.work", "{\"auto\":true}", Demand::FreeWorkers { workload: work() }),
            ("pause.work", "{}", Demand::Pause { workload: work(), last: None }),
            ("pause.work", "{\"for\":\"1h\"}", Demand::Pause { workload: work(), last: hour }),
            ("resume.work", "", Demand::Resume { workload: work() }),
            ("drain", "", Demand::Drain(true)),
            ("undrain", "{}", Demand::Drain(false)),
        ] {
            assert_eq!(demand(rest, payload), Ok(expected), "{rest} {payload}");
        }
        for (rest, payload, code, words) in [
            ("scale.work", "", 400, "{\"set\":4,\"for\":\"1h\"}"),
            ("scale.work", "{\"set\":-1}", 400, "{\"set\":4}"),
            ("scale.work", "{\"set\":1,\"auto\":true}", 400, "{\"auto\":true}"),
            ("scale.work", "{\"set\":1,\"for\":\"soon\"}", 400, "a duration such as \"30m\""),
            ("scale.work", "{\"set\":1,\"for\":\"0s\"}", 400, "longer than nothing"),
            ("scale", "{\"set\":1}", 404, "scale.WORKLOAD"),
            ("pause.work", "{\"until\":1}", 400, "{\"for\":\"30m\"}"),
            ("drain.work", "", 404, "of the whole host"),
            ("drain", "now", 400, "not empty and not {}"),
            ("explode", "", 404, "nothing to be asked on `tidegate.host.one.explode`"),
        ] {
            let (found, why) = demand(rest, payload).unwrap_err();
            assert!(found == code && why.contains(words), "{rest} {payload}: {found} {why}");
        }
        let (code, why) = demand("status", &" ".repeat(MOST + 1)).unwrap_err();
        assert_eq!((code, why.as_str()), (413, "the request has more than 4096 bytes"));
    }

    proptest! {
        #[test]
        fn no_subject_and_no_payload_breaks_the_reader_and_no_answer_grows_with_them(
            rest in "[a-z.*>$ ]{0,20}|scale\\.[^\\x00]{0,300}",
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(Err(refused)) = read(&format!("tidegate.host.one.{rest}"), &payload, PLACE) {
                prop_assert!(refused.why.len() < 1000 && (400..500).contains(&refused.code));
            }
        }
    }
}
