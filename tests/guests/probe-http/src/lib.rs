//! A handler for tests that sends HTTP requests, steered by its payload: a word, maybe a number, a URL.

#[path = "../../../../guest-workers/fetch/src/http.rs"]
mod http;

use std::cell::RefCell;

use http::{fetch, send, wait};
use tidegate_guest::handler::{Delivery, Failure, Response};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};

type Kept = (Option<FutureIncomingResponse>, Option<IncomingResponse>);

thread_local! {
    /// What it keeps beyond its calls.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
    static UNFINISHED: RefCell<Vec<OutgoingBody>> = const { RefCell::new(Vec::new()) };
}

tidegate_guest::handler!(handle);

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let words: Vec<&str> = delivery.text()?.split(' ').collect();
    let number = |text: &str| text.parse::<usize>().map_err(|error| Failure::Reject(error.to_string()));
    let said = match words.as_slice() {
        ["get", url] => said(fetch(&Method::Get, url, &[])),
        ["connect", url] => said(fetch(&Method::Connect, url, &[])),
        ["head", url] => said(fetch(&Method::Head, url, &[])),
        ["post", bytes, url] => said(fetch(&Method::Post, url, &vec![b'x'; number(bytes)?])),
        // One after the other.
        ["many", count, url] => {
            let mut answered = 0;
            let mut last = String::new();
            for _ in 0..number(count)? {
                match fetch(&Method::Get, url, &[]) {
                    Ok(_) => answered += 1,
                    Err(error) => last = format!("{error:?}"),
                }
            }
            format!("{answered} {last}")
        }
        // All at once, and kept.
        ["open", count, url] => {
            let mut opened = 0;
            for _ in 0..number(count)? {
                if let Ok(sent) = send(&Method::Get, url, &[]) {
                    KEPT.with_borrow_mut(|kept| kept.push((Some(sent), None)));
                    opened += 1;
                }
            }
            opened.to_string()
        }
        // Its response has begun, and is kept.
        ["begin", url] => match send(&Method::Get, url, &[]).and_then(|sent| wait(&sent)) {
            Ok(response) => {
                let status = response.status();
                KEPT.with_borrow_mut(|kept| kept.push((None, Some(response))));
                status.to_string()
            }
            Err(error) => format!("{error:?}"),
        },
        // Its request never ends, and is kept.
        ["unfinished", authority] => match unfinished(authority) {
            Ok((status, body)) => {
                UNFINISHED.with_borrow_mut(|kept| kept.push(body));
                status.to_string()
            }
            Err(error) => format!("{error:?}"),
        },
        ["method", bytes] => {
            let method = Method::Other("X".repeat(number(bytes)?));
            format!("{:?}", OutgoingRequest::new(Fields::new()).set_method(&method))
        }
        ["authority", bytes] => {
            let authority = "a".repeat(number(bytes)?);
            format!("{:?}", OutgoingRequest::new(Fields::new()).set_authority(Some(&authority)))
        }
        ["path", bytes] => {
            let path = format!("/{}", "a".repeat(number(bytes)? - 1));
            format!("{:?}", OutgoingRequest::new(Fields::new()).set_path_with_query(Some(&path)))
        }
        ["fields", bytes] => format!("{:?}", Fields::new().append("x", &vec![b'a'; number(bytes)?]).is_ok()),
        ["header", name] => format!("{:?}", Fields::new().append(name, b"x")),
        _ => return Err(Failure::Reject(format!("what is {words:?}?"))),
    };
    Ok(Response::reply(said))
}

fn unfinished(authority: &str) -> Result<(u16, OutgoingBody), ErrorCode> {
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).map_err(invalid)?;
    request.set_scheme(Some(&Scheme::Http)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some("/v1/price")).map_err(invalid)?;
    let body = request.body().map_err(invalid)?;
    let response = wait(&outgoing_handler::handle(request, None)?)?;
    Ok((response.status(), body))
}

fn said(answer: Result<http::Answer, ErrorCode>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(error) => format!("{error:?}"),
    }
}
