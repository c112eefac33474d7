//! What comes between a consumer and a host: messages that break a client, rights that are taken away, a full buffer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use tidegate_nats_server::{Server, Version};
use tidegate_runtime::config::Config;
use tidegate_runtime::permissions::Permissions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use toml::Value;

use crate::hosts::Host;
use crate::ledger::Ledger;
use crate::patience::within;
use crate::proxy::Proxy;
use crate::row::{Form, Report, Row, row};
use crate::servers::Servers;
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(39, "hostile publisher", hostile_publisher),
    row!(44, "rights taken away in use", rights),
    row!(49, "full client buffer", full_buffer),
];

/// A message as no client library would publish it.
struct Hostile {
    subject: Vec<u8>,
    block: Vec<u8>,
}

/// With every byte that a server lets through in its subject, in the name and in the value of a header; with white
/// space of Unicode, blocks that are none, and a subject for the reply that no server takes.
fn hostile() -> Vec<Hostile> {
    let plain = b"NATS/1.0\r\nA: b\r\n\r\n";
    let mut all = Vec::new();
    let mut add = |subject: &[u8], block: &[u8]| {
        all.push(Hostile { subject: [b"in.foul.", subject].concat(), block: block.to_owned() });
    };
    for byte in 0..=255u8 {
        if !b" \t\r\n.*>".contains(&byte) {
            add(&[b'a', byte, b'b'], b"");
            add(&[b'a', byte, b'b'], plain);
        }
        if !b"\r\n".contains(&byte) {
            add(b"a", &[b"NATS/1.0\r\nA", &[byte][..], b"b: c\r\n\r\n"].concat());
            add(b"a", &[b"NATS/1.0\r\nA: b", &[byte][..], b"c\r\n\r\n"].concat());
        }
    }
    for white in "\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{b}\u{c}".chars() {
        add(format!("a{white}b").as_bytes(), b"");
        add(format!("a{white}b").as_bytes(), plain);
    }
    for block in
        [&b"NATS/1.0\r\nnothing\r\n\r\n"[..], b"NATS/1.0 odd\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"HTTP/1.0\r\n\r\n"]
    {
        add(b"a", block);
    }
    add(b"a", &[b"NATS/1.0\r\nNats-Reply: answers.", &[b'x'; 60_000][..], b"\r\n\r\n"].concat());
    all
}

/// Publishes with these payloads, and awaits that the server has taken them.
async fn publish(server: &Server, messages: impl Iterator<Item = (&Hostile, String)>) -> Result<()> {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).await?);
    let mut said = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    for (Hostile { subject, block }, payload) in messages {
        let sizes = match block.len() {
            0 => format!(" {}\r\n", payload.len()),
            block => format!(" {block} {}\r\n", block + payload.len()),
        };
        let verb: &[u8] = if block.is_empty() { b"PUB " } else { b"HPUB " };
        said.extend([verb, subject, sizes.as_bytes(), block, payload.as_bytes(), b"\r\n"].concat());
    }
    said.extend(b"PING\r\n");
    server.get_mut().write_all(&said).await?;
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        ensure!(server.read_line(&mut line).await? > 0 && !line.starts_with("-ERR"), "the server says {line:?}");
    }
    Ok(())
}

