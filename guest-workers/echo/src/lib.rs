//! Replies with the payload.

use tidegate_guest::handler::{Delivery, Failure, Response};

tidegate_guest::handler!(handle);

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    Ok(Response::reply(delivery.payload))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_reply_is_the_payload_byte_for_byte() {
        for payload in [&b""[..], b"text", &[0, 255, 10, 13]] {
            let response = handle(Delivery::test("test.1", payload)).unwrap();
            assert_eq!(response, Response { reply: Some(payload.to_vec()), publications: vec![] });
        }
    }
}
