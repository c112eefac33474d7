//! `tidegate plugin export`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tidegate_artifacts::{policies, workers};

use crate::support::cli::{Ended, run};

async fn export(dir: &Path, more: &[&str]) -> Ended {
    run(["plugins", "export", dir.to_str().unwrap()].iter().chain(more)).await
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_plugin_that_is_carried_is_written_as_it_is_and_readable_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("a/plugins");
    let ended = export(&plugins, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let all = || policies::ALL.iter().chain(workers::ALL);
    assert_eq!(files(&plugins).len(), all().count());
    for (name, bytes) in all() {
        let file = plugins.join(format!("{name}.wasm"));
        assert_eq!(std::fs::read(&file).unwrap(), *bytes, "{name}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o444, 0o444, "{name}");
        assert!(ended.stdout.contains(&format!("wrote {}", file.display())), "{}", ended.stdout);
    }
    // Once more changes nothing, not even a time at which a host would look again.
    let before = std::fs::metadata(plugins.join("echo.wasm")).unwrap().modified().unwrap();
    let again = export(&plugins, &["--output", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert!(told["plugins"].as_array().unwrap().iter().all(|one| one["written"] == false), "{told}");
    assert_eq!(std::fs::metadata(plugins.join("echo.wasm")).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn what_is_in_the_way_is_not_touched_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let echo = dir.path().join("echo.wasm");
    std::fs::write(&echo, "mine").unwrap();
    export(dir.path(), &["echo", "backlog"]).await.failed_with(1, &["echo.wasm", "not touched", "--force"]);
    assert_eq!((files(dir.path()), std::fs::read(&echo).unwrap()), (vec!["echo.wasm".to_owned()], b"mine".to_vec()));
    assert_eq!(export(dir.path(), &["echo", "backlog", "--force"]).await.code, Some(0));
    assert_eq!(files(dir.path()), ["backlog.wasm", "echo.wasm"]);
    assert_eq!(std::fs::read(&echo).unwrap(), workers::ECHO);
}

#[tokio::test]
async fn a_plugin_that_is_not_carried_is_told_with_what_may_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), &["bcklog"]).await.failed_with(1, &["\"bcklog\"", "did you mean backlog?"]);
    export(dir.path(), &["zzzzzzzz"]).await.failed_with(1, &["it carries archive, dedupe", "word-count"]);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    export(&file.join("x"), &["echo"]).await.failed_with(1, &["cannot read", "file/x"]);
    assert_eq!(files(dir.path()), ["file"]);
}