/// All of it among good messages, with a neighbour on the same host.
async fn hostile_publisher(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let mut foul = Ledger::open(&stage, "foul").await?;
    let mut good = Ledger::open(&stage, "work").await?;
    let subjects = vec!["in.foul".to_owned(), "in.foul.>".to_owned()];
    stage.js.update_stream(stream::Config { subjects, ..stage.kept("foul", "") }).await?;
    let host = stage.host(&with(work("foul", "grants.reply = ['answers.>']"), work("work", ""))).await?;
    let kinds = hostile();
    let mut sent = 0;
    for _ in 0..form.pick(1, 10) {
        for some in kinds.chunks(100) {
            foul.publish(20, |_| String::new()).await?;
            good.publish(100, |_| String::new()).await?;
            let first = foul.next();
            let payload = |id: u64| foul.payload(id, if sent == 0 { "" } else { "reply done" });
            publish(stage.servers.member(0), some.iter().zip((first..).map(payload))).await?;
            foul.count_others(some.len() as u64);
            sent += some.len();
            report.injected();
        }
    }
    let start = Instant::now();
    stage.settled("foul", form.patience()).await?;
    stage.settled("work", form.patience()).await?;
    report.recovered(start.elapsed());
    report.must(host.is_running(), "the host lives");
    let (foul, good) = (foul.audit().await?, good.audit().await?);
    report.must(foul.dead > 0 && good.dead == 0, "what cannot be read is a dead letter, and nothing else is");
    report
        .must(foul.causes.keys().all(|cause| cause == "unreadable" || cause == "answer"), format!("{:?}", foul.causes));
    let lost = host.logged(&["lost the NATS server"]);
    report.must(lost <= 1, format!("the connection was lost {lost} times"));
    report.note(format!("{sent} hostile messages cost {lost} connections; handled again: {}", good.duplicates()));
    report.count(&foul);
    report.count(&good);
    Ok(report)
}

/// A server on which everybody may do everything, but the host only what is here.
fn guarded(permissions: &Permissions, newer: bool) -> String {
    let flags = if newer { "feature_flags { js_ack_fc_v2: true }\n" } else { "" };
    format!(
        "{flags}no_auth_user: all\nauthorization {{ users: [ {{ user: all, password: all }}\n{{ user: host, password: \
         some\n{permissions}\n}} ] }}"
    )
}

async fn permit(stage: &mut Stage, permissions: &Permissions, newer: bool) -> Result<()> {
    let server = stage.servers.member(0);
    let log = server.log_file();
    let reloads = || std::fs::read_to_string(&log).unwrap_or_default().matches("Reloaded server configuration").count();
    let before = reloads();
    server.configure(&guarded(permissions, newer));
    server.reload()?;
    within(Duration::from_secs(10), "the server has other permissions", async || reloads() > before).await?;
    Ok(())
}

/// Each right that a host needs while it works, taken away for three ack waits with messages on their way.
async fn rights(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let over = "ack-wait = '1s'\nretry = { max-attempts = 2 }\npolicy-settings.workers = '4'";
    let mut config = work("work", over);
    config.insert("http".to_owned(), Value::from("127.0.0.1:0"));
    let mut named = config.clone();
    named.insert("nats".to_owned(), "inbox-prefix = '_INBOX_host'".parse::<toml::Table>()?.into());
    let needed = Config::from_toml(&named.to_string()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let all = Permissions::of(&needed);
    let servers = Servers::one("").await?;
    let mut stage = Stage::on(servers).await?;
    // Acks have another form there if the server is told so, and only a start tells it.
    let newer = stage.servers.member(0).version() >= &Version::new(2, 14, 0);
    stage.servers.member(0).configure(&guarded(&all, newer));
    stage.servers.member(0).restart().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let url = format!("nats://host:some@127.0.0.1:{}", stage.servers.member(0).port());
    let mut text: toml::Table = toml::from_str(&stage.config_to(&[url], &config))?;
    if let Some(nats) = text.get_mut("nats").and_then(Value::as_table_mut) {
        nats.insert("inbox-prefix".to_owned(), Value::from("_INBOX_host"));
    }
    let host = stage.launch(&text.to_string(), &[])?;
    host.ready(1).await?;
    let ack = if newer { "$JS.ACK.*.*.work.work-workers.>" } else { "$JS.ACK.work.work-workers.>" };
    let wanted = [ack, "$JS.API.CONSUMER.MSG.NEXT.work.work-workers", "_INBOX_host.>", "out.>"];
    for subject in wanted {
        ledger.publish(form.pick(100, 5_000), |_| "sleep 5".to_owned()).await?;
        let mut less = all.clone();
        ensure!(less.publish.remove(subject).or(less.subscribe.remove(subject)).is_some(), "{subject} is not needed");
        permit(&mut stage, &less, newer).await?;
        report.injected();
        ledger.publish(50, |_| "sleep 5".to_owned()).await?;
        awaits(&host, "/readyz", 503, &format!("not ready without {subject}"), form).await?;
        let shown = if subject == "out.>" { "out.work" } else { subject };
        report.must(host.logged(&["ERROR", shown]) > 0, format!("{subject} is named"));
        tokio::time::sleep(Duration::from_secs(form.pick(1, 20))).await;
        permit(&mut stage, &all, newer).await?;
        let start = Instant::now();
        stage.settled("work", form.patience()).await?;
        report.recovered(start.elapsed());
        awaits(&host, "/readyz", 200, &format!("ready with {subject} again"), form).await?;
    }
    report.must(host.is_running(), "the host lives");
    let again = stage.consumer("work").await?.delivered.consumer_sequence - ledger.next();
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("no dead letter: {:?}", audit.causes));
    report.count(&audit);
    report.note(format!("redelivered {again} of {}", ledger.next()));
    Ok(report)
}

