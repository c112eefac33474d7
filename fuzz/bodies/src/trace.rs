use tidegate_lab::simulate::parse::samples;
use tidegate_lab::simulate::trace::of_text;

/// Any text as a trace and as measured service times: rows in order of time, or what is wrong in which line.
pub fn trace(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count().max(1);
    match of_text(text) {
        Ok(trace) => {
            let rows = trace.arrivals.rows();
            assert!(rows.iter().all(|row| row.step > 0 && row.start <= row.end()));
            assert!(rows.windows(2).all(|pair| pair[0].end() == pair[1].start));
            assert_eq!(rows.first().map(|row| row.start), Some(0));
            let doubled = trace.arrivals.scaled(2.0);
            assert_eq!(doubled.total(), 2 * trace.arrivals.total());
        }
        Err(wrong) => {
            let shown = wrong.to_string();
            assert!((1..=lines).contains(&wrong.line) && !shown.contains(char::is_control), "{shown:?}");
        }
    }
    if let Err((line, problem)) = samples(text) {
        assert!((1..=lines).contains(&line) && !problem.contains(char::is_control), "{line}: {problem:?}");
    }
}
