//! What a host answers over HTTP.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use crate::shared::http;

/// The status code and the body of what a host answers.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, address, path).await
}

/// The same, asked for under another name.
pub(crate) async fn ask(address: &str, name: &str, path: &str) -> (u16, String) {
    http::get(address, name, path).await.unwrap_or_else(|| panic!("{address} does not answer {path}"))
}

/// What `/status` says of a host's first workload.
pub(crate) async fn status(address: &str) -> Value {
    let (_, body) = get(address, "/status").await;
    serde_json::from_str::<Value>(&body).unwrap()["workloads"][0].take()
}

/// What a host answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What is answered to a request with these lines in its head. With a body it is a POST.
pub(crate) async fn send(address: &str, path: &str, lines: &[&str], body: Option<Value>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = body.map(|body| body.to_string());
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    lines.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    let body = body.unwrap_or_default();
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    lines: Lines<BufReader<TcpStream>>,
}

impl Events {
    /// Asks for one, with these lines in the head of the request. Gives the code of the answer too.
    pub(crate) async fn open(address: &str, path: &str, lines: &[&str]) -> (u16, Self) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n");
        lines.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        (first.split(' ').nth(1).unwrap().parse().unwrap(), Self { lines })
    }

    /// The next line; `None` at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        self.lines.next_line().await.unwrap()
    }

    /// The next event, with its id.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        let mut id = String::new();
        loop {
            let line = timeout(PATIENCE, self.line()).await.expect("an event").expect("an event before the end");
            if let Some(said) = line.strip_prefix("id: ") {
                id = said.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (id, serde_json::from_str(data).unwrap());
            }
        }
    }
}
