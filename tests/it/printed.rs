//! What README, docs and `--help` print is run as it is printed: every command, and every configuration file.
//!
//! The commands run in one directory, in the order in which they make sense, with nothing but `tidegate` in `PATH` and
//! `NATS_URL` set, which wins over the address in README's file.

use std::path::{Path, PathBuf};

use async_nats::jetstream::stream;
use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_artifacts::{policies, workers};
use tidegate_nats_server::Server;
use tokio::process::Command;

use crate::support::cli::{Ended, Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::install;
use crate::support::nats::{jetstream, nats};

/// What is not run here, by what is in it, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("make ", "builds, tests or measures this program"),
    ("cargo ", "builds or tests a crate: `new.rs` does with those that `tidegate new` makes"),
    ("--handler shout", "a handler that the reader has made: `new.rs` runs it"),
    ("queue-age", "a policy that the reader has made: `new.rs` runs it"),
    ("tidegate new ", "`new.rs` runs it"),
    ("tidegate dev ", "runs until it is told to end: `dev.rs` runs it"),
    ("oci://", "wants a registry: `plugin_sources/oci/` does it to one of its own"),
    ("export NATS_URL", "it is set for all of them"),
    ("echo garbage", "`new.rs` does it while a host runs"),
    ("nats consumer ", "wants the `nats` command, which not every machine has"),
    ("tidegate pause", "wants a server of 2.11: `pause.rs` runs it where there is one"),
    ("tidegate resume", "the same"),
    ("nats micro ", "the same"),
    ("tidegate scale", "wants a host that is asked by NATS: `service/` runs it"),
    ("tidegate drain", "the same"),
    ("tidegate undrain", "the same"),
    ("--who-asks", "wants a host that is asked by NATS: `service/rights.rs` runs it"),
    ("tidegate top", "wants a host on a port that another program may have, and a terminal: `top.rs` runs it"),
    ("tidegate rollout", "wants a host on that port, and a handler that is tried: `rollout.rs` runs it"),
    ("tidegate reload", "wants a host on that port, with a token: `reload.rs` runs it"),
    ("curl ", "wants a host on a port that another program may have"),
    ("docker ", "wants an image and a daemon"),
    ("kubectl ", "wants a cluster"),
    ("tidegate health", "the same as curl: `health.rs` asks one"),
    ("nats://nats.internal", "there is no such server"),
    ("old/backlog.wasm", "wants the policies of before and after a swap"),
    ("--duration 24h", "takes half a minute on a busy machine: `simulate.rs` has shorter ones"),
    ("bench --scale", "takes an hour: `bench.rs` measures the same, with less"),
    ("bench --only batches", "takes minutes on a busy machine: `bench.rs` measures the same, with less"),
    ("--live", "takes a minute: the live runs have tests of their own"),
];

/// An order that is good, from the README of `receipts`.
const ORDER: &str = include_str!("../../guest-workers/receipts/README.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// README and all pages of docs: name and text.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|ext| ext == "md")).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    let text = |path: &PathBuf| (path.display().to_string(), std::fs::read_to_string(path).unwrap());
    pages.iter().map(text).collect()
}

/// The command of README that has this in it.
pub(crate) fn of_readme(part: &str) -> String {
    let readme = include_str!("../../README.md");
    let of = |language, prompt| blocks(readme, language).into_iter().flat_map(move |block| commands(block, prompt));
    let found = of("sh", "").chain(of("console", "$ ")).find(|command| command.contains(part));
    found.unwrap_or_else(|| panic!("README.md has no command with `{part}`"))
}

/// The blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mut parts = page.split("\n```");
    parts.next();
    // Every other part is what stands between two blocks.
    parts.step_by(2).filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// The commands of a block of `sh`, or after each `$` of a console; those that go on in the next line are one.
