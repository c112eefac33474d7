//! Handlers in other languages: built by their own tools, run in a host, and swapped for one another under load.
//!
//! `make test-languages` brings the tools, runs this and shows what it prints; it needs package registries and minutes
//! of compiling. Where npm cannot reach its registry, JavaScript is left out, and that is said.

// What it prints is its answer.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;
use tidegate_runtime::config::Workload;
use tokio::process::Command;

use crate::new::made;
use crate::shared::wait::within;
use crate::support::cli::{Running, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::{Site, text};

/// How long npm may take to bring a package.
const NPM: Duration = Duration::from_secs(120);
/// How long a build, or the compiling of what was built, may take on a slow machine.
const LONG: Duration = Duration::from_secs(300);
/// How npm names a registry that is not to be reached.
const UNREACHABLE: [&str; 11] = [
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTFOUND",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
    "E502",
    "E503",
    "E504",
];
/// Requests, one after the other, that a language is measured with.
const REQUESTS: u32 = 200;

struct Language {
    name: &'static str,
    /// Changes for the test: a file, a text in it, and what stands there instead. They have it publish on a subject of
    /// its own, and fail at a payload of `bug`.
    edits: &'static [(&'static str, &'static str, &'static str)],
    /// What the dead letter of that says.
    fault: &'static str,
    test: &'static str,
    build: &'static str,
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "javascript",
        edits: &[
            ("handler.js", "\"out.out\"", "\"out.javascript\""),
            ("handler.js", "    const loud =", "    if (text === \"bug\") null.stock;\n    const loud ="),
        ],
        fault: "TypeError",
        test: "npm test",
        build: "npm run build",
    },
    Language {
        name: "python",
        edits: &[
            ("src/app.py", "\"out.out\"", "\"out.python\""),
            ("src/app.py", "        loud =", "        if text == \"bug\":\n            {}[\"stock\"]\n        loud ="),
        ],
        fault: "KeyError",
        test: "make test",
        build: "make build",
    },
    Language {
        name: "c",
        edits: &[
            ("handler.c", "\"out.out\"", "\"out.c\""),
            ("handler.c", "  publication_t *pub", "  if (*text->ptr == 'b') __builtin_trap();\n  publication_t *pub"),
            ("Makefile", "-Os", "-Os -g"),
        ],
        // Its line is told, for it is built with debug information.
        fault: "handler.c:49)",
        test: "make test",
        build: "make build",
    },
];

/// Begins a handler called `out`, tests it, has it publish on `out.LANGUAGE`, and builds it. `None` if npm cannot reach
/// its registry.
async fn built(dir: &Path, language: &Language) -> Option<Vec<u8>> {
    let parent = dir.join(language.name);
    std::fs::create_dir(&parent).unwrap();
    let mut command = tidegate(["new", "handler", "out", "--language", language.name]);
    command.current_dir(&parent);
    let ended = Running::start(command).end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());

    let project = parent.join("out");
    let began = Instant::now();
    if language.name == "javascript"
        && let Err(problem) = npm_install(&project).await
    {
        println!("\n*** JavaScript is NOT tested: {problem} ***\n");
        return None;
    }
    run(&project, language.test).await;
    for (file, text, instead) in language.edits {
        let file = project.join(file);
        let before = std::fs::read_to_string(&file).unwrap();
        assert!(before.contains(text), "{} has no {text}", file.display());
        std::fs::write(&file, before.replacen(text, instead, 1)).unwrap();
    }
    run(&project, language.build).await;
    println!("{}: installed, tested and built in {:.1} s", language.name, began.elapsed().as_secs_f64());
    Some(std::fs::read(project.join("plugins/out.wasm")).unwrap())
}

/// Brings what a project names.
///
/// # Errors
/// Why the registry cannot be reached. Anything else that goes wrong fails the test.
async fn npm_install(project: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]);
    let ended = tokio::time::timeout(NPM, npm.current_dir(project).kill_on_drop(true).output()).await;
    let output = match ended {
        Err(_) => return Err(format!("npm brought nothing within {NPM:?}")),
        Ok(Err(error)) => return Err(format!("npm does not start: {error}")),
        Ok(Ok(output)) => output,
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unreachable = |code: &&&str| said.contains(&format!("code {code}"));
    match UNREACHABLE.iter().find(unreachable) {
        Some(code) if !output.status.success() => Err(format!("npm cannot reach its registry ({code})\n{said}")),
        _ => {
            assert!(output.status.success(), "npm install: {said}");
            Ok(())
        }
    }
}

