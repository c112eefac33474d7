//! Configurations that cannot be used. `run` and `check` say the same of them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::cli::{Running, run, tidegate};
use crate::support::host::plugins;

/// A workload that can run, but for its plugins.
const WORKLOAD: &str = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"probe\"\npolicy = \"fixed\"\n";

struct File {
    _dir: TempDir,
    path: PathBuf,
}

fn file(text: impl AsRef<[u8]>) -> File {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    File { _dir: dir, path }
}

/// Checks that both commands refuse the file, with the name of the file and all of `said`.
async fn refused(path: &Path, said: &[&str]) {
    let path = path.to_str().unwrap();
    for command in ["check", "run"] {
        let ended = run([command, "--config", path]).await;
        ended.failed_with(1, said);
        assert!(ended.said().contains(path), "{}", ended.said());
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_text_is_told_so() {
    refused(Path::new("/nowhere/tidegate.toml"), &["/nowhere/tidegate.toml: there is no such file", "--stream"]).await;
    refused(Path::new("/bin/ls"), &["this is not text", "TOML in UTF-8"]).await;
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["it cannot be read", "check the path"]).await;
    refused(&file("").path, &["the file is empty", "[workload.NAME]"]).await;
    refused(&file("[workload.a\n").path, &["tidegate.toml:1: this is not TOML"]).await;
}

#[tokio::test]
async fn what_is_wrong_is_named_by_line_and_key_with_a_remedy() {
    for (lines, said) in [
        ("steam = \"X\"\n", "tidegate.toml:5: workload.orders.steam: unknown key; did you mean stream?"),
        (
            "ack-wait = 30\n",
            "tidegate.toml:5: workload.orders.ack-wait: expected a duration, found an integer; write it with a unit",
        ),
        ("ack-wait = \"30\"\n", "tidegate.toml:5: workload.orders.ack-wait: \"30\" has no unit"),
        ("manage = \"make\"\n", "tidegate.toml:5: workload.orders.manage: "),
        (
            "scale.min = 5\nscale.max = 4\n",
            "tidegate.toml:5: workload.orders.scale.min: 5 is more than max, which is 4; lower min or raise max",
        ),
        ("scale.max = \"4\"\n", "tidegate.toml:5: workload.orders.scale.max: expected an integer"),
        ("subjects = [\"a..b\"]\n", "tidegate.toml:5: workload.orders.subjects: \"a..b\" has an empty token"),
        (
            "manage = \"create\"\nsubjects = \"_INBOX.*.x\"\n",
            "tidegate.toml:6: workload.orders.subjects: \"_INBOX.*.x\" takes in what is delivered to this host",
        ),
        (
            "subjects = [\"wt.*\"]\norder-key = \"subject:3\"\n",
            "tidegate.toml:6: workload.orders.order-key: no message has this token of its subject, for what is read is",
        ),
    ] {
        refused(&file(format!("{WORKLOAD}{lines}")).path, &[said]).await;
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let text = WORKLOAD.replace("stream", "steam").replace("policy", "polciy") + "[plugins]\ndri = \"x\"\n";
    let all =
        ["orders.steam: unknown key", "orders.polciy: unknown key", "plugins.dri: unknown key", "did you mean dir?"];
    refused(&file(text).path, &all).await;
}

#[tokio::test]
async fn two_workloads_on_one_consumer_and_one_plugin_in_two_roles_are_refused() {
    let other = "[workload.bills]\nstream = \"ORDERS\"\nhandler = \"probe\"\npolicy = \"fixed\"\n";
    let shared = format!("{WORKLOAD}consumer = \"c\"\n{other}consumer = \"c\"\n");
    refused(&file(shared).path, &["the consumer \"c\" of ORDERS is already that of", "give each its own"]).await;
    let twice = WORKLOAD.replace("fixed", "probe");
    refused(
        &file(twice).path,
        &["\"probe\" is used as a policy here and as a handler by", "a plugin is one or the other"],
    )
    .await;
}

#[tokio::test]
async fn a_stream_may_have_a_subject_that_begins_with_the_workloads_name() {
    let plugins = plugins();
    let dir = plugins.path().to_str().unwrap();
    let file = file(format!("{WORKLOAD}manage = \"create\"\nsubjects = [\"orders.>\"]\n[plugins]\ndir = \"{dir}\"\n"));
    let ended = run(["check", "--no-cache", "--config", file.path.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.stdout.ends_with("all can run; --connect looks at the servers too\n"), "{}", ended.stdout);
}

#[tokio::test]
async fn where_there_is_no_configuration_both_ways_to_give_one_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["run"][..], &["check"], &["permissions"], &["explain", "orders", "7"]] {
        let mut command = tidegate(arguments);
        command.current_dir(dir.path());
        let ended = Running::start(command).end().await;
        ended.failed_with(1, &["there is no configuration", "--config FILE", "--stream, --handler and --policy"]);
    }
}

#[tokio::test]
async fn a_grant_for_what_the_workload_reads_itself_is_warned_of_and_no_problem() {
    let plugins = plugins();
    let dir = plugins.path().to_str().unwrap();
    let flags = ["check", "--no-cache", "--plugins", dir, "--stream", "S", "--policy", "fixed", "--handler", "probe"];
    let check = async |more: &[&str]| run(flags.iter().chain(more)).await;
    let ended = check(&["--subjects", "orders.>", "--grant-publish", "orders.done"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let said = "warning: workload probe: grants.publish has `orders.done`, and this workload reads `orders.>`";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let ended = check(&["--subjects", "orders.>", "--filter", "orders.new", "--grant-publish", "orders.done"]).await;
    assert!(ended.code == Some(0) && !ended.stdout.contains("grants.publish"), "{}", ended.said());
    let asks = check(&["--subjects", "orders.>", "--grant-request", "orders.price"]).await;
    assert!(asks.stdout.contains("grants.request has `orders.price`, and this workload reads"), "{}", asks.said());
    let writes = check(&["--filter", "$KV.b.>", "--grant-kv", "read-write b/x."]).await;
    let said = "grants.kv has `read-write b/x.`, and this workload reads `$KV.b.>`: what its handler writes there";
    assert!(writes.stdout.contains(said), "{}", writes.said());
}

#[tokio::test]
async fn check_as_json_is_one_object_whatever_it_found() {
    let plugins = plugins();
    let dir = plugins.path().to_str().unwrap();
    let flags = ["--output", "json", "--no-cache", "--plugins", dir, "--stream", "S", "--policy", "fixed"];
    let check = async |more: &[&str]| run(["check"].iter().chain(&flags).chain(more)).await;

    let good = check(&["--handler", "probe"]).await;
    let answer: serde_json::Value = serde_json::from_str(&good.stdout).unwrap();
    assert_eq!((good.code, &answer["ok"]), (Some(0), &true.into()), "{answer}");
    assert_eq!(answer["workloads"][0]["workload"], "probe");
    assert!(answer["workloads"][0]["handler"].as_str().unwrap().starts_with("probe "), "{answer}");
    assert_eq!(answer["problems"], serde_json::json!([]));

    let no_plugin = check(&["--handler", "prob"]).await;
    let answer: serde_json::Value = serde_json::from_str(&no_plugin.stdout).unwrap();
    assert_eq!((no_plugin.code, &answer["ok"]), (Some(1), &false.into()), "{answer}");
    assert_eq!(answer["workloads"][0]["handler"], serde_json::Value::Null);
    assert_eq!(answer["problems"].as_array().unwrap().len(), 1);

    let no_config = check(&["--handler", "probe", "--min", "9", "--max", "1"]).await;
    let answer: serde_json::Value = serde_json::from_str(&no_config.stdout).unwrap();
    assert_eq!((no_config.code, &answer["ok"]), (Some(1), &false.into()), "{answer}");
    assert_eq!(answer["problems"][0], "--min: 9 is more than max, which is 1; lower min or raise max");
}
