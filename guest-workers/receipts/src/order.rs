//! What an order looks like, and what is wrong with one that does not.

use serde_json::{Map, Value};

/// Bounds that keep every sum of an order far from an overflow.
const MOST_LINES: usize = 1_000;
const MOST_PIECES: u64 = 1_000_000;
const HIGHEST_PRICE_CENTS: u64 = 1_000_000_000;
/// The longest order number, customer or sku, in characters.
const LONGEST_NAME: usize = 64;

/// A checked order.
#[derive(Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) order: String,
    /// Fit to be a token of a subject.
    pub(crate) customer: String,
    /// At least one.
    pub(crate) lines: Vec<Line>,
}

/// One line of an order.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: u64,
    pub(crate) unit_price_cents: u64,
}

impl Order {
    /// Reads an order. An error names the field and what is wrong with it; fields that an order does not have are
    /// passed over, so that a newer sender need not wait for a newer handler.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(payload).map_err(|error| format!("the payload is not JSON: {error}"))?;
        let Value::Object(fields) = value else {
            return Err(format!("the payload: must be an object, is {}", kind(&value)));
        };
        let order = Fields { path: "", fields: &fields };
        Ok(Self { order: order.name("order")?, customer: order.token("customer")?, lines: order.lines()? })
    }
}

/// The fields of one object, with its place in the payload.
struct Fields<'a> {
    path: &'a str,
    fields: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn get(&self, field: &str) -> Result<&Value, String> {
        self.fields.get(field).ok_or_else(|| self.wrong(field, "is missing"))
    }

    fn wrong(&self, field: &str, what: &str) -> String {
        format!("{}{field}: {what}", self.path)
    }

    /// A text of 1 to 64 characters.
    fn name(&self, field: &str) -> Result<String, String> {
        let value = self.get(field)?;
        let Value::String(text) = value else {
            return Err(self.wrong(field, &format!("must be a text, is {}", kind(value))));
        };
        match text.chars().count() {
            1..=LONGEST_NAME => Ok(text.clone()),
            length => Err(self.wrong(field, &format!("must have 1 to {LONGEST_NAME} characters, has {length}"))),
        }
    }

    /// A name that can stand in a subject.
    fn token(&self, field: &str) -> Result<String, String> {
        let name = self.name(field)?;
        match name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_') {
            None => Ok(name),
            Some(c) => Err(self.wrong(field, &format!("must have only letters a to z, digits, - and _, has {c:?}"))),
        }
    }

    fn number(&self, field: &str, least: u64, most: u64) -> Result<u64, String> {
        let value = self.get(field)?;
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => {
                let is = match value {
                    Value::Number(number) => number.to_string(),
                    _ => kind(value).to_owned(),
                };
                Err(self.wrong(field, &format!("must be a whole number from {least} to {most}, is {is}")))
            }
        }
    }

    fn lines(&self) -> Result<Vec<Line>, String> {
        let value = self.get("lines")?;
        let Value::Array(lines) = value else {
            return Err(self.wrong("lines", &format!("must be an array, is {}", kind(value))));
        };
        if lines.is_empty() || lines.len() > MOST_LINES {
            return Err(self.wrong("lines", &format!("must be 1 to {MOST_LINES}, are {}", lines.len())));
        }
        lines.iter().enumerate().map(|(index, line)| read_line(index, line)).collect()
    }
}

fn read_line(index: usize, value: &Value) -> Result<Line, String> {
    let Value::Object(fields) = value else {
        return Err(format!("lines[{index}]: must be an object, is {}", kind(value)));
    };
    let path = format!("lines[{index}].");
    let line = Fields { path: &path, fields };
    Ok(Line {
        sku: line.name("sku")?,
        quantity: line.number("quantity", 1, MOST_PIECES)?,
        unit_price_cents: line.number("unit_price_cents", 0, HIGHEST_PRICE_CENTS)?,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn order() -> Value {
        json!({
            "order": "A-17",
            "customer": "acme_2",
            "lines": [
                { "sku": "rope", "quantity": 3, "unit_price_cents": 1999 },
                { "sku": "gate", "quantity": 1, "unit_price_cents": 0 },
            ],
            "note": "passed over",
        })
    }

    fn read(value: &Value) -> Result<Order, String> {
        Order::read(&serde_json::to_vec(value).unwrap())
    }

    /// What is said of the order after the value at a pointer was replaced.
    fn reason_with(pointer: &str, value: Value) -> String {
        let mut order = order();
        *order.pointer_mut(pointer).unwrap() = value;
        read(&order).unwrap_err()
    }

    #[test]
    fn a_good_order_is_read() {
        let order = read(&order()).unwrap();
        assert_eq!((order.order.as_str(), order.customer.as_str(), order.lines.len()), ("A-17", "acme_2", 2));
        assert_eq!(order.lines[0], Line { sku: "rope".into(), quantity: 3, unit_price_cents: 1999 });
    }

    #[test]
    fn a_reason_names_the_field_and_what_is_wrong_with_it() {
        for (pointer, value, reason) in [
            ("/order", json!(7), "order: must be a text, is a number"),
            ("/order", json!(""), "order: must have 1 to 64 characters, has 0"),
            ("/customer", json!("a".repeat(65)), "customer: must have 1 to 64 characters, has 65"),
            ("/customer", json!("a.b"), "customer: must have only letters a to z, digits, - and _, has '.'"),
            ("/lines", json!([]), "lines: must be 1 to 1000, are 0"),
            ("/lines", json!({}), "lines: must be an array, is an object"),
            ("/lines/1", json!(null), "lines[1]: must be an object, is null"),
            ("/lines/1", json!({}), "lines[1].sku: is missing"),
            ("/lines/1/quantity", json!(0), "lines[1].quantity: must be a whole number from 1 to 1000000, is 0"),
            (
                "/lines/0/unit_price_cents",
                json!(19.99),
                "lines[0].unit_price_cents: must be a whole number from 0 to 1000000000, is 19.99",
            ),
            (
                "/lines/0/unit_price_cents",
                json!("1999"),
                "lines[0].unit_price_cents: must be a whole number from 0 to 1000000000, is a text",
            ),
        ] {
            assert_eq!(reason_with(pointer, value), reason);
        }
    }

    #[test]
    fn a_payload_that_is_no_object_is_refused() {
        assert_eq!(read(&json!([1])).unwrap_err(), "the payload: must be an object, is an array");
        assert!(Order::read(b"").unwrap_err().starts_with("the payload is not JSON: EOF"));
        assert!(Order::read(br#"{"order":"#).unwrap_err().starts_with("the payload is not JSON: EOF"));
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_reading_panic(payload: Vec<u8>) {
            let _ = Order::read(&payload);
        }
    }
}
