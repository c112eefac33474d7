//! `tidegate health`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::output::Output;
use super::positive;
use tidegate_runtime::config::Config;
use tidegate_runtime::text::plain;

/// The most bytes of an answer: all that a host has to say, and not what a stranger at its address would send.
const MOST: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  tidegate health                                the host of ./tidegate.toml, which has http = \"8222\" or the like
  tidegate health --http 8222                    the one that was started by `tidegate run --http 8222`
  tidegate health --http 8222 --liveness         for what restarts it";

/// Asks a host over HTTP whether it is ready, and prints what keeps it from it, one thing a line.
///
/// For the health check of a container, which can run nothing but this program. It needs no NATS, no plugins and no
/// rights. Exit code 0: it is ready (or alive, with --liveness). 1: it is not, or cannot be asked. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthArgs {
    /// Where the host answers: a port, or an IP address and a port [default: http of the configuration file]
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// The configuration file of the host [default: tidegate.toml]
    #[arg(long, short, value_name = "FILE", conflicts_with = "http")]
    pub config: Option<PathBuf>,
    /// Ask only whether the process gets its tasks done (/healthz, not /readyz): no restart brings back a lost server
    #[arg(long)]
    pub liveness: bool,
    /// How long an answer is waited for
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    pub timeout: Duration,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// What the host said.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    address: SocketAddr,
    path: &'a str,
    ok: bool,
    problems: Vec<String>,
}

/// Asks, and prints to `out` what is answered.
///
/// # Errors
/// If it is not known where to ask, no host answers there, or the answer cannot be written.
pub async fn run(args: &HealthArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Some(address) = Config::http_of(args.http.as_deref(), args.config.as_deref())? else {
        bail!(
            "the configuration has no http, so its host answers nothing over HTTP\n  Set http = \"8222\" in it, or \
             give --http the address that the host was given."
        );
    };
    let address = reachable(address)?;
    let (path, fine) = if args.liveness { ("/healthz", "alive") } else { ("/readyz", "ready") };
    let text = timeout(args.timeout, ask(address, path)).await;
    let text = text.with_context(|| {
        let waited = humantime::format_duration(args.timeout);
        format!("{address} did not answer {path} within {waited}: the host is stuck, or this machine is too busy")
    })??;
    let Some(problems) = problems(&text) else {
        bail!("what answers at {address} is no tidegate host; give --http the address that the host was given");
    };
    let answer = Answer { address, path, ok: problems.is_empty(), problems };
    args.output.write(out, &answer, |out| {
        if answer.ok {
            return writeln!(out, "{fine}");
        }
        answer.problems.iter().try_for_each(|problem| writeln!(out, "{}", plain(problem)))
    })?;
    Ok(if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where to ask who listens on an address: one that means all addresses is asked on the loopback one.
pub(super) fn reachable(listening: SocketAddr) -> anyhow::Result<SocketAddr> {
    if listening.port() == 0 {
        bail!("port 0 lets the system choose one; give --http the address that the host has in its log");
    }
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listening.port()))
}

/// All that is answered, head and body.
async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    answer.await.with_context(|| format!("no host answers at {address}: it does not run, or has another --http"))
}

/// What is wrong by an answer, which is nothing if all is well. `None` if it is not one that a host gives.
fn problems(answer: &str) -> Option<Vec<String>> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    match (head.split(' ').nth(1)?, body) {
        ("200", "ok\n") => Some(Vec::new()),
        ("503", body) if !body.trim().is_empty() => Some(body.lines().map(str::to_owned).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn only_what_a_host_answers_counts() {
        assert_eq!(problems("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Some(vec![]));
        let away =
            "HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nthe NATS server is away\nworkload a does not run yet\n";
        assert_eq!(problems(away).unwrap(), ["the NATS server is away", "workload a does not run yet"]);
        for other in [
            "",
            "ok\n",
            "HTTP/1.1 200 OK\r\n\r\n<html>",
            "HTTP/1.1 503 No\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\n\r\nok\n",
        ] {
            assert_eq!(problems(other), None, "{other}");
        }
    }

    #[test]
    fn who_listens_on_all_addresses_is_asked_on_the_loopback_one() {
        for (listening, asked) in [
            ("0.0.0.0:8222", "127.0.0.1:8222"),
            ("[::]:8222", "[::1]:8222"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).unwrap(), asked.parse().unwrap());
        }
        assert!(reachable("0.0.0.0:0".parse().unwrap()).is_err());
    }
}
