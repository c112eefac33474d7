//! Dead letters, to be read.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::answer::{answer, refuse};
use super::cut::cut;
use super::state::PageState;
use crate::config::is_workload_name;
use crate::contract::Cause;
use crate::dead_letter::filter::Filter;
use crate::dead_letter::{Content, Letter, StoredMessage};
use crate::duration::unix_millis;
use crate::jetstream::{Letters, LettersError, content_lost};
use crate::status::http::query::Query;
use crate::status::http::view::AWAY;
use crate::text::one_line;

/// The most letters that are listed at once.
const LISTED: usize = 100;
/// How many positions are looked at first, and how many messages in all, before somebody has to ask for more.
const LOOK: (u64, usize) = (256, 4096);
/// The most positions that are looked at together: where most are of others, a look goes further.
const FURTHEST: u64 = 1 << 20;
/// The most characters of a text in the list, and of one in a letter that is shown whole.
const TEXT: (usize, usize) = (300, 4000);
/// The most headers of a letter that are told.
const HEADERS: usize = 100;
/// The most bytes of a payload that are told.
const PAYLOAD: usize = 64 << 10;

/// A page of the list.
#[derive(Serialize)]
struct List {
    stream: String,
    /// Newest first.
    letters: Vec<LetterRow>,
    /// The position before which more may be found; none if there are no more.
    before: Option<u64>,
}

/// What a letter says, in the words of `tidegate dead list`.
#[derive(Serialize)]
struct LetterRow {
    sequence: u64,
    at_ms: u64,
    workload: String,
    subject: String,
    stream: String,
    stream_sequence: u64,
    published_ms: Option<u64>,
    attempts: Option<u32>,
    cause: String,
    reason: String,
    /// What its handler wrote to standard error, in lines; of a long text the end.
    stderr: String,
    plugin: String,
    generation: String,
    host: String,
    redrives: u32,
    first: (String, u64),
    /// Bytes of its payload; of its content if that is in a message of its own.
    size: usize,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: LetterRow,
    headers: Vec<(String, String)>,
    /// How many headers there are.
    all_headers: usize,
    /// The header block, if it cannot be read: its beginning, in base64.
    unreadable: Option<String>,
    /// The beginning of the payload, in base64.
    payload: Option<String>,
    /// Bytes of the whole payload.
    bytes: usize,
    /// Why headers and payload are not there.
    problem: Option<String>,
}

/// The stream of dead letters, in the account of a workload if one is named. `Err` is the answer if it cannot be read.
pub(super) async fn opened(state: &PageState, workload: Option<&str>) -> Result<Letters, Response> {
    let client = match workload.and_then(|name| state.view.workloads.get(name)) {
        Some(workload) => state.view.connection_of(&workload),
        None => state.view.connection.get().cloned().ok_or_else(|| AWAY.to_owned()),
    };
    let client = client.and_then(|client| if client.is_connected() { Ok(client) } else { Err(AWAY.to_owned()) });
    let client = client.map_err(|why| refuse(StatusCode::SERVICE_UNAVAILABLE, &why))?;
    client.letters(&state.view.dead_letters).await.map_err(|error| unread(&error))
}

/// What is answered where the server does not let letters be read, or deleted.
pub(super) fn unread(error: &LettersError) -> Response {
    let text = one_line(&error.to_string());
    let code = match error {
        LettersError::NoStream { .. } => StatusCode::NOT_FOUND,
        LettersError::Denied { .. } => StatusCode::FORBIDDEN,
        LettersError::Server { .. } => StatusCode::BAD_GATEWAY,
    };
    refuse(code, &text)
}

pub(super) async fn list(
    State(state): State<Arc<PageState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match listed(&state, &Query::parse(query.as_deref()), &headers).await {
        Ok(list) => answer(&list),
        Err(refused) => refused,
    }
}

async fn listed(state: &PageState, query: &Query, headers: &HeaderMap) -> Result<List, Response> {
    state.admin.may_read(headers).await?;
    let wrong = |problem: String| refuse(StatusCode::BAD_REQUEST, &problem);
    let filter = filter(query).map_err(wrong)?;
    let before = query.number("before").map_err(wrong)?;
    let busy = || refuse(StatusCode::SERVICE_UNAVAILABLE, "dead letters are being read for others; try again");
    let _turn = state.readings.try_acquire().map_err(|_| busy())?;
    let letters = opened(state, query.text("workload")).await?;
    let before = before.unwrap_or(u64::MAX).min(letters.last().saturating_add(1));
    let found = newest(&letters, &filter, before).await;
    let (rows, before) = found.map_err(|error| unread(&error))?;
    Ok(List { stream: letters.stream().to_owned(), letters: rows, before })
}

fn filter(query: &Query) -> Result<Filter, String> {
    let causes = query.text("cause").into_iter().flat_map(|causes| causes.split(','));
    let cause = |word: &str| {
        let found = Cause::ALL.into_iter().find(|cause| cause.as_str() == word);
        found.ok_or_else(|| format!("{} is no cause", cut(word, 40)))
    };
    let text = |name| query.text(name).map(str::to_owned);
    if let Some(name) = query.text("workload").filter(|name| !is_workload_name(name)) {
        return Err(format!("no workload can be called {}", cut(name, 40)));
    }
    Ok(Filter {
        workload: text("workload"),
        causes: causes.map(cause).collect::<Result<_, _>>()?,
        reason: text("reason"),
        plugin: text("plugin"),
        generation: text("generation"),
        subject: text("subject"),
        since: None,
        until: None,
    })
}