fn commands(block: &str, prompt: &str) -> Vec<String> {
    let whole = block.replace("\\\n", " ");
    let lines = whole.lines().filter_map(|line| line.strip_prefix(prompt));
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The names of all commands, `dead list` and its like among them.
async fn all_commands() -> Vec<Vec<String>> {
    let mut found = vec![vec![]];
    let mut at = 0;
    while let Some(words) = found.get(at).cloned() {
        let help = help(&words).await;
        let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let list = list.split("\n\n").next().unwrap_or_default();
        let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        for name in names.filter(|name| !name.is_empty() && *name != "help") {
            found.push(words.iter().cloned().chain([name.to_owned()]).collect());
        }
        at += 1;
    }
    found
}

async fn help(words: &[String]) -> String {
    run(words.iter().map(String::as_str).chain(["--help"])).await.stdout
}

/// The examples of a help: each begins with `tidegate`, and ends before what is said of it.
fn examples(help: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    for line in help.split("\nExamples:\n").nth(1).unwrap_or_default().lines().map(str::trim) {
        match examples.last_mut() {
            Some(before) if !line.starts_with("tidegate ") => {
                *before = format!("{} {line}", before.trim_end_matches('\\').trim())
            }
            _ => examples.push(line.to_owned()),
        }
    }
    examples.iter().map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

/// All that is printed, each once, with where it stands.
async fn printed() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |from: &str, commands: Vec<String>| {
        for command in commands {
            if !all.iter().any(|(_, known)| *known == command) {
                all.push((from.to_owned(), command));
            }
        }
    };
    for (name, text) in pages() {
        for block in blocks(&text, "sh") {
            add(&name, commands(block, ""));
        }
        for block in blocks(&text, "console") {
            add(&name, commands(block, "$ "));
        }
    }
    for words in all_commands().await {
        add(&format!("tidegate {} --help", words.join(" ")), examples(&help(&words).await));
    }
    all
}

/// Where they run: README's file and what the commands name.
struct Place {
    dir: TempDir,
    server: Server,
}

impl Place {
    async fn new() -> Self {
        let (dir, server) = (TempDir::new().unwrap(), nats().await);
        let path = dir.path();
        for sub in ["plugins", "new"] {
            std::fs::create_dir(path.join(sub)).unwrap();
        }
        for (name, bytes) in policies::ALL.iter().chain(workers::ALL) {
            install(&path.join("plugins"), name, bytes);
        }
        // In place of one that somebody else has made.
        install(&path.join("plugins"), "task-leet", tidegate_test_artifacts::probes::MESSAGING);
        // What the page on handlers that wait speaks of.
        install(&path.join("plugins"), "prices", tidegate_test_artifacts::probes::ASYNC);
        for dir in [path, &path.join("plugins")] {
            install(dir, "candidate", policies::BACKLOG);
        }
        install(&path.join("new"), "backlog", policies::BACKLOG);
        let place = Self { dir, server };
        place.write("tidegate.toml", readme_file());
        place.write("prod.toml", readme_file());
        let rows: String = (0..600).map(|second| format!("{second},{}\n", second % 7)).collect();
        for trace in ["day.csv", "yesterday.csv"] {
            place.write(trace, &format!("second,arrivals\n{rows}"));
        }
        place.write("order.json", good_order());
        // The key that the page on plugins speaks of, which is no secret.
        place.write("signer.nk", "SUAGC3RAMV4GC3LQNRSSA5DIMF2CA43JM5XHGLBANZXSA43FMNZGK5E36M\n");
        place
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }

    fn here(&self, mut command: Command) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        command.current_dir(self.dir.path()).env("PATH", path).env("NATS_URL", self.server.url());
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("printed-cache"));
        command
    }

    /// A command of a shell, as it is printed.
    fn shell(&self, command: &str) -> Running {
        let mut shell = Command::new("sh");
        // So that a signal is the program's.
        let exec = if command.starts_with("tidegate run") { "exec " } else { "" };
        shell.args(["-c", &format!("{exec}{command}")]);
        Running::start(self.here(shell))
    }

    /// Starts a host, awaits that it is ready, does `meanwhile`, and ends it.
    async fn with_host(&self, command: &str, meanwhile: impl AsyncFnOnce()) -> Ended {
        let mut host = self.shell(command);
        host.line_with("ready").await;
        meanwhile().await;
        host.signal(Signal::TERM);
        let ended = host.end().await;
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        ended
    }

    async fn request(&self, subject: &str, payload: &str) -> Ended {
        Running::start(self.here(tidegate(["request", subject, payload, "--timeout", "30s"]))).end().await
    }
}

/// README's configuration file.
fn readme_file() -> &'static str {
    blocks(include_str!("../../README.md"), "toml").into_iter().find(|text| text.contains("# tidegate.toml")).unwrap()
}

fn good_order() -> &'static str {
    blocks(ORDER, "json")[0].trim()
}

/// Runs all that is printed and chosen, against a place where there are dead letters and a journal.
async fn all_of(chosen: impl Fn(&str) -> bool) {
    let place = Place::new().await;
    let journal = pages().into_iter().find(|(name, _)| name.ends_with("journal.md")).unwrap().1;
    let toml = blocks(&journal, "toml");
    place.write("with-journal.toml", &format!("{}\n{}", readme_file(), toml.join("\n")));
    for name in ["journal.jsonl.1", "journal.jsonl"] {
        let letters = async || {
            for number in 0..25 {
                let ended = place.request("orders.web", &format!("no order {name} {number}")).await;
                assert_eq!(ended.code, Some(4), "{}", ended.said());
            }
            place.request("orders.web", good_order()).await;
            let decisions = || std::fs::read_to_string(place.dir.path().join("journal.jsonl")).unwrap();
            eventually("there are decisions a while apart", async || {
                decisions().matches("\"event\":\"decide\"").count() > 8
            })
            .await;
        };
        place.with_host("tidegate run -c with-journal.toml", letters).await;
        if name != "journal.jsonl" {
            std::fs::rename(place.dir.path().join("journal.jsonl"), place.dir.path().join(name)).unwrap();
        }
    }
    // The commands name letters up to 43.
    let letters = jetstream(&place.server).await.get_stream("TIDEGATE_DEAD").await.unwrap().cached_info().state.clone();
    assert_eq!((letters.first_sequence, letters.last_sequence), (1, 50));
    place.copy("journal.jsonl", "decisions.jsonl");
    place.copy("journal.jsonl", "orders.jsonl");

    let mut printed = printed().await;
    // Those that name letters come first: the others take all there are.
    printed.sort_by_key(|(_, command)| command.contains("dead redrive") && !command.contains(" 42"));
    for (from, command) in printed.iter().filter(|(_, command)| chosen(command)) {
        if NOT_RUN.iter().any(|(part, _)| command.contains(part)) {
            continue;
        }
        if command.starts_with("tidegate run") {
            let ended = place.with_host(command, async || {}).await;
            assert!(!ended.stderr.contains("ERROR"), "{command} of {from}: {}", ended.stderr);
            continue;
        }
        // What comes out is for a program that not every machine has.
        let command = command.split(" | jq").next().unwrap();
        let ended = place.shell(command).end().await;
        assert_eq!(ended.code, Some(0), "{command} of {from}: {}", ended.said());
    }
}

