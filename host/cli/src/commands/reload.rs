//! `tidegate reload`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::health::reachable;
use super::output::Output;
use super::positive;
use super::token::{self, TOKEN};
use tidegate_runtime::config::{Config, ConfigFiles, Flags, HttpAdmin};
use tidegate_runtime::plugin::SettingsReader;
use tidegate_runtime::text::plain;

/// What the names of the processes of this program begin with, also where its file has its version in the name.
const PROGRAM: &[u8] = b"tidegate";
/// The most bytes of an answer.
const MOST: u64 = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  tidegate reload                                the host of ./tidegate.toml, which has http and http-admin
  tidegate reload --http 8222                    the one that was started by `tidegate run --http 8222`
  tidegate reload --pid 4711                     by SIGHUP, which needs neither; its log says what came of it";

/// Has a host read its configuration again, and prints what has changed, or what is wrong.
///
/// Workloads are added, removed and changed without touching the others; with an error in it nothing changes. By HTTP
/// it needs the token of http-admin: that of the configuration file, or the variable TIDEGATE_HTTP_TOKEN. Exit code 0:
/// it was read (or asked for, with --pid). 1: it has an error, or the host cannot be asked. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReloadArgs {
    /// Where the host answers: a port, or an IP address and a port [default: http of the configuration file]
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// The configuration file of the host [default: tidegate.toml]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Send SIGHUP to this process of this machine instead
    #[arg(long, value_name = "PID", conflicts_with_all = ["http", "config"])]
    pub pid: Option<i32>,
    /// How long an answer is waited for
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = positive)]
    pub timeout: Duration,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// What the host answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    changes: Vec<String>,
    problems: Vec<String>,
}

/// What it answers if it does not read.
#[derive(Deserialize)]
struct Refusal {
    problem: String,
}

