//! The benchmark, small. What it measures is for `make bench`; here it has to measure all of it.

use std::path::Path;

use tidegate_artifacts::workers;

use crate::support::cli::run;

#[tokio::test]
async fn what_hosts_in_processes_of_their_own_take_is_reported_too() {
    let rows = "publications,start,idle-memory,many-busy,many-workers";
    let ended = run(["bench", "--only", rows, "--output", "json", "--messages", "1000", "--rounds", "1"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    for path in [
        "/publications/wasm_native",
        "/publications/wasm_cpu_us",
        "/start/first_ms",
        "/start/all_ms",
        "/idle_memory/rss_mib",
        "/idle_memory/anonymous_mib",
        "/many_busy/many_one",
        "/many_busy/many_cpu_us",
        "/many_workers/start_s",
        "/many_workers/mappings_each",
    ] {
        assert!(
            report.pointer(path).and_then(serde_json::Value::as_f64).is_some_and(|of| of >= 0.0),
            "{path}: {report}"
        );
    }
}

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
    for row in ["publications", "start", "idle_memory", "many_busy", "many_workers"] {
        assert!(report.get(row).is_none(), "{row}: {report}");
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

/// Measures two points of each of these curves, with as little as possible.
async fn scale(axes: &str, pictures: &Path) -> serde_json::Value {
    let few = ["--points", "2", "--rounds", "1", "--messages", "1000", "--output", "json", "--pictures"];
    let flags = ["bench", "--scale", axes].into_iter().chain(few).chain(pictures.to_str());
    let ended = run(flags).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[track_caller]
fn has_curves(report: &serde_json::Value, axes: &str, pictures: &Path) {
    let curves = report["curves"].as_array().unwrap();
    assert_eq!(curves.len(), axes.split(',').count());
    for (curve, axis) in curves.iter().zip(axes.split(',')) {
        assert_eq!((curve["axis"].as_str(), curve["points"].as_array().unwrap().len()), (Some(axis), 2), "{curve}");
        for point in curve["points"].as_array().unwrap() {
            for number in ["per_second", "cpu_us", "rss_mib", "mappings", "workers", "start_s"] {
                for code in ["native", "component"] {
                    let value = point[code][number].as_f64();
                    assert!(value.is_some_and(|value| value > 0.0), "{number} of {code}: {point}");
                }
            }
        }
        assert!(curve["growth"]["memory"]["steepest"].is_f64(), "{curve}");
        let picture = std::fs::read_to_string(pictures.join(format!("scale-{axis}.svg"))).unwrap();
        assert!(picture.contains("native code"), "{axis}");
    }
}

#[tokio::test]
async fn how_a_host_grows_is_measured_beside_native_code() {
    let (axes, pictures) = ("workers,workloads,payload,publications,headers,keys", tempfile::tempdir().unwrap());
    let report = scale(axes, pictures.path()).await;
    has_curves(&report, axes, pictures.path());
    let workers = |point: usize| report["curves"][0]["points"][point]["component"]["workers"].as_f64();
    assert_eq!((workers(0), workers(1)), (Some(1.0), Some(4.0)));
    let flags = ["bench", "--scale", "depth"];
    run(flags).await.failed_with(2, &["depth", "workloads", "replicas"]);
}

#[tokio::test]
async fn hosts_that_share_a_consumer_and_streams_with_replicas_are_measured_too() {
    let (axes, pictures) = ("hosts,replicas", tempfile::tempdir().unwrap());
    let report = scale(axes, pictures.path()).await;
    has_curves(&report, axes, pictures.path());
    let workers = |point: usize| report["curves"][0]["points"][point]["native"]["workers"].as_f64();
    assert_eq!((workers(0), workers(1)), (Some(4.0), Some(8.0)));
}
