//! `tidegate check`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::check_plugins::PluginFiles;
use super::flags::ConfigFlags;
use super::output::Output;
use tidegate_runtime::config::{Config, KeyLocator, Plugins, Workload, process_environment};
use tidegate_runtime::contract::Fault;
use tidegate_runtime::digest::Digest;
use tidegate_runtime::jetstream::{Client, ConnectError, Finding, PluginBucket, ServerCheck};
use tidegate_runtime::permissions::Permissions;
use tidegate_runtime::plugin::{
    HandlerPlugin, HttpAccess, PluginHost, PolicyContext, PolicyPlugin, SettingsReader, Wanted,
};
use tidegate_runtime::text::plain;

const EXAMPLES: &str = "\
Examples:
  tidegate check                                 what ./tidegate.toml says
  tidegate check --connect                       and what its servers have for it
  tidegate check -c prod.toml --output json
  tidegate check --stream ORDERS --handler receipts --policy backlog --policy-setting pending-per-worker=100";

/// Checks the configuration and the plugins, without a server and without handling a message.
///
/// Plugins are compiled and started once, and policies get their settings. With --connect the servers are looked at
/// too: streams, consumers, subjects that handlers may publish on and no stream takes, and permissions; nothing is made
/// or changed there. Exit code 0: all can run. 1: something cannot; each problem is one line.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// Look at the servers too
    #[arg(long)]
    pub connect: bool,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub flags: ConfigFlags,
}

/// What was checked.
#[derive(Debug, Default, Serialize)]
struct CheckReport {
    ok: bool,
    workloads: Vec<CheckedWorkload>,
    /// What can run, and maybe should not.
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<CheckedServers>,
    problems: Vec<String>,
}

