//! A client that publishes what the library would not: subjects and header blocks that are no good.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Publishes, and awaits that the server has taken it.
pub(crate) async fn publish(url: &str, subject: impl AsRef<[u8]>, block: &[u8], payload: &[u8]) {
    let address = url.rsplit('/').next().unwrap();
    let mut server = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut said = Vec::new();
    said.extend_from_slice(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n");
    let total = block.len() + payload.len();
    said.extend_from_slice(if block.is_empty() { b"PUB " } else { b"HPUB " });
    said.extend_from_slice(subject.as_ref());
    if !block.is_empty() {
        said.extend_from_slice(format!(" {}", block.len()).as_bytes());
    }
    said.extend_from_slice(format!(" {total}\r\n").as_bytes());
    said.extend_from_slice(block);
    said.extend_from_slice(payload);
    said.extend_from_slice(b"\r\nPING\r\n");
    server.get_mut().write_all(&said).await.unwrap();
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        server.read_line(&mut line).await.unwrap();
        assert!(!line.is_empty() && !line.starts_with("-ERR"), "{line}");
    }
}
