//! The benchmark, small. What it measures is for `make bench`; here it has to measure all of it.

use crate::support::cli::run;

#[tokio::test]
async fn a_benchmark_reports_every_ratio_as_one_object() {
    let ended = run(["bench", "--messages", "1000", "--rounds", "1", "--requests", "10", "--output", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    for path in [
        "/ratios/wasm_native",
        "/ratios/wasm_native_1",
        "/ratios/wasm_example",
        "/ratios/request_p50",
        "/ratios/from_zero",
        "/instance/start_and_call_us_p50",
        "/instance/rss_kib",
        "/swap/ms_p50",
        "/batches/0/wasm",
        "/batches/0/wasm_native_1",
        "/batches/1/wasm_1",
        "/batches/2/wasm_native",
        "/batches/2/cpu_us",
        "/batches/2/cpu_us_1",
        "/orders/0/wasm",
        "/orders/1/to_none",
        "/orders/3/wasm",
        "/orders/3/cpu_us",
        "/cpu_us_per_message/native",
        "/cpu_us_per_message/native_1",
        "/cpu_us_per_message/wasm",
        "/idle_percent",
    ] {
        let value = report.pointer(path).and_then(serde_json::Value::as_f64);
        assert!(value.is_some_and(|value| value.is_finite() && value > 0.0), "{path}: {}", ended.stdout);
    }
}