/// What the servers have.
#[derive(Debug, Default, Serialize)]
struct CheckedServers {
    /// Of the host's own.
    version: String,
    /// What a host would make.
    made: Vec<String>,
    /// What could not be looked at, and why.
    unchecked: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CheckedWorkload {
    workload: String,
    handler: Option<String>,
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Option<String>>,
}

/// Checks, and prints the answer to `out`.
///
/// # Errors
/// If the answer cannot be written or compiled code cannot be cached.
pub async fn run(args: CheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut answer = CheckReport::default();
    match Config::load(&args.flags.0, &process_environment()) {
        Ok(config) => {
            let files = Box::pin(plugin_files(&config, args.connect, &mut answer)).await?;
            if let Some(files) = &files {
                plugins(&config, files, &mut answer).await?;
            }
            if args.connect {
                servers(&config, &KeyLocator::of(&args.flags.0), &mut answer).await;
            }
        }
        Err(errors) => answer.problems = errors.0.iter().map(ToString::to_string).collect(),
    }
    answer.ok = answer.problems.is_empty();
    args.output.write(out, &answer, |out| text(&answer, out))?;
    Ok(if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(answer: &CheckReport, out: &mut impl Write) -> std::io::Result<()> {
    for CheckedWorkload { workload, handler, policy, shadow } in &answer.workloads {
        let shown = |generation: &Option<String>| generation.clone().unwrap_or_else(|| "cannot run".to_owned());
        write!(out, "workload {workload}: handler {}, policy {}", shown(handler), shown(policy))?;
        match shadow {
            Some(shadow) => writeln!(out, ", shadow {}", shown(shadow))?,
            None => writeln!(out)?,
        }
    }
    for warning in &answer.warnings {
        writeln!(out, "warning: {}", plain(warning))?;
    }
    if let Some(CheckedServers { version, made, unchecked }) = &answer.servers {
        writeln!(out, "nats-server {version}")?;
        for made in made {
            writeln!(out, "not there yet, a host makes it: {made}")?;
        }
        for unchecked in unchecked {
            writeln!(out, "not looked at: {}", plain(unchecked))?;
        }
    }
    // A policy's refusal is in a guest's words.
    for line in answer.problems.iter().flat_map(|problem| problem.lines()) {
        writeln!(out, "{}", plain(line))?;
    }
    match answer.problems.len() {
        0 if answer.servers.is_none() => writeln!(out, "all can run; --connect looks at the servers too"),
        0 => writeln!(out, "all can run"),
        1 => writeln!(out, "1 problem"),
        count => writeln!(out, "{count} problems"),
    }
}

/// Looks at what the servers have: the host's, and those of accounts that workloads have for themselves.
async fn servers(config: &Config, keys: &KeyLocator, answer: &mut CheckReport) {
    match Client::connect(&config.nats).await {
        Ok(client) => {
            let survey = client.survey(config).await;
            let version = client.server_version();
            answer.servers = Some(CheckedServers { version, ..CheckedServers::default() });
            found(survey, keys, answer);
        }
        Err(error) => unreachable(&error, &["nats"], keys, answer),
    }
    for (workloads, needed) in Permissions::of_accounts(config) {
        let Some(first) = workloads.first() else { continue };
        match Client::connect(config.nats_of(first)).await {
            Ok(client) => found(client.survey_account(config, &workloads, &needed).await, keys, answer),
            Err(error) => unreachable(&error, &["workload", &first.name, "nats"], keys, answer),
        }
    }
}

/// Adds what was found on one connection.
fn found(survey: ServerCheck, keys: &KeyLocator, answer: &mut CheckReport) {
    let ServerCheck { found, warnings, made, unchecked } = survey;
    answer.warnings.extend(warnings);
    for Finding { key, problem, remedy } in &found {
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        answer.problems.push(keys.error(&key, problem, remedy).to_string());
    }
    if let Some(servers) = &mut answer.servers {
        servers.made.extend(made.into_iter().map(|made| made.said));
        servers.unchecked.extend(unchecked);
    }
}

/// Adds that there is no connection.
fn unreachable(error: &ConnectError, key: &[&str], keys: &KeyLocator, answer: &mut CheckReport) {
    let text = error.to_string();
    let (problem, remedy) = text.split_once("\n  ").unwrap_or((&text, "see what the server says"));
    let remedy = match key {
        // Flags and variables are not for it.
        ["workload", ..] if remedy.contains(" --") => "correct this table",
        _ => remedy,
    };
    let error = keys.error(key, problem, remedy.replace("\n  ", " ").trim_end_matches('.'));
    answer.problems.push(error.to_string());
}

/// Where the plugins are. `None` if they cannot be looked at, which is told.
async fn plugin_files(config: &Config, connect: bool, answer: &mut CheckReport) -> anyhow::Result<Option<PluginFiles>> {
    answer.warnings.extend(config.warnings());
    for workload in &config.workloads {
        answer.warnings.extend(workload.warnings().iter().map(|said| format!("workload {}: {said}", workload.name)));
    }
    let Some(bucket) = &config.plugins.origin.bucket else {
        let files = PluginFiles::in_directory(config, connect, &mut answer.problems).await?;
        let unseen = files.iter().flat_map(PluginFiles::unseen);
        let told = "is not looked at without its registry; --connect looks at it";
        answer.warnings.extend(unseen.map(|plugin| format!("{plugin} {told}")));
        return Ok(files);
    };
    if !connect {
        let told = "plugins come from the bucket {}, and are not looked at without a server; --connect looks at them";
        answer.warnings.push(told.replace("{}", bucket));
        return Ok(None);
    }
    // That there is no connection is told with what the servers have.
    let Ok(client) = Client::connect(&config.nats).await else { return Ok(None) };
    let forgetting = PluginBucket::new(client.clone(), bucket).forgetting().await;
    answer.warnings.extend(forgetting.map(|why| format!("the plugin bucket {bucket}: {why}")));
    PluginFiles::in_bucket(bucket, &client, config, &mut answer.problems).await.map(Some)
}

async fn plugins(config: &Config, files: &PluginFiles, answer: &mut CheckReport) -> anyhow::Result<()> {
    let plugins = Plugins { compile: config.plugins.compile.clone().by_this_program()?, ..config.plugins.clone() };
    let host = PluginHost::start(&plugins)?;
    for workload in &config.workloads {
        let handler = handler(&host, files, workload).await;
        answer.warnings.extend(mismatches(&host, files, workload));
        let settings = ("policy-settings", &workload.policy_settings[..]);
        let live = policy(&host, files, workload, (&workload.policy, workload.policy_pin.as_ref()), settings).await;
        let shadow = match &workload.shadow {
            Some(shadow) => {
                let settings = ("shadow.policy-settings", &shadow.settings[..]);
                Some(policy(&host, files, workload, (&shadow.policy, shadow.pin.as_ref()), settings).await)
            }
            None => None,
        };
        let mut keep = |result: Result<String, String>| {
            result.map_err(|problem| answer.problems.push(format!("workload {}: {problem}", workload.name))).ok()
        };
        let (handler, policy, shadow) = (keep(handler), keep(live), shadow.map(&mut keep));
        let checked = CheckedWorkload { workload: workload.name.clone(), handler, policy, shadow };
        answer.workloads.push(checked);
    }
    Ok(())
}

/// What a person should know of what a handler imports and is not granted, or is granted and cannot use.
fn mismatches(host: &PluginHost, files: &PluginFiles, workload: &Workload) -> Vec<String> {
    let file = files.file(&workload.handler);
    let Ok(inspection) = host.inspect(&file) else { return Vec::new() };
    let imports = |package: &str| inspection.needs.iter().any(|import| import.starts_with(package));
    let grants = &workload.grants;
    let asks = imports("wasmcloud:messaging/consumer");
    let told = [
        (
            imports("wasi:http/") && grants.http.is_empty(),
            "imports wasi:http, and grants.http grants it nothing: each of its requests is denied",
        ),
        (
            imports("wasi:keyvalue/") && grants.kv.is_empty(),
            "imports wasi:keyvalue, and grants.kv grants it nothing: each of its operations is denied",
        ),
        (
            !imports("wasi:http/") && !grants.http.is_empty(),
            "does not import wasi:http, so what grants.http grants it is of no use to it",
        ),
        (
            !imports("wasi:keyvalue/") && !grants.kv.is_empty(),
            "does not import wasi:keyvalue, so what grants.kv grants it is of no use to it",
        ),
        (
            !asks && !grants.request.is_empty(),
            "does not import wasmcloud:messaging/consumer, so what grants.request grants it is of no use to it",
        ),
        (
            inspection.messages && !asks && !grants.publish.is_empty(),
            "does not import wasmcloud:messaging/consumer, so what grants.publish grants it is of no use to it",
        ),
        (
            inspection.messages && !grants.nats_headers.is_empty(),
            "has no headers in its interface, so what grants.nats-headers grants it is of no use to it",
        ),
    ];
    let told = told.into_iter().filter(|(holds, _)| *holds);
    let shown = files.show(&workload.handler);
    told.map(|(_, what)| format!("workload {}: its handler {shown} {what}", workload.name)).collect()
}

async fn handler(host: &PluginHost, files: &PluginFiles, workload: &Workload) -> Result<String, String> {
    if let Some(absent) = files.absent(&workload.handler) {
        return absent;
    }
    let file = files.file(&workload.handler);
    let loaded = host.load_as(&file, &workload.limits, &Wanted::handler(workload)).await;
    let plugin: HandlerPlugin = loaded.map_err(|error| files.refused(&workload.handler, error))?;
    let ready = async {
        HttpAccess::new(workload).ready().await?;
        SettingsReader::new(&workload.settings).read().await
    };
    match ready.await {
        Ok(_) => Ok(format!("{} {}", workload.handler, plugin.generation().digest)),
        Err(Fault::Start(why)) => Err(format!("its handler {why}")),
        Err(fault) => Err(format!("its handler {fault}")),
    }
}

async fn policy(
    host: &PluginHost,
    files: &PluginFiles,
    workload: &Workload,
    (name, pin): (&str, Option<&Digest>),
    (key, settings): (&str, &[(String, String)]),
) -> Result<String, String> {
    if let Some(absent) = files.absent(name) {
        return absent;
    }
    let file = files.file(name);
    let loaded = host.load_as(&file, &workload.limits, &Wanted::policy(pin)).await;
    let plugin: PolicyPlugin = loaded.map_err(|error| files.refused(name, error))?;
    let context = PolicyContext::new(Arc::from(workload.name.as_str()), workload.limits.clone());
    let problem = match plugin.init(&context, settings, None).await {
        Ok(Ok(_)) => return Ok(format!("{name} {}", plugin.generation().digest)),
        Ok(Err(refusal)) => format!("it refuses its settings: {refusal}; correct the workload's {key}"),
        Err(fault @ Fault::Start(_)) => format!("it {fault}; correct the policy"),
        Err(fault) => format!("its init {fault}; correct the policy or the workload's {key}"),
    };
    Err(format!("{}: {problem}", files.show(name)))
}
