//! The benchmark, small. What it measures is for `make bench`; here it has to measure all of it.

use tidegate_artifacts::workers;

use crate::support::cli::run;

#[tokio::test]
async fn a_benchmark_reports_every_ratio_as_one_object() {
    let all = "throughput,batches,order,key-memory,waiting,requests,from-zero,swap,instance,idle,isolated";
    let sizes = ["--messages", "1000", "--rounds", "1", "--requests", "10"];
    let ended = run(["bench", "--only", all, "--output", "json"].iter().chain(&sizes)).await;
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
        "/key_memory/0/bytes",
        "/key_memory/1/bytes",
        "/waiting/0/seconds",
        "/waiting/0/rss_mib",
        "/waiting/1/seconds",
        "/waiting/1/rss_mib",
        "/waiting/1/process_mib",
        "/swap_uncached/ms_p50",
        "/isolated/per_second",
        "/isolated/cpu_us",
        "/cpu_us_per_message/native",
        "/cpu_us_per_message/native_1",
        "/cpu_us_per_message/wasm",
        "/idle_percent",
    ] {
        let value = report.pointer(path).and_then(serde_json::Value::as_f64);
        assert!(value.is_some_and(|value| value.is_finite() && value > 0.0), "{path}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn only_what_was_asked_for_is_measured() {
    let ended = run(["bench", "--only", "instance", "--messages", "1000", "--output", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["instance"]["rss_kib"].as_f64().is_some_and(|kib| kib > 0.0), "{report}");
    for left_out in
        ["throughput", "batches", "orders", "key_memory", "waiting", "requests", "swap", "isolated", "many_idle"]
    {
        assert!(report.get(left_out).is_none(), "{left_out}: {report}");
    }
    run(["bench", "--only", "everything"]).await.failed_with(2, &["everything", "throughput", "many-idle"]);
}

#[tokio::test]
async fn a_handler_is_measured_by_itself_and_one_that_does_not_answer_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (echo, reply) = (file("echo.wasm", workers::ECHO), file("reply.wasm", workers::REPLY));
    let flags = ["bench", "--requests", "20", "--handler", &echo, "--handler", &reply];
    let ended = run(flags.iter().chain(&["--output", "json"])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    for (index, (name, bytes)) in [("echo", workers::ECHO), ("reply", workers::REPLY)].into_iter().enumerate() {
        let cost = &report["handlers"][index];
        assert_eq!((cost["name"].as_str(), cost["bytes"].as_u64()), (Some(name), Some(bytes.len() as u64)));
        for measured in ["compile_ms", "start_and_call_us_p50", "call_us_p50", "call_us_p99", "rss_kib"] {
            assert!(cost[measured].as_f64().is_some_and(|value| value > 0.0), "{measured}: {cost}");
        }
    }
    let text = run(flags).await.stdout;
    assert!(text.contains("memory a worker") && text.contains("\necho "), "{text}");
    let probe = file("probe.wasm", tidegate_test_artifacts::probes::WORKER_V1);
    let ended = run(["bench", "--handler", &probe, "--payload", "reject no good"]).await;
    ended.failed_with(1, &["probe.wasm rejects the payload: no good", "--payload"]);
    run(["bench", "--handler", &probe, "--rounds", "1"]).await.failed_with(2, &["--rounds"]);
}