/// Asks, and prints to `out` what came of it.
///
/// # Errors
/// If the host cannot be asked, does not do it, or the answer cannot be written.
pub async fn run(args: &ReloadArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(pid) = args.pid {
        return by_signal(pid, args.output, out);
    }
    let Some(address) = Config::http_of(args.http.as_deref(), args.config.as_deref())? else {
        bail!(
            "the configuration has no http, so its host cannot be asked over HTTP\n  Set http = \"8222\" and \
             http-admin in it, give --http the address that the host was given, or use --pid."
        );
    };
    let address = reachable(address)?;
    let token = token_of(args).await?;
    let answered = timeout(args.timeout, ask(address, &token)).await.with_context(|| {
        let waited = humantime::format_duration(args.timeout);
        format!("{address} did not answer within {waited}: the host is stuck, or this machine is too busy")
    })??;
    let Some(answer) = read(&answered) else {
        bail!("what answers at {address} is no tidegate host; give --http the address that the host was given");
    };
    let answer = answer.map_err(|problem| anyhow::anyhow!("{}", plain(&problem)))?;
    args.output.write(out, &answer, |out| {
        if !answer.problems.is_empty() {
            writeln!(out, "nothing has changed, for the configuration has an error:")?;
        } else if answer.changes.is_empty() {
            writeln!(out, "nothing has changed")?;
        }
        answer.problems.iter().chain(&answer.changes).try_for_each(|line| writeln!(out, "{}", plain(line)))
    })?;
    Ok(if answer.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn by_signal(pid: i32, output: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let process = Pid::from_raw(pid).filter(|_| pid > 0).context("a process has a number above 0")?;
    if let Some(other) = Other::of(pid) {
        bail!(
            "{}, and nothing was sent to it: SIGHUP ends what does not expect it\n  `pgrep -a -x tidegate` shows the \
             processes of tidegate.",
            other.told(pid)
        );
    }
    kill_process(process, Signal::HUP).with_context(|| format!("SIGHUP cannot be sent to process {pid}"))?;
    let answer = serde_json::json!({ "asked": pid });
    output.write(out, &answer, |out| writeln!(out, "asked process {pid}; its log says what came of it"))?;
    Ok(ExitCode::SUCCESS)
}

/// What a process is that is no host.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    /// Another program, of this name.
    Program(String),
    /// This program, with another command.
    Command,
}

impl Other {
    /// `None` where it is a host, and where the system does not tell, as where there is no such process.
    fn of(pid: i32) -> Option<Self> {
        let said = |file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
        Self::by(&said("comm").ok()?, &said("cmdline").ok()?)
    }

    /// By what the system says of it: its name, and its arguments, of which each ends with a zero.
    fn by(name: &[u8], arguments: &[u8]) -> Option<Self> {
        let name = name.trim_ascii();
        if !name.starts_with(PROGRAM) {
            return Some(Self::Program(plain(&String::from_utf8_lossy(name))));
        }
        let runs = arguments.split(|byte| *byte == 0).any(|argument| argument == b"run");
        (!runs).then_some(Self::Command)
    }

    fn told(&self, pid: i32) -> String {
        match self {
            Self::Program(name) => format!("process {pid} is no host of tidegate but {name}"),
            Self::Command => format!("process {pid} is a command of tidegate other than run"),
        }
    }
}

/// The token of http-admin.
async fn token_of(args: &ReloadArgs) -> anyhow::Result<String> {
    if let Some(token) = token::of_environment()? {
        return Ok(token);
    }
    let has_file = ConfigFiles::of(&Flags { file: args.config.clone(), ..Flags::default() }).is_some();
    let admin = if has_file { Config::http_admin_of(args.config.as_deref())? } else { None };
    let Some(HttpAdmin { token }) = admin else {
        bail!(
            "there is no token: no {TOKEN}, and no http-admin in a configuration file here\n  Give the host one by \
             http-admin, or use --pid on its machine."
        );
    };
    let read = SettingsReader::new(&[("http-admin.token".to_owned(), token)]).read().await;
    let read = read.map_err(|fault| anyhow::anyhow!("{fault}; set {TOKEN} to it"))?;
    Ok(read.first().map(|(_, token)| token.trim().to_owned()).unwrap_or_default())
}

/// All that is answered, head and body.
async fn ask(address: SocketAddr, token: &str) -> anyhow::Result<Vec<u8>> {
    if token.bytes().any(|byte| byte.is_ascii_control()) {
        bail!("the token has a control character in it, and cannot be sent");
    }
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        // In this version the answer is in one piece, and ends with the connection.
        let request = format!(
            "POST /api/reload HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    answer.await.with_context(|| format!("no host answers at {address}: it does not run, or has another --http"))
}

/// What a host says, or why it does not do it. `None` if it is not an answer that a host gives.
fn read(answer: &[u8]) -> Option<Result<Answer, String>> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end.checked_add(4)?);
    let code = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    match code {
        "200" => serde_json::from_slice(body).ok().map(Ok),
        "421" => Some(Err(String::from_utf8_lossy(body).trim().to_owned())),
        _ => serde_json::from_slice::<Refusal>(body).ok().map(|refusal| Err(refusal.problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_host_answers_counts() {
        let done = Answer { changes: vec!["a".to_owned()], problems: Vec::new() };
        let answer = b"HTTP/1.0 200 OK\r\nx: y\r\n\r\n{\"changes\":[\"a\"],\"problems\":[]}";
        assert_eq!(read(answer), Some(Ok(done)));
        let refused = b"HTTP/1.0 403 Forbidden\r\n\r\n{\"problem\":\"no\"}";
        assert_eq!(read(refused), Some(Err("no".to_owned())));
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP/1.1 404 Not Found\r\n\r\nno", "SSH-2.0\r\n\r\n"] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_a_process_that_runs_a_host_is_one() {
        let by = |name: &str, arguments: &str| Other::by(name.as_bytes(), arguments.as_bytes());
        assert_eq!(by("tidegate\n", "tidegate\0run\0-c\0a.toml\0"), None);
        assert_eq!(by("tidegate\n", "/usr/bin/tidegate\0--log\0debug\0run\0"), None);
        assert_eq!(by("tidegate-0.9\n", "./tidegate-0.9\0run\0"), None);
        assert_eq!(by("tidegate\n", "tidegate\0dev\0"), Some(Other::Command));
        assert_eq!(by("run\n", "run\0"), Some(Other::Program("run".to_owned())));
    }
}
