//! What happens without one of the permissions that a host needs, and when they are taken away while it runs.

use std::time::Duration;

use tidegate_runtime::config::{Config, Workload};
use tidegate_runtime::events::Event;

use super::permissions::{guarded, has_newer_acks, inbox, needed, site, text, without, workloads};
use super::{Way, configured};
use crate::support::cli::Running;
use crate::support::host::Host;
use crate::support::nats::nats;
use crate::support::site::{DEAD, Site};
use crate::support::web::get;
use crate::support::{eventually, log};

/// Gives the host's user other permissions, and awaits that the server has taken them.
async fn permit(site: &Site, permissions: &str) {
    let mut server = site.server.lock().await;
    let log = server.log_file();
    let reloads = || std::fs::read_to_string(&log).unwrap().matches("Reloaded server configuration").count();
    let before = reloads();
    server.configure(&guarded(permissions));
    server.reload().unwrap();
    eventually("the server has other permissions", async || reloads() > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_lacks_a_permission_to_begin_says_which_and_does_not_keep_the_other() {
    let text = text("begin", "create");
    let all = needed(&text);
    // What is only needed when something goes wrong or goes out shows then.
    let letters = format!("$JS.API.STREAM.MSG.GET.{DEAD}");
    let later = ["tidegate.dead.begin-i", "tidegate.dead.begin-h", &letters, "out.>", "_INBOX.>"];
    let at_once = all.publish.keys().chain(all.subscribe.keys()).filter(|subject| !later.contains(&subject.as_str()));
    let mut tried = 0;
    for subject in at_once {
        tried += 1;
        // Older servers never send such, so it is not asked for.
        if subject.starts_with("$JS.ACK.*") && !has_newer_acks(&nats().await) {
            continue;
        }
        let site = site(&without(&all, subject), Some(&inbox("begin"))).await;
        let host = Host::launch(site, Duration::from_secs(1), workloads(&text));
        let allow = format!("to `{subject}`; `tidegate permissions` prints all");
        log::logged(&["\"ERROR\"", "\"part\":\"setup\"", "does not let this user", &allow]).await;
        let names = ["begin-i", "begin-h"];
        let ready =
            |name: &str| host.count(|event| matches!(event, Event::Ready { workload } if &**workload == name)) > 0;
        if let Some(lacks) = names.iter().position(|name| subject.contains(name)) {
            eventually("the other one runs", async || ready(names[1 - lacks])).await;
        }
        assert!(names.iter().any(|name| !ready(name)), "without {subject} both run");
        host.stop().await;
    }
    // Two streams, three consumers, and the stream of dead letters.
    assert_eq!(tried, 2 * 3 + 3 * 5 + 2 + 1);
}

/// A host without `subject`, at a site with the stream OUT.
async fn host_without(name: &str, subject: &str) -> Host {
    let text = text(name, "create");
    let site = site(&without(&needed(&text), subject), Some(&inbox(name))).await;
    site.stream("OUT", &["out.>"]).await;
    Host::start_at(site, workloads(&text)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_to_keep_dead_letters_the_message_stays_until_it_is_given() {
    let host = host_without("grave", "tidegate.dead.grave-i").await;
    host.publish("in.grave-i.a", "reject me").await;
    log::logged(&["\"ERROR\"", "does not let this user publish", "\"allow\":\"tidegate.dead.grave-i\""]).await;
    log::logged(&["the dead letter could not be kept", "does not let this host publish on `tidegate.dead.grave-i`"])
        .await;
    assert_eq!(host.consumer("grave-i").await.num_ack_pending, 1);
    permit(&host, &needed(&text("grave", "create")).to_string()).await;
    host.stored_count(DEAD, 1).await;
    host.settled("grave-i").await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_to_publish_a_message_waits_and_the_host_says_what_to_allow() {
    let host = host_without("mute", "out.>").await;
    let mut wire = host.settlements("mute-i").await;
    host.publish("in.mute-i.a", "publish out.mute x").await;
    log::logged(&["does not let this user publish", "\"allow\":\"out.mute\"", "tidegate permissions"]).await;
    assert!(wire.settlement("mute-i").await.starts_with("-NAK"));
    log::logged(&["\"mute-i\"", "\"effects\"", "does not let this host publish on `out.mute`"]).await;
    assert_eq!(log::count(&["does not let this user publish", "\"allow\":\"out.mute\""]), 1);
    assert!(host.stored(DEAD).await.is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_to_reply_messages_are_handled_and_the_log_says_why_nobody_hears() {
    let host = host_without("deaf", "_INBOX.>").await;
    let inbox = host.client.new_inbox();
    host.publish_with("in.deaf-i.a", &[("Nats-Reply", &inbox)], "publish out.deaf x\nreply done").await;
    log::logged(&[&inbox, "\"ERROR\"", "does not let this user publish", "\"allow\":\"_INBOX.>\""]).await;
    host.settled("deaf-i").await;
    host.stored_count("OUT", 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_taken_away_from_a_running_host_cost_no_message() {
    let text = text("taken", "create");
    let all = needed(&text);
    let site = site(&all.to_string(), Some(&inbox("taken"))).await;
    site.stream("OUT", &["out.>"]).await;
    let host = Host::start_at(site.clone(), workloads(&text).into_iter().map(patient).collect()).await;
    assert_eq!(site.request("in.taken-i.a", "reply done").await, "done");

    let (next, ack, ears) =
        ("$JS.API.CONSUMER.MSG.NEXT.taken-i.taken-i-workers", "$JS.ACK.taken-i.taken-i-workers.>", "_INBOX_taken.>");
    for (turn, subject) in [next, ack, ears].into_iter().enumerate() {
        permit(&site, &without(&all, subject)).await;
        let id = format!("out.taken.{turn}");
        site.publish("in.taken-i.a", format!("publish {id} x")).await;
        log::logged(&["\"ERROR\"", "does not let this user", &format!("\"allow\":\"{subject}\"")]).await;
        permit(&site, &all.to_string()).await;
        site.settled("taken-i").await;
        let stored = site.stored("OUT").await;
        assert_eq!(stored.iter().filter(|message| message.subject.as_str() == id).count(), 1, "{subject}");
    }
    assert!(site.stored(DEAD).await.is_empty());
    let ended = |event: &Event| matches!(event, Event::Failed { dead: true, .. });
    assert_eq!(host.count(ended), 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_read_the_signals_that_is_taken_away_is_named_until_it_is_given_back() {
    let text = text("blind", "create");
    let all = needed(&text);
    let site = site(&all.to_string(), Some(&inbox("blind"))).await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads: workloads(&text), ..site.config() });
    let address = host.address().await;
    host.ready(2).await;
    for subject in ["$JS.API.STREAM.INFO.blind-i", "$JS.API.CONSUMER.INFO.blind-i.blind-i-workers"] {
        permit(&site, &without(&all, subject)).await;
        let said = async |part: &str| get(&address, "/readyz").await.1.contains(part);
        let denied = format!("the NATS server does not let this user publish to `{subject}`; allow it");
        eventually(&denied, async || said(&denied).await).await;
        assert!(said("workload blind-i: signals: ").await && !said("workload blind-h: signals: ").await);
        permit(&site, &all.to_string()).await;
        eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_lacks_is_named_as_the_subject_to_allow() {
    let text = format!("journal.stream = \"DECIDED\"\n{}", text("untold", "create"));
    let all = needed(&text);
    for subject in ["$JS.API.STREAM.INFO.DECIDED", "tidegate.journal.untold-i"] {
        let site = site(&without(&all, subject), Some(&inbox("untold"))).await;
        let Config { journal, workloads, .. } = Config::from_toml(&text).unwrap();
        let _host = Host::run(site.clone(), Config { journal, workloads, ..site.config() });
        let denied = format!("the NATS server does not let this user publish to `{subject}`; allow it");
        log::logged(&["\"ERROR\"", "journal", "DECIDED", &denied]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_ack_any_more_handles_nothing_until_it_may_and_buries_nothing() {
    let text = text("mute2", "create");
    let all = needed(&text);
    let site = site(&all.to_string(), Some(&inbox("mute2"))).await;
    site.stream("OUT", &["out.>"]).await;
    let mut workloads = workloads(&text);
    for workload in &mut workloads {
        workload.retry.max_attempts = 5;
    }
    let host = Host::start_at(site.clone(), workloads).await;
    assert_eq!(site.request("in.mute2-i.a", "reply done").await, "done");
    let ack = "$JS.ACK.mute2-i.mute2-i-workers.>";
    permit(&site, &without(&all, ack)).await;
    site.publish("in.mute2-i.a", "publish out.mute2.first x").await;
    log::logged(&["\"ERROR\"", "nothing can be settled", ack, "mute2-i"]).await;
    // It is handled already, and these are not.
    site.publish_all("in.mute2-i.a", (0..20).map(|id| format!("publish out.mute2.{id} x"))).await;
    let stream = site.js.get_stream("mute2-i").await.unwrap();
    // Its ack wait is over and it would be delivered again, to whoever asks.
    eventually("nobody asks", async || stream.consumer_info("mute2-i-workers").await.unwrap().num_waiting == 0).await;
    permit(&site, &all.to_string()).await;
    log::logged(&["works again", "settlement", "mute2-i"]).await;
    site.settled("mute2-i").await;
    let stored = site.stored("OUT").await;
    for id in 0..20 {
        assert!(stored.iter().any(|message| message.subject.as_str() == format!("out.mute2.{id}")), "{id}");
    }
    let dead = site.stored(DEAD).await;
    assert!(dead.is_empty(), "{:?}", dead.iter().map(|letter| &letter.headers).collect::<Vec<_>>());
    host.stop().await;
}

/// Tries for ever.
fn patient(mut workload: Workload) -> Workload {
    workload.retry.max_attempts = 1_000_000;
    workload
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_needs_its_subject_and_its_inbox_and_no_jetstream_api() {
    let permissions = "permissions { publish { allow: [ \"in.ask-i.>\" ] }, subscribe { allow: [ \"_INBOX.>\" ] } }";
    let asker = format!("{{ user: asker, password: some\n{permissions}\n}}");
    let server = configured(format!("authorization {{ users: [ {{ user: admin, password: all }}\n{asker} ] }}")).await;
    let way = |more: &[&str]| Way::to(&server, &[&["--user", "asker", "--password", "some"][..], more].concat());
    let ask = async |subject: &str, more: &[&str]| {
        Running::start(way(more).command(&["request", subject, "reply done"])).end().await
    };
    // No stream takes it, but it could be sent.
    ask("in.ask-i.a", &[]).await.failed_with(1, &["no stream takes `in.ask-i.a`"]);
    let denied = "does not let this user";
    ask("in.other.a", &[]).await.failed_with(1, &[denied, "publish to `in.other.a`", "Allow it to publish"]);
    let deaf = ask("in.ask-i.a", &["--inbox-prefix", "_INBOX_other"]).await;
    deaf.failed_with(1, &[denied, "Allow it to subscribe to `_INBOX_other.>`"]);
}
