//! From an order to a receipt.
//!
//! [`order`] reads and checks, [`receipt`] calculates, [`settings`] reads what the host was configured with; this
//! file is the component around them.

mod order;
mod receipt;
mod settings;

use order::Order;
use receipt::Receipt;
use settings::Settings;
use std::cell::OnceCell;
use tidegate_guest::handler::{Delivery, Failure, Publication, Response};
use tidegate_guest::{Level, log};

tidegate_guest::handler!(handle);

thread_local! {
    /// The settings do not change as long as an instance lives.
    static SETTINGS: OnceCell<Result<Settings, String>> = const { OnceCell::new() };
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    SETTINGS.with(|cell| match cell.get_or_init(|| Settings::read(tidegate_guest::Settings::of_workload()?)) {
        Ok(settings) => answer(settings, &delivery),
        // The order is not to blame: it can be handled once the settings are right.
        Err(error) => {
            log(Level::Error, "settings", error);
            Err(Failure::retry())
        }
    })
}

fn answer(settings: &Settings, delivery: &Delivery) -> Result<Response, Failure> {
    let order = Order::read(&delivery.payload).map_err(Failure::Reject)?;
    let receipt = Receipt::new(&order, settings, delivery.stream_sequence, delivery.published_at_ms);
    let publication = Publication {
        subject: format!("{}.{}", settings.subject_prefix, order.customer),
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        payload: receipt.to_json(),
    };
    Ok(Response { reply: Some(receipt.id.into_bytes()), publications: vec![publication] })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::settings;

    fn delivery(payload: &str) -> Delivery {
        Delivery { stream_sequence: 42, ..Delivery::test("orders.new", payload) }
    }

    const ORDER: &str =
        r#"{"order":"A-17","customer":"acme","lines":[{"sku":"rope","quantity":3,"unit_price_cents":1999}]}"#;

    #[test]
    fn an_order_becomes_a_receipt_for_its_customer_and_the_reply_is_the_receipts_id() {
        let settings = Settings::read(settings(&[("tax-percent", "19")])).unwrap();
        let response = answer(&settings, &delivery(ORDER)).unwrap();
        assert_eq!(response.reply.unwrap(), b"R0000000042");
        let [publication] = response.publications.as_slice() else { panic!("one publication") };
        assert_eq!(publication.subject, "receipts.acme");
        assert_eq!(
            String::from_utf8(publication.payload.clone()).unwrap(),
            concat!(
                r#"{"receipt":"R0000000042","order":"A-17","customer":"acme","ordered_at_ms":1700000000000,"#,
                r#""lines":[{"sku":"rope","quantity":3,"unit_price_cents":1999,"line_cents":5997}],"#,
                r#""net_cents":5997,"tax_percent":"19","tax_cents":1139,"total_cents":7136}"#
            )
        );
    }

    #[test]
    fn a_redelivery_makes_the_same_receipt() {
        let settings = Settings::read(settings(&[])).unwrap();
        let again = Delivery { attempt: 2, ..delivery(ORDER) };
        let publications = |delivery| answer(&settings, &delivery).unwrap().publications;
        assert_eq!(publications(delivery(ORDER))[0].payload, publications(again)[0].payload);
    }

    #[test]
    fn a_bad_order_is_rejected_with_the_reason() {
        let settings = Settings::read(settings(&[])).unwrap();
        let failure = answer(&settings, &delivery("{}")).unwrap_err();
        assert!(matches!(failure, Failure::Reject(reason) if reason == "order: is missing"));
    }
}
