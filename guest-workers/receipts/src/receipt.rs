//! What is calculated from an order. All money is in whole cents.

use crate::order::Order;
use crate::settings::{Settings, WHOLE};
use serde::Serialize;

/// What is published. The fields stand in this order.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt<'a> {
    #[serde(rename = "receipt")]
    pub(crate) id: String,
    order: &'a str,
    customer: &'a str,
    ordered_at_ms: u64,
    lines: Vec<Line<'a>>,
    net_cents: u64,
    tax_percent: &'a str,
    tax_cents: u64,
    total_cents: u64,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    sku: &'a str,
    quantity: u64,
    unit_price_cents: u64,
    line_cents: u64,
}

impl<'a> Receipt<'a> {
    /// Makes the receipt of an order. It depends on nothing but its arguments, so a redelivery makes the same one.
    pub(crate) fn new(order: &'a Order, settings: &'a Settings, stream_sequence: u64, ordered_at_ms: u64) -> Self {
        let lines: Vec<Line<'_>> = order
            .lines
            .iter()
            .map(|line| Line {
                sku: &line.sku,
                quantity: line.quantity,
                unit_price_cents: line.unit_price_cents,
                // At most 10^15 a line and 10^18 an order: what an order may contain is bounded for that.
                line_cents: line.quantity * line.unit_price_cents,
            })
            .collect();
        let net_cents = lines.iter().map(|line| line.line_cents).sum();
        let tax_cents = tax(net_cents, settings.tax_millionths);
        Self {
            id: format!("R{stream_sequence:010}"),
            order: &order.order,
            customer: &order.customer,
            ordered_at_ms,
            lines,
            net_cents,
            tax_percent: &settings.tax_percent,
            tax_cents,
            total_cents: net_cents + tax_cents,
        }
    }

    /// The receipt as it is published.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The tax on an amount, rounded to the nearest cent, half a cent up.
fn tax(net_cents: u64, tax_millionths: u64) -> u64 {
    let exact = u128::from(net_cents) * u128::from(tax_millionths);
    let rounded = (exact + u128::from(WHOLE / 2)) / u128::from(WHOLE);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::order;
    use proptest::prelude::*;
    use tidegate_guest::testing;

    fn settings(percent: &str) -> Settings {
        Settings::read(testing::settings(&[("tax-percent", percent)])).unwrap()
    }

    #[test]
    fn half_a_cent_of_tax_is_rounded_up() {
        assert_eq!(tax(50, 10_000), 1);
        assert_eq!(tax(49, 10_000), 0);
        assert_eq!(tax(5_997, 190_000), 1_139);
    }

    #[test]
    fn the_largest_order_does_not_overflow() {
        let line = || order::Line { sku: "x".into(), quantity: 1_000_000, unit_price_cents: 1_000_000_000 };
        let order = Order { order: "1".into(), customer: "c".into(), lines: (0..1_000).map(|_| line()).collect() };
        let settings = settings("100");
        let receipt = Receipt::new(&order, &settings, u64::MAX, 0);
        assert_eq!(receipt.total_cents, 2_000_000_000_000_000_000);
        assert_eq!(receipt.id, "R18446744073709551615");
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_lines_and_the_tax(
            lines in prop::collection::vec((1_u64..1_000, 0_u64..100_000), 1..20),
            millionths in 0..=WHOLE,
        ) {
            let lines = lines
                .iter()
                .map(|(quantity, unit_price_cents)| order::Line {
                    sku: "x".into(),
                    quantity: *quantity,
                    unit_price_cents: *unit_price_cents,
                })
                .collect();
            let order = Order { order: "1".into(), customer: "c".into(), lines };
            let settings = Settings { tax_millionths: millionths, ..settings("0") };
            let receipt = Receipt::new(&order, &settings, 1, 0);
            let sum: u64 = order.lines.iter().map(|line| line.quantity * line.unit_price_cents).sum();
            prop_assert_eq!(receipt.net_cents, sum);
            prop_assert!(receipt.tax_cents <= receipt.net_cents);
            prop_assert_eq!(receipt.total_cents, receipt.net_cents + receipt.tax_cents);
        }
    }
}
