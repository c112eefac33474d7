//! Whose page asks. A page of somebody else cannot read what is answered, but would take the places of those that may.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::refuse;

/// Answers no page but this host's own.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    if is_of_others(request.headers()) {
        let problem = "another page asks, and only the host's own page and programs are answered here";
        return refuse(StatusCode::FORBIDDEN, problem);
    }
    next.run(request).await
}

/// Whether a browser says that a page of another origin asks. What a person enters as an address, and a program, has no
/// page.
fn is_of_others(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| [&b"cross-site"[..], b"same-site"].contains(&site.as_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_page_of_another_origin_is_one_of_others() {
        let of = |site: &'static str| {
            HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), HeaderValue::from_static(site))])
        };
        assert!(["cross-site", "same-site"].into_iter().all(|site| is_of_others(&of(site))));
        assert!(!["same-origin", "none", ""].into_iter().any(|site| is_of_others(&of(site))));
        assert!(!is_of_others(&HeaderMap::new()));
    }
}
