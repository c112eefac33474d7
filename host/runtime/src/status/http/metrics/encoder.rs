use std::fmt::{self, Write as _};

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, LabelValueEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::delivery::counters::{TIMES_US, Tally};

/// The labels of a value, by their names.
type Labels<V, const N: usize> = [(&'static str, V); N];

/// Writes one metric after the other.
pub(super) struct MetricsEncoder<'a>(DescriptorEncoder<'a>);

impl<'a> MetricsEncoder<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A counter of seconds.
    pub(super) fn seconds<V: AsRef<str>, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<V, N>, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels.map(escaped))?.encode_counter::<NoLabelSet, f64, f64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn counters<V: AsRef<str>, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<V, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels.map(escaped))?.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn gauges<V: AsRef<str>, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels<V, N>, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels.map(escaped))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: Option<u64>) -> fmt::Result {
        match value {
            Some(value) => self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value),
            None => Ok(()),
        }
    }

    pub(super) fn times<V: AsRef<str>, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<V, N>, Tally)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, tally) in values {
            let bounds = TIMES_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(tally.times).collect();
            let (sum, count) = (tally.times_us as f64 / 1e6, tally.work.handled);
            let labels = labels.map(escaped);
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// A label's value as the text format has it. The library writes values as they are, so a name with a quotation mark
/// would make the whole text unreadable.
struct Escaped<V>(V);

fn escaped<V>((name, value): (&'static str, V)) -> (&'static str, Escaped<V>) {
    (name, Escaped(value))
}

impl<V: AsRef<str>> EncodeLabelValue for Escaped<V> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        for part in self.0.as_ref().split_inclusive(['\\', '"', '\n']) {
            let mut before = part.chars();
            match before.next_back() {
                Some('\n') => write!(encoder, "{}\\n", before.as_str())?,
                Some(special @ ('\\' | '"')) => write!(encoder, "{}\\{special}", before.as_str())?,
                _ => encoder.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::delivery::counters::Work;

    const NAMES: [&str; 5] = ["plain", "a \"b\" {c=1}, d", "back\\slash\\", "two\nlines", "é"];

    /// One gauge for each name.
    #[derive(Debug)]
    struct OfNames;

    impl Collector for OfNames {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let each = NAMES.iter().map(|name| ([("workload", *name), ("other", "x")], 1.0));
            MetricsEncoder::new(encoder).gauges("g", "Help", None, each)
        }
    }

    /// The labels of a line as a strict reader has them; `None` if it does not understand the line.
    fn labels(line: &str) -> Option<Vec<(String, String)>> {
        let (mut rest, mut labels) = (line.strip_prefix("g{")?, Vec::new());
        loop {
            let (name, value) = rest.split_once("=\"")?;
            let (mut text, mut chars) = (String::new(), value.chars());
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => text.push(match chars.next()? {
                        'n' => '\n',
                        same @ ('\\' | '"') => same,
                        _ => return None,
                    }),
                    other => text.push(other),
                }
            }
            labels.push((name.to_owned(), text));
            match chars.next()? {
                ',' => rest = chars.as_str(),
                '}' => return chars.as_str().strip_prefix(' ')?.parse::<f64>().ok().map(|_| labels),
                _ => return None,
            }
        }
    }

    /// A histogram of calls that ran together.
    #[derive(Debug)]
    struct OfTimes;

    impl Collector for OfTimes {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let work = Work { handled: 2, calls_us: 1_000_000, ..Work::default() };
            let tally = Tally { work, times_us: 2_000_000, ..Tally::default() };
            MetricsEncoder::new(encoder).times("t", "Help", [([("workload", "w")], tally)])
        }
    }

    #[test]
    fn the_sum_of_a_histogram_is_of_the_times_in_it() {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(OfTimes));
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("t_seconds_sum{workload=\"w\"} 2.0\n"), "{text}");
        assert!(text.contains("t_seconds_count{workload=\"w\"} 2\n"), "{text}");
    }

    #[test]
    fn a_reader_of_the_text_format_finds_each_name_as_it_is_whatever_is_in_it() {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(OfNames));
        encode(&mut text, &registry).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let read: Option<Vec<_>> = lines.iter().map(|line| labels(line)).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = NAMES.iter().map(|name| vec![pair("workload", name), pair("other", "x")]).collect();
        assert_eq!(read, Some(expected), "{text}");
    }
}