async fn awaits(host: &Host, path: &str, code: u16, what: &str, form: Form) -> Result<()> {
    within(form.patience(), what, async || host.get(path).await == Some(code)).await?;
    Ok(())
}

/// More workers than the client library can hold deliveries for; and a connection that is cut again and again under one
/// worker.
async fn full_buffer(form: Form) -> Result<Report> {
    /// Half of what a subscription of the client library holds.
    const MOST: usize = 1 << 15;
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let mut many = Ledger::open_without_raw(&stage, "many").await?;
    let mut one = Ledger::open_without_raw(&stage, "one").await?;
    let proxy = Proxy::to(stage.servers.member(0).port()).await?;
    let workers = form.pick(200, 2_000);
    let over = format!(
        "ack-wait = '30s'\nmax-ack-pending = 4000000\npolicy-settings.workers = '{workers}'\nscale.max = \
         {workers}\npull.batch = 1000"
    );
    let single = "ack-wait = '30s'\nmax-ack-pending = 100000\npolicy-settings.workers = '1'\npull.batch = 100";
    let host = stage.host_to(&[proxy.url()], &with(work("many", &over), work("one", single))).await?;
    // Quick ones first, so that the host fetches as much ahead as it may.
    many.publish(2_000, |_| String::new()).await?;
    one.publish(500, |_| String::new()).await?;
    stage.settled("many", form.patience()).await?;
    stage.settled("one", form.patience()).await?;
    let (held, last) = (form.pick(40_000, 200_000), form.pick(3_000, 20_000));
    // All that was asked for comes at once to a host that stands still.
    host.pause()?;
    many.publish(held, |_| String::new()).await?;
    report.injected();
    let most = stage.consumer("many").await?.num_ack_pending;
    host.resume()?;
    stage.settled("many", form.patience()).await?;
    report.must((1..=MOST).contains(&most), format!("{most} deliveries of one subscription were unsettled"));
    let mut cut_most = 0;
    one.publish(last, |_| "sleep 1".to_owned()).await?;
    for _ in 0..form.pick(5, 30) {
        proxy.cut();
        report.injected();
        for _ in 0..10 {
            cut_most = cut_most.max(stage.consumer("one").await?.num_ack_pending);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    report.note(format!(
        "unsettled at most {most} with {workers} workers, and {cut_most} with one while its connection is cut"
    ));
    stage.settled("one", Duration::from_secs(120)).await?;
    report.must(host.logged(&["slow consumer"]) == 0, "the client library drops nothing");
    report.must(host.is_running(), "the host lives");
    report.count(&many.audit().await?);
    report.count(&one.audit().await?);
    Ok(report)
}
