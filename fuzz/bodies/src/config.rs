use tidegate_runtime::config::{Config, ConfigError};

/// Any text as a configuration: it is decided, or all that is wrong with it is told, each with its place and a remedy.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::from_toml(text) {
        Ok(config) => {
            assert!(!config.workloads.is_empty());
            for workload in &config.workloads {
                let scale = &workload.scale;
                assert!(scale.min <= scale.max && scale.interval <= scale.window, "{workload:?}");
                let most = i64::from(scale.max) * i64::try_from(workload.pull.batch).unwrap();
                let pending = workload.queue.max_ack_pending;
                assert!(pending < 0 || pending > most, "{workload:?}");
                assert!(workload.retry.max_attempts > 0 && !workload.retry.backoff.is_empty(), "{workload:?}");
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors.0 {
                told(error, text);
            }
        }
    }
}

fn told(error: &ConfigError, text: &str) {
    assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error:?}");
    let shown = error.to_string();
    assert!(!shown.contains(['\n', '\r']), "{shown:?}");
    // Only what is wrong with all of the text has no line.
    assert!(error.line.is_some() || error.key.is_empty(), "{error:?}");
    let lines = text.split('\n').count();
    assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error:?} of {lines} lines");
}