fn deletes(command: &str) -> bool {
    command.contains("dead redrive") || command.contains("dead purge")
}

fn asks(command: &str) -> bool {
    command.starts_with("tidegate request")
}

#[tokio::test]
async fn every_command_that_is_printed_does_what_it_says() {
    all_of(|command| !deletes(command) && !asks(command)).await;
}

#[tokio::test]
async fn every_redrive_that_is_printed_does_what_it_says() {
    all_of(|command| command.contains("dead redrive")).await;
}

#[tokio::test]
async fn every_purge_that_is_printed_does_what_it_says_once_it_is_told_yes() {
    let place = Place::new().await;
    let js = jetstream(&place.server).await;
    let subjects = vec!["tidegate.dead.>".to_owned()];
    js.create_stream(stream::Config { name: "TIDEGATE_DEAD".into(), subjects, ..Default::default() }).await.unwrap();
    for (from, command) in printed().await.iter().filter(|(_, command)| command.contains("dead purge")) {
        // Without a terminal nobody can be asked.
        let asks = !command.contains("--yes") && !command.contains("--dry-run");
        let ended = place.shell(&format!("{command}{}", if asks { " --yes" } else { "" })).end().await;
        let there_is_none = command.contains(" 42");
        assert_eq!(ended.code, Some(i32::from(there_is_none)), "{command} of {from}: {}", ended.said());
    }
}

#[tokio::test]
async fn every_request_that_is_printed_is_replied_to() {
    let place = Place::new().await;
    let host = "tidegate run --stream ASKED --subjects 'shout.>,orders.>' --handler echo --policy step";
    let requests = async || {
        for (from, command) in printed().await.iter().filter(|(_, command)| asks(command)) {
            let ended = place.shell(command).end().await;
            assert_eq!(ended.code, Some(0), "{command} of {from}: {}", ended.said());
        }
    };
    place.with_host(host, requests).await;
}

#[tokio::test]
async fn the_file_of_the_readme_and_the_example_of_every_key_make_a_receipt_of_an_order() {
    let place = Place::new().await;
    place.write("example.toml", include_str!("../../examples/tidegate.example.toml"));
    for (file, subject, receipts) in
        [("tidegate.toml", "orders.web", "receipts.acme"), ("example.toml", "shop.orders.new", "shop.receipts.acme")]
    {
        let ended = Running::start(place.here(tidegate(["check", "-c", file]))).end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        let js = jetstream(&place.server).await;
        let order = async || {
            let ended = place.request(subject, good_order()).await;
            assert_eq!(ended.code, Some(0), "{}", ended.said());
            let stream = js.get_stream("ORDERS").await.unwrap();
            let receipt = async || stream.get_last_raw_message_by_subject(receipts).await.is_ok();
            eventually("the receipt is stored", receipt).await;
        };
        place.with_host(&format!("tidegate run -c {file}"), order).await;
        js.delete_stream("ORDERS").await.unwrap();
    }
}

#[tokio::test]
async fn every_configuration_that_is_printed_can_be_used() {
    let place = Place::new().await;
    // What the page on secrets speaks of.
    place.write("price-token", "secret");
    for (from, text) in pages() {
        for block in blocks(&text, "toml") {
            let is_whole = block.contains("stream = \"ORDERS\"");
            place.write(
                "printed.toml",
                &if is_whole { block.to_owned() } else { format!("{}\n{block}", readme_file()) },
            );
            let mut check = place.here(tidegate(["check", "-c", "printed.toml"]));
            check.env("AUDIT_KEY", "secret");
            let ended = Running::start(check).end().await;
            assert_eq!(ended.code, Some(0), "{block}\nof {from}: {}", ended.said());
        }
    }
}

#[tokio::test]
async fn all_that_is_not_run_is_printed_somewhere() {
    let all = printed().await;
    for (part, reason) in NOT_RUN {
        assert!(all.iter().any(|(_, command)| command.contains(part)), "nothing printed has `{part}`: {reason}");
    }
}
