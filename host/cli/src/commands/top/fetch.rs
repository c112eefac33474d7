//! What a host says that it does.

use super::status::Status;
use crate::commands::address::Address;
use crate::commands::host_http::{Answer, get};

/// What a host does, or why that is not known.
pub(super) async fn status(address: &Address) -> Result<Status, String> {
    read(&get(address, "/status").await?)
        .map_err(|problem| format!("{address} does not answer as a tidegate host does: {problem}"))
}

fn read(Answer { code, body }: &Answer) -> Result<Status, String> {
    match code {
        200 => serde_json::from_slice(body).map_err(|error| error.to_string()).and_then(of_a_host),
        421 => Err(String::from_utf8_lossy(body).trim().to_owned()),
        code => Err(format!("/status is answered with {code}")),
    }
}

/// Much that is JSON could be read as what a host says that does nothing. But each says which host it is.
fn of_a_host(status: Status) -> Result<Status, String> {
    if status.host.is_empty() { Err("/status names no host".to_owned()) } else { Ok(status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::host_http;

    fn answered(text: &str) -> Result<Status, String> {
        read(&host_http::read(text.as_bytes()).ok_or("it is not HTTP")?)
    }

    #[test]
    fn what_is_no_answer_of_a_host_is_told() {
        for (answer, problem) in [
            ("", "it is not HTTP"),
            ("SSH-2.0\r\n\r\n", "it is not HTTP"),
            ("HTTP/1.1 404 Not Found\r\n\r\nno", "/status is answered with 404"),
            ("HTTP/1.1 421 Misdirected Request\r\n\r\nthis name is none\n", "this name is none"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "expected value at line 1 column 1"),
            ("HTTP/1.1 200 OK\r\n\r\n{}", "/status names no host"),
        ] {
            assert_eq!(answered(answer).unwrap_err(), problem);
        }
        assert_eq!(answered("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"host\":\"h\"}").unwrap().host, "h");
    }
}
