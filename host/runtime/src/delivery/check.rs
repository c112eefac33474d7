//! Checks a response before anything of it is sent: whether the handler may send it, and whether the server takes it.

use super::nats_headers::{check_nats_header, is_nats};
use crate::config::Grants;
use crate::contract::{Fault, Publication, Response};
use crate::subject::{check_subject, shown};

/// The most bytes of a header block that JetStream stores.
pub(crate) const MAX_HEADERS: usize = 65_535;
/// Bytes of a header block beside its headers.
const FRAME: usize = "NATS/1.0\r\n\r\n".len();

/// The limits of a response.
#[derive(Debug, Clone)]
pub struct ResponseBounds {
    /// The largest payload with headers that the server takes, in bytes.
    pub max_payload: usize,
    /// Bytes of the headers that the host adds to a publication.
    pub own_headers: usize,
    /// The most publications.
    pub publications: usize,
    /// The subjects and headers that are granted.
    pub grants: Grants,
}

/// Bytes of a header block with these headers.
pub(crate) fn header_block(headers: &[(String, String)]) -> usize {
    let line = |(name, value): &(String, String)| name.len().saturating_add(value.len()).saturating_add(4);
    headers.iter().map(line).fold(FRAME, usize::saturating_add)
}

/// Checks that a response can be carried out: as many publications as are allowed, on subjects that are granted, with
/// legal headers, and what the server takes.
///
/// # Errors
/// [`Fault::Publications`] or [`Fault::Answer`], with the first thing that is wrong.
pub fn check(response: &Response, bounds: &ResponseBounds) -> Result<(), Fault> {
    let (max_payload, publications) = (bounds.max_payload, response.publications.len());
    if publications > bounds.publications {
        return Err(Fault::Publications { publications, limit: bounds.publications });
    }
    if let Some(size) = response.reply.as_ref().map(Vec::len).filter(|size| *size > max_payload) {
        return Err(Fault::Answer(format!("a reply of {size} bytes, and the server takes {max_payload}")));
    }
    for (index, publication) in response.publications.iter().enumerate() {
        check_publication(publication, bounds)
            .map_err(|problem| Fault::Answer(format!("publication {index}: {problem}")))?;
    }
    Ok(())
}

fn check_publication(publication: &Publication, bounds: &ResponseBounds) -> Result<(), String> {
    let subject = &publication.subject;
    check_subject(subject)?;
    if !bounds.grants.may_publish(subject) {
        let subject = shown(subject);
        return Err(format!("`{subject}` is not granted: grants.publish of its workload has no subject that matches"));
    }
    for (name, value) in &publication.headers {
        let legal = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !legal {
            return Err(format!("`{}` is not a legal header name", shown(name)));
        }
        if is_nats(name) {
            check_nats_header(name, value, &bounds.grants)?;
        }
        if value.contains(['\r', '\n']) {
            return Err(format!("the value of header `{}` has a line break", shown(name)));
        }
    }
    let headers = header_block(&publication.headers).saturating_add(bounds.own_headers);
    if headers > MAX_HEADERS {
        return Err(format!("headers of {headers} bytes, and JetStream stores {MAX_HEADERS}"));
    }
    let size = headers.saturating_add(publication.payload.len());
    if size > bounds.max_payload {
        return Err(format!("{size} bytes, and the server takes {}", bounds.max_payload));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn bounds(max_payload: usize) -> ResponseBounds {
        let grants = Grants { publish: vec![">".into()], reply: vec![], ..Grants::default() };
        ResponseBounds { max_payload, own_headers: 20, publications: 2, grants }
    }

    #[test]
    fn a_handler_publishes_only_where_it_is_granted_and_no_more_than_it_may() {
        let publications = |subject: &str, count| Response {
            reply: None,
            publications: vec![Publication { subject: subject.into(), ..Publication::default() }; count],
        };
        let grants = Grants { publish: vec!["out.*".into(), "log.>".into()], reply: vec![], ..Grants::default() };
        let bounds = ResponseBounds { grants, ..bounds(100) };
        for subject in ["out.a", "log.a.b"] {
            assert_eq!(check(&publications(subject, 2), &bounds), Ok(()), "{subject}");
        }
        for subject in ["out", "out.a.b", "log", "orders.new", "$JS.API.STREAM.DELETE.ORDERS"] {
            let fault = check(&publications(subject, 1), &bounds).unwrap_err();
            assert!(fault.to_string().contains("grants.publish"), "{fault}");
        }
        let fault = check(&publications("out.a", 3), &bounds).unwrap_err();
        assert_eq!(fault.kind().limit(), Some("publications"));
    }

    fn publication(subject: &str, headers: &[(&str, &str)], size: usize) -> Response {
        Response {
            reply: None,
            publications: vec![Publication {
                subject: subject.into(),
                headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
                payload: vec![0; size],
            }],
        }
    }

    #[test]
    fn responses_that_cannot_be_carried_out_are_refused() {
        let refused = |response: Response| check(&response, &bounds(100)).is_err();
        assert!(!refused(publication("a.b", &[("X", "y z")], 50)));
        for subject in ["", ".", "a..b", "a.*", "a.>", "a b", "a\r\nb", "a.\u{7f}"] {
            assert!(refused(publication(subject, &[], 0)), "{subject:?}");
        }
        for header in [("", "v"), ("a b", "v"), ("a:b", "v"), ("nAtS-Msg-Id", "v"), ("X", "a\r\nB: c"), ("é", "v")] {
            assert!(refused(publication("a", &[header], 0)), "{header:?}");
        }
        assert!(refused(Response { reply: Some(vec![0; 101]), publications: vec![] }));
    }

    #[test]
    fn the_headers_that_the_host_adds_count_for_what_the_server_takes() {
        let largest = 100 - FRAME - 20;
        assert_eq!(check(&publication("a", &[], largest), &bounds(100)), Ok(()));
        assert!(check(&publication("a", &[], largest + 1), &bounds(100)).is_err());
        let room = MAX_HEADERS - FRAME - 20 - "X: \r\n".len();
        let of_headers = |size: usize| publication("a", &[("X", "x".repeat(size).as_str())], 0);
        assert_eq!(check(&of_headers(room), &bounds(1 << 20)), Ok(()));
        let fault = check(&of_headers(room + 1), &bounds(1 << 20)).unwrap_err();
        assert!(fault.to_string().contains("65536"), "{fault}");
    }

    proptest! {
        #[test]
        fn checking_never_panics(subject in ".*", name in ".*", value in ".*") {
            let publication = Publication { subject, headers: vec![(name, value)], payload: vec![] };
            let _ = check(&Response { reply: None, publications: vec![publication] }, &bounds(10));
        }
    }
}