/// The newest letters before a position that a filter takes, and the position before which to go on.
async fn newest(
    letters: &Letters,
    filter: &Filter,
    mut before: u64,
) -> Result<(Vec<LetterRow>, Option<u64>), LettersError> {
    let (mut rows, mut all, mut span) = (Vec::new(), 0, LOOK.0);
    while before > 1 && rows.len() < LISTED && all < LOOK.1 {
        let first = before.saturating_sub(span).max(1);
        let (mut found, mut seen) = (Vec::new(), 0);
        let each = |stored: StoredMessage| {
            seen += 1;
            let letter = Letter::read(&stored).filter(|letter| filter.takes(letter));
            found.extend(letter.map(|letter| row(&letter, stored.size, TEXT.0)));
        };
        letters.scan_between(filter.workload.as_deref(), (first, before - 1), each).await?;
        found.reverse();
        rows.extend(found);
        (all, before) = (all + seen, first);
        span = next_span(span, seen);
    }
    if rows.len() > LISTED {
        rows.truncate(LISTED);
        before = rows.last().map_or(before, |row| row.sequence);
    }
    Ok((rows, Some(before).filter(|before| *before > 1)))
}

/// How many positions are looked at next, if so many messages were in the last ones.
fn next_span(span: u64, seen: usize) -> u64 {
    let is_sparse = u64::try_from(seen).is_ok_and(|seen| seen < span / 4) && seen < 1024;
    if is_sparse { (span * 4).min(FURTHEST) } else { span }
}

fn row(letter: &Letter, size: usize, most: usize) -> LetterRow {
    let short = |text: &str| cut(text, most);
    LetterRow {
        sequence: letter.sequence,
        at_ms: unix_millis(letter.time),
        workload: short(&letter.workload),
        subject: short(&letter.subject),
        stream: short(&letter.stream),
        stream_sequence: letter.stream_sequence,
        published_ms: letter.published_ms(),
        attempts: letter.attempts,
        cause: short(&letter.cause),
        reason: short(&letter.reason),
        stderr: end(&letter.stderr, most),
        plugin: short(&letter.plugin),
        generation: short(&letter.generation),
        host: short(&letter.host),
        redrives: letter.redrives,
        first: (short(&letter.first.0), letter.first.1),
        size,
    }
}

/// The text, or as many characters of its end: what is written last says most.
fn end(text: &str, most: usize) -> String {
    match text.char_indices().rev().nth(most.saturating_sub(1)) {
        Some((at, _)) if at > 0 => format!("…{}", text.get(at..).unwrap_or_default()),
        _ => text.to_owned(),
    }
}

pub(super) async fn show(
    State(state): State<Arc<PageState>>,
    sequence: Result<Path<u64>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(sequence)) = sequence else {
        return refuse(StatusCode::BAD_REQUEST, "name a dead letter by its position in the stream, a number");
    };
    match shown(&state, sequence, &Query::parse(query.as_deref()), &headers).await {
        Ok(shown) => answer(&shown),
        Err(refused) => refused,
    }
}

async fn shown(state: &PageState, sequence: u64, query: &Query, headers: &HeaderMap) -> Result<Shown, Response> {
    state.admin.may_read(headers).await?;
    let letters = opened(state, query.text("workload")).await?;
    // Positions begin at 1, and the server refuses to look for another.
    let stored = match sequence {
        0 => None,
        sequence => letters.get(sequence).await.map_err(|error| unread(&error))?,
    };
    let none = || refuse(StatusCode::NOT_FOUND, &format!("there is no dead letter {sequence}: it may be redriven"));
    let (letter, stored) = stored.and_then(|stored| Some((Letter::read(&stored)?, stored))).ok_or_else(none)?;
    let original = letters.original(&letter, &stored).await.map_err(|error| unread(&error))?;
    let mut shown = Shown {
        letter: row(&letter, stored.size, TEXT.1),
        headers: Vec::new(),
        all_headers: 0,
        unreadable: None,
        payload: None,
        bytes: 0,
        problem: None,
    };
    let Some(original) = original else {
        shown.problem = Some(content_lost(sequence));
        return Ok(shown);
    };
    let payload = &original.payload;
    shown.bytes = payload.len();
    shown.payload = Some(encoded(payload, PAYLOAD));
    match &original.headers {
        Ok(headers) => {
            shown.all_headers = headers.len();
            let each = headers.iter().take(HEADERS);
            shown.headers = each.map(|(name, value)| (cut(name, TEXT.0), cut(value, TEXT.1))).collect();
        }
        Err(block) => shown.unreadable = Some(encoded(block, TEXT.1)),
    }
    // Where the content is apart, the letter itself has no payload.
    if matches!(letter.content, Content::Apart { .. }) {
        shown.letter.size = shown.bytes;
    }
    Ok(shown)
}

fn encoded(bytes: &[u8], most: usize) -> String {
    BASE64_STANDARD.encode(bytes.get(..most).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_goes_further_where_few_messages_are_ones_own() {
        assert_eq!(next_span(256, 256), 256);
        assert_eq!(next_span(256, 63), 1024);
        assert_eq!(next_span(1 << 16, 2000), 1 << 16);
        assert_eq!(next_span(FURTHEST, 0), FURTHEST);
    }

    #[test]
    fn of_a_long_text_the_end_is_told() {
        assert_eq!((end("", 3), end("äbc", 3)), (String::new(), "äbc".to_owned()));
        assert_eq!(end("xäbc", 3), "…äbc");
    }

    #[test]
    fn a_filter_is_read_from_the_address() {
        let read = |text| filter(&Query::parse(Some(text)));
        let found = read("workload=orders&cause=time,trapped&reason=x&subject=a.%3E").unwrap();
        assert_eq!(found.causes, [Cause::Time, Cause::Trapped]);
        assert_eq!((found.workload.as_deref(), found.subject.as_deref()), (Some("orders"), Some("a.>")));
        assert_eq!(read("cause=often").unwrap_err(), "often is no cause");
    }
}
