//! A message as a line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tidegate_guest::handler::Delivery;

/// The fields stand in this order.
#[derive(Serialize)]
struct Line<'a> {
    stream_sequence: u64,
    subject: &'a str,
    published_at_ms: u64,
    headers: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// With the line break at its end.
pub(crate) fn line(delivery: &Delivery) -> Vec<u8> {
    let text = std::str::from_utf8(&delivery.payload).ok();
    let line = Line {
        stream_sequence: delivery.stream_sequence,
        subject: &delivery.subject,
        published_at_ms: delivery.published_at_ms,
        headers: &delivery.headers,
        text,
        base64: text.is_none().then(|| STANDARD.encode(&delivery.payload)),
    };
    // Texts and numbers can always be written.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let headers = vec![("Trace".to_owned(), "1".to_owned())];
        let text = line(&Delivery { headers, ..Delivery::test("orders.new", "two\nlines") });
        assert_eq!(
            String::from_utf8(text).unwrap(),
            concat!(
                r#"{"stream_sequence":1,"subject":"orders.new","published_at_ms":1700000000000,"#,
                r#""headers":[["Trace","1"]],"text":"two\nlines"}"#,
                "\n"
            )
        );
        let bytes = line(&Delivery::test("orders.new", [0xff, 0xfe]));
        assert!(String::from_utf8(bytes).unwrap().contains(r#""base64":"//4=""#));
    }
}
