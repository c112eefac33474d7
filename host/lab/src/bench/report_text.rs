//! What was measured, as tables.

use std::fmt::{self, Display, Formatter};

use super::report::{BenchReport, CpuPerMessage, InstanceCost, Requests, Swap, Throughput};

impl Display for BenchReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { server, cores, rounds, messages, .. } = self;
        write!(f, "nats-server {server}, {cores} cores, medians of {rounds} rounds of {messages} messages")?;
        self.throughput(f)?;
        let titles = "batches                          4 workers to native   CPU us     1 worker to native   CPU us";
        table(f, titles, &self.batches)?;
        table(f, "order by key                     4 workers to none     CPU us", &self.orders)?;
        table(f, "memory of what waits for its key     bytes a message  (once each)", &self.key_memory)?;
        table(
            f,
            "1,000 deliveries that wait 200 ms       seconds        MiB  process MiB  (once each)",
            &self.waiting,
        )?;
        self.latency(f)?;
        self.others(f)
    }
}

impl BenchReport {
    fn throughput(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Some(throughput), Some(cpu)) = (&self.throughput, &self.cpu_us_per_message) else { return Ok(()) };
        let ratios = &self.ratios;
        write!(f, "\n\nthroughput, messages/s        native       wasm    example   wasm/native   wasm/example")?;
        let Throughput { native, wasm, example, native_1, wasm_1 } = throughput;
        write!(
            f,
            "\n  4 workers               {native:>10.0} {wasm:>10.0} {example:>10.0}  {:>11.2}x  {:>12.2}x",
            ratios.wasm_native, ratios.wasm_example
        )?;
        write!(
            f,
            "\n  1 worker                {native_1:>10.0} {wasm_1:>10.0}             {:>11.2}x",
            ratios.wasm_native_1
        )?;
        let CpuPerMessage { native, wasm, native_1, wasm_1 } = cpu;
        write!(f, "\n  CPU time a message, us  {native:>10.1} {wasm:>10.1}             (4 workers)")?;
        write!(f, "\n                          {native_1:>10.1} {wasm_1:>10.1}             (1 worker)")
    }

    fn latency(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(Requests { native_p50, wasm_p50, wasm_p99, from_zero }) = &self.requests else { return Ok(()) };
        let ratios = &self.ratios;
        write!(f, "\n\nlatency, us                   native       wasm")?;
        if wasm_p50.is_finite() {
            write!(
                f,
                "\n  request, p50            {native_p50:>10.0} {wasm_p50:>10.0}             {:>11.2}x",
                ratios.request_p50
            )?;
            write!(f, "\n  request, p99                       {wasm_p99:>10.0}")?;
        }
        if from_zero.is_finite() {
            write!(
                f,
                "\n  first from zero, p50               {from_zero:>10.0}   {:.2}x the p99 of a warm host",
                ratios.from_zero
            )?;
        }
        Ok(())
    }

    fn others(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(InstanceCost { start_and_call_us_p50, rss_kib }) = &self.instance {
            lines.push(format!(
                "an instance: {start_and_call_us_p50:.0} us to start and handle a message, {rss_kib:.0} KiB resident"
            ));
        }
        lines.extend(self.isolated.iter().map(ToString::to_string));
        lines.extend(self.swap.iter().map(|swap| replaced("a replaced file", swap)));
        lines.extend(self.swap_uncached.iter().map(|swap| replaced("one that was never compiled", swap)));
        lines.extend(self.idle_percent.map(|idle| format!("an idle host with ten workloads: {idle:.2} % of a core")));
        lines.extend(self.idle_memory.iter().map(ToString::to_string));
        lines.extend(self.start.iter().map(ToString::to_string));
        lines.extend(self.publications.iter().map(ToString::to_string));
        lines.extend(self.many_idle.iter().map(ToString::to_string));
        lines.extend(self.many_busy.iter().map(ToString::to_string));
        lines.extend(self.many_workers.iter().map(ToString::to_string));
        if lines.is_empty() { Ok(()) } else { write!(f, "\n\n{}", lines.join("\n")) }
    }
}

fn replaced(what: &str, Swap { ms_p50, ms_max, old_answers_p50 }: &Swap) -> String {
    format!(
        "{what}: {ms_p50:.0} ms to the first answer of the new handler (at most {ms_max:.0} ms), \
         {old_answers_p50:.0} of the old one meanwhile"
    )
}

/// A table with these titles; nothing if it has no rows.
fn table(f: &mut Formatter<'_>, titles: &str, rows: &[impl Display]) -> fmt::Result {
    if !rows.is_empty() {
        write!(f, "\n\n{titles}")?;
    }
    rows.iter().try_for_each(|row| write!(f, "\n{row}"))
}