async fn run(dir: &Path, command: &str) {
    let mut shell = Command::new("sh");
    let ended = shell.args(["-c", command]).current_dir(dir).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(LONG, ended).await else { panic!("{command} takes longer than {LONG:?}") };
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&said));
}

async fn rust(dir: &Path) -> Vec<u8> {
    made(dir, "handler", "out").await;
    let built: PathBuf = dir.join("out/plugins/out.wasm");
    std::fs::read(built).unwrap()
}

/// What was sent, each text once.
#[derive(Default)]
struct Ledger(Mutex<HashSet<String>>);

impl Ledger {
    fn add(&self, kind: &str) -> String {
        let mut sent = self.0.lock();
        let text = format!("{kind} {}", sent.len());
        sent.insert(text.to_uppercase());
        text
    }
}

/// Puts a handler into place and waits until it is in use; then requests, and the fault if it has one.
async fn exercise(host: &Host, ledger: &Ledger, name: &str, bytes: &[u8], fault: Option<&str>) {
    let began = Instant::now();
    host.install("out", bytes);
    let subject = format!("out.{}", if name == "rust" { "out" } else { name });
    let in_use = async || {
        let stream = host.js.get_stream_no_info("OUT").await.ok()?;
        let last = stream.get_last_raw_message_by_subject("out.>").await.ok()?;
        (last.subject.as_str() == subject).then_some(())
    };
    within(LONG, in_use).await.unwrap_or_else(|| panic!("{name} is not in use within {LONG:?}"));
    let loaded = began.elapsed();
    measured(host, ledger, name, bytes.len(), loaded).await;
    let Some(fault) = fault else { return };
    host.publish("in.languages.a", "bug").await;
    eventually("the dead letter says where it failed", async || {
        let Ok(stream) = host.js.get_stream_no_info("TIDEGATE_DEAD").await else { return false };
        let last = stream.get_last_raw_message_by_subject(">").await;
        last.is_ok_and(|last| format!("{:?}", last.headers).contains(fault))
    })
    .await;
}

async fn measured(host: &Host, ledger: &Ledger, name: &str, size: usize, loaded: Duration) {
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let text = ledger.add("request");
        assert_eq!(host.request("in.languages.a", text.clone()).await, text.to_uppercase());
    }
    let request = began.elapsed() / REQUESTS;
    println!(
        "| {name} | {} KiB | {:.1} s | {:.2} ms |",
        size / 1024,
        loaded.as_secs_f64(),
        request.as_secs_f64() * 1000.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_each_language_takes_over_from_the_one_before_under_load_and_nothing_is_lost() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let first = rust(dir.path()).await;
    let mut handlers = Vec::new();
    // Side by side: most of it waits for registries and for tools that use one core.
    let all = futures_util::future::join_all(LANGUAGES.iter().map(|language| built(dir.path(), language))).await;
    for (language, bytes) in LANGUAGES.iter().zip(all) {
        handlers.extend(bytes.map(|bytes| (language, bytes)));
    }

    let site = Site::new().await;
    site.install("out", &first);
    let host = Host::start_at(site, vec![Workload { handler: "out".to_owned(), ..workers("languages", 2) }]).await;
    host.stream("OUT", &["out.>"]).await;
    let (ledger, done) = (Ledger::default(), AtomicBool::new(false));
    let load = async {
        while !done.load(Relaxed) {
            let texts: Vec<String> = (0..20).map(|_| ledger.add("message")).collect();
            host.publish_all("in.languages.b", texts).await;
            eventually("the load is handled", async || host.consumer("languages").await.num_pending < 20).await;
            // So little that compiling, which has the lowest priority, goes on beside it.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let swaps = async {
        println!("| language | size | in use after | a request under load |\n|---|---|---|---|");
        for (language, bytes) in &handlers {
            exercise(&host, &ledger, language.name, bytes, Some(language.fault)).await;
        }
        exercise(&host, &ledger, "rust", &first, None).await;
        done.store(true, Relaxed);
    };
    tokio::join!(load, swaps);
    host.settled("languages").await;

    let sent = ledger.0.into_inner();
    let entries = host.stored_count("OUT", sent.len()).await;
    let published: HashSet<String> = entries.iter().map(|entry| text(entry).to_owned()).collect();
    assert_eq!((entries.len(), &published), (sent.len(), &sent));
    let subjects: HashSet<&str> = entries.iter().map(|entry| entry.subject.as_str()).collect();
    let expected: Vec<String> = handlers.iter().map(|(language, _)| format!("out.{}", language.name)).collect();
    assert_eq!(subjects, expected.iter().map(String::as_str).chain(["out.out"]).collect());
    println!("{} messages, each published once", sent.len());
}
