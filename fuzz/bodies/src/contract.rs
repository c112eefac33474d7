use std::cell::RefCell;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use tidegate_artifacts::workers;
use tidegate_test_artifacts::probes;

use super::guests::{self, MIRROR, MIRRORED};
use super::lab::{FuzzLab, ReadyHandler};
use tidegate_runtime::config::Grants;
use tidegate_runtime::contract::{Delivery, Failure, Outcome, Publication, Response};
use tidegate_runtime::delivery::{ResponseBounds, check};
use tidegate_runtime::jetstream;

struct Guests {
    lab: FuzzLab,
    echo: ReadyHandler,
    probe: ReadyHandler,
    mirror: ReadyHandler,
}

thread_local! {
    static GUESTS: RefCell<Guests> = RefCell::new({
        let lab = FuzzLab::new();
        let echo = ReadyHandler::new(&lab, workers::ECHO);
        let probe = ReadyHandler::new(&lab, probes::WORKER_V1);
        let mirror = ReadyHandler::new(&lab, &guests::handler(MIRROR));
        Guests { lab, echo, probe, mirror }
    });
}

/// Any delivery into a handler and any answer out of one: it comes through as it is, or is a fault. What may be
/// published after [`check`] has legal headers.
pub fn contract(bytes: &[u8]) {
    // Bytes that do not suffice are as good as none.
    let _ = GUESTS.with_borrow_mut(|guests| attempt(guests, &mut Unstructured::new(bytes)));
}

fn attempt(guests: &mut Guests, u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => {
            let delivery = Delivery { payload: Vec::arbitrary(u)?.into(), ..delivery(u)? };
            let answer = guests.echo.handle(&guests.lab, &delivery).unwrap().unwrap();
            assert_eq!(answer.reply.as_deref(), Some(&*delivery.payload));
        }
        1 => {
            let delivery = Delivery { payload: "delivery".into(), ..delivery(u)? };
            let answer = guests.probe.handle(&guests.lab, &delivery).unwrap().unwrap();
            let told: serde_json::Value = serde_json::from_slice(&answer.reply.unwrap()).unwrap();
            assert_eq!(told, as_told(&delivery));
        }
        2 => {
            let outcome = outcome(u)?;
            let Some(payload) = laid_out(&outcome) else { return Ok(()) };
            let mirrored = guests.mirror.handle(&guests.lab, &Delivery { payload: payload.into(), ..delivery(u)? });
            assert_eq!(mirrored, outcome);
            checked(&outcome);
        }
        _ => {
            // Lengths and pointers that lead anywhere.
            let payload = u.bytes(u.len().min(MIRRORED))?.to_vec();
            let delivery = Delivery { payload: payload.into(), ..Delivery::default() };
            checked(&guests.mirror.handle(&guests.lab, &delivery));
        }
    }
    Ok(())
}

fn delivery(u: &mut Unstructured<'_>) -> Result<Delivery> {
    Ok(Delivery {
        subject: String::arbitrary(u)?,
        headers: Vec::arbitrary(u)?,
        stream_sequence: u64::arbitrary(u)?,
        attempt: u32::arbitrary(u)?,
        published_at_ms: u64::arbitrary(u)?,
        reply_to: Option::arbitrary(u)?,
        ..Delivery::default()
    })
}

fn as_told(delivery: &Delivery) -> serde_json::Value {
    serde_json::json!({
        "subject": delivery.subject,
        "headers": delivery.headers,
        "payload": "delivery",
        "stream_sequence": delivery.stream_sequence,
        "attempt": delivery.attempt,
        "published_at_ms": delivery.published_at_ms,
        "expects_reply": delivery.reply_to.is_some(),
    })
}

fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    Ok(Ok(match u.int_in_range(0..=3)? {
        0 => Err(Failure::Retry(Option::<u64>::arbitrary(u)?.map(Duration::from_millis))),
        1 => Err(Failure::Reject(String::arbitrary(u)?)),
        _ => {
            let reply = Option::arbitrary(u)?;
            let publications = (0..u.int_in_range(0..=8)?).map(|_| publication(u)).collect::<Result<_>>()?;
            Ok(Response { reply, publications })
        }
    }))
}

fn publication(u: &mut Unstructured<'_>) -> Result<Publication> {
    let (subject, headers) = (String::arbitrary(u)?, Vec::arbitrary(u)?);
    Ok(Publication { subject, headers, payload: Vec::arbitrary(u)? })
}

/// Whatever was answered, checking it gives an answer; and what passes can be published.
fn checked(outcome: &Outcome) {
    let Ok(Ok(response)) = outcome else { return };
    let grants = Grants { publish: vec![">".to_owned()], ..Grants::default() };
    let bounds = ResponseBounds { max_payload: 1000, own_headers: 0, publications: 10, grants };
    match check(response, &bounds) {
        Ok(()) => {
            for publication in &response.publications {
                let size = publication.payload.len();
                assert!(size <= bounds.max_payload && !publication.subject.is_empty());
                assert!(!publication.subject.contains([' ', '\r', '\n', '\t']), "{:?}", publication.subject);
                assert!(jetstream::may_be_headers(publication.headers.clone()), "{:?}", publication.headers);
            }
        }
        Err(fault) => assert!(!fault.to_string().contains(['\r', '\n']), "{fault}"),
    }
}

/// What the canonical ABI makes of an outcome in a memory that begins with it; `None` if it does not fit.
fn laid_out(outcome: &Outcome) -> Option<Vec<u8>> {
    let mut memory = Memory(vec![0; 32]);
    match outcome {
        Ok(Ok(response)) => {
            if let Some(reply) = &response.reply {
                memory.set(8, 1);
                memory.list(12, reply.len(), reply);
            }
            let at = memory.space(20, response.publications.len(), 24);
            for (index, publication) in response.publications.iter().enumerate() {
                let at = at + index * 24;
                memory.list(at, publication.subject.len(), publication.subject.as_bytes());
                let headers = memory.space(at + 8, publication.headers.len(), 16);
                for (index, (name, value)) in publication.headers.iter().enumerate() {
                    memory.list(headers + index * 16, name.len(), name.as_bytes());
                    memory.list(headers + index * 16 + 8, value.len(), value.as_bytes());
                }
                memory.list(at + 16, publication.payload.len(), &publication.payload);
            }
        }
        Ok(Err(Failure::Retry(delay))) => {
            memory.set(0, 1);
            if let Some(delay) = delay {
                memory.set(16, 1);
                memory.0[24..32].copy_from_slice(&u64::try_from(delay.as_millis()).unwrap().to_le_bytes());
            }
        }
        Ok(Err(Failure::Reject(reason))) => {
            memory.set(0, 1);
            memory.set(8, 1);
            memory.list(16, reason.len(), reason.as_bytes());
        }
        // No guest of the contract says that.
        Ok(Err(Failure::Failed(_))) | Err(_) => return None,
    }
    Some(memory.0).filter(|memory| memory.len() <= MIRRORED)
}

struct Memory(Vec<u8>);

impl Memory {
    fn set(&mut self, at: usize, number: usize) {
        self.0[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }

    /// Makes room for `count` elements of `size` bytes, and has pointer and length at `at` say where.
    fn space(&mut self, at: usize, count: usize, size: usize) -> usize {
        let start = self.0.len().next_multiple_of(4);
        self.0.resize(start + count * size, 0);
        self.set(at, start);
        self.set(at + 4, count);
        start
    }

    fn list(&mut self, at: usize, length: usize, bytes: &[u8]) {
        let start = self.space(at, length, 1);
        self.0[start..].copy_from_slice(bytes);
    }
}
