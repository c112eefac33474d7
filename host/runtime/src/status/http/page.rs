//! The page that a browser shows: files of the program, and what no browser may do with them.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The files beside the page itself, each with its type.
const FILES: [(&str, &str, &str); 12] = [
    ("/page/style.css", "text/css", include_str!("page/style.css")),
    ("/page/app.js", JS, include_str!("page/app.js")),
    ("/page/changes.js", JS, include_str!("page/changes.js")),
    ("/page/chart.js", JS, include_str!("page/chart.js")),
    ("/page/dom.js", JS, include_str!("page/dom.js")),
    ("/page/format.js", JS, include_str!("page/format.js")),
    ("/page/hosts.js", JS, include_str!("page/hosts.js")),
    ("/page/letter.js", JS, include_str!("page/letter.js")),
    ("/page/letters.js", JS, include_str!("page/letters.js")),
    ("/page/overview.js", JS, include_str!("page/overview.js")),
    ("/page/server.js", JS, include_str!("page/server.js")),
    ("/page/workload.js", JS, include_str!("page/workload.js")),
];
const INDEX: &str = include_str!("page/index.html");
const ICON: &str = include_str!("page/icon.svg");
const JS: &str = "text/javascript; charset=utf-8";

/// What a browser may do with an answer of this host: nothing but what the page's own files say. No text becomes HTML
/// or code, whoever wrote it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

pub(super) fn router() -> Router {
    let own = |kind: &'static str, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
    let page = Router::new()
        .route("/", own("text/html; charset=utf-8", INDEX))
        .route("/page/icon.svg", own("image/svg+xml", ICON));
    FILES.into_iter().fold(page, |page, (path, kind, text)| page.route(path, own(kind, text)))
}

/// Says with every answer what a browser may do with it.
pub(super) fn guard(router: Router) -> Router {
    router.layer(map_response(async |answer: Response| (HEADERS, answer).into_response()))
}

const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_has_no_code_beside_its_files() {
        let bytes: usize = FILES.iter().map(|(_, _, text)| text.len()).sum::<usize>() + INDEX.len() + ICON.len();
        assert!(bytes < 150_000, "{bytes}");
        assert!(!INDEX.contains("style=") && !INDEX.contains("onclick") && INDEX.matches("<script").count() == 1);
        for (path, _, text) in FILES {
            for sink in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setAttribute(\"style"]
            {
                assert!(!text.contains(sink), "{path} has {sink}");
            }
        }
    }
}
