//! `tidegate simulate`.

mod limit_args;
mod policy_settings;
mod ranges;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::task::{JoinHandle, spawn_blocking};

use super::check_plugins::refused;
#[cfg(feature = "guests")]
use super::live::{self, LiveArgs};
use super::output::{ReportFormat, json_line};
use super::{picture, positive, whole_number};
use limit_args::LimitArgs;
use policy_settings::{PolicySetting, names, setting, settings};
use ranges::{generated, interval, number, start_delay};
use tidegate_lab::simulate::generate::Generator;
use tidegate_lab::simulate::parse::{ServiceTimeSource, samples};
use tidegate_lab::simulate::report::SimulationReport;
use tidegate_lab::simulate::{
    Arrivals, KeyModel, Model, Outage, RetryModel, SimulationOutcome, bound, chart, recorded, run as simulate, text_of,
    trace,
};
use tidegate_lab::terminal::{Bar, Terminal};
use tidegate_runtime::config::{Compile, Limits, Plugins, Scale, SignalSource, StartLimits};
use tidegate_runtime::contract::Fault;
use tidegate_runtime::plugin::{PluginHost, PolicyContext, PolicyPlugin};

/// The workload's name, which a policy's random numbers are made from.
const WORKLOAD: &str = "simulate";
/// The most messages: a simulated day of them takes minutes.
const MOST: u64 = 10_000_000_000;
/// Characters of the picture in the terminal.
const WIDTH: usize = 80;
/// How often a run tells how far it is.
const STEPS: u64 = 100;

const EXAMPLES: &str = "\
Examples:
  tidegate simulate --policy plugins/step.wasm --policy plugins/backlog.wasm --trace day.csv --service exponential:200ms
  tidegate simulate --policy plugins/backlog.wasm --policy-setting pending-per-worker=50 --generate diurnal:1:200 \
    --duration 24h
  tidegate simulate --policy plugins/fixed.wasm --policy plugins/fixed.wasm --policy-setting fixed.workers=4 \\
    --policy-setting fixed-2.workers=6 --generate poisson:18 --service log-normal:200ms:1.5 --output json";

/// Policies against a trace, simulated: what they would cost and how long messages would wait.
///
/// Drives the real policy components. The lower bound is the work, and the fewest workers that --min allows: no policy
/// that meets the objective costs less, and where workers take long to start none comes near. The same seed gives the
/// same answer on any machine. Exit code 0: simulated. 1: a trace, a policy or its settings cannot be used.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("arrivals").required(true).args(["trace", "journal", "generate"])))]
pub struct SimulateArgs {
    /// A policy's file; more of them are simulated side by side
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Vec<PathBuf>,
    /// A setting of a policy, which is named by its file's stem, with -2, -3, ... for a stem that came before; the name
    /// can be left out where there is one policy
    #[arg(long = "policy-setting", value_name = "[POLICY.]KEY=VALUE", value_parser = setting)]
    pub policy_settings: Vec<PolicySetting>,
    /// Arrivals to simulate: CSV with the columns second,arrivals
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Arrivals that a host has written down; may be given several times, the oldest first
    #[arg(long, value_name = "FILE", conflicts_with = "trace")]
    pub journal: Vec<PathBuf>,
    /// The workload of the journal [default: the only one]
    #[arg(long, value_name = "NAME", requires = "journal", conflicts_with_all = ["trace", "generate"])]
    pub workload: Option<String>,
    /// Arrivals to make: constant:RATE, poisson:RATE, burst:LOW:HIGH:EVERY:LENGTH, diurnal:LOW:HIGH:PERIOD,
    /// ramp:FROM:TO
    #[arg(long, value_name = "KIND")]
    pub generate: Option<Generator>,
    /// For how long arrivals are made, 366 days at most [default: 1h]
    #[arg(long, value_name = "TIME", requires = "generate", value_parser = generated)]
    #[arg(conflicts_with_all = ["trace", "journal"])]
    pub duration: Option<Duration>,
    /// Multiply the number of messages of each row
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub arrival_scale: f64,
    /// How long an attempt takes: constant:TIME, exponential:MEAN, log-normal:MEAN:VARIATION, measured:FILE
    #[arg(long, value_name = "KIND", default_value = "exponential:100ms")]
    pub service: ServiceTimeSource,
    /// The share of attempts that fail, and after which delay they are tried again
    #[arg(long, value_name = "SHARE:DELAY")]
    pub retry: Option<RetryModel>,
    /// A time in which what is behind the handler does not work, so that each attempt that begins fails: FROM..TO, such
    /// as 60s..120s. Without --retry they are tried again after the delays that a host has by default
    #[arg(long, value_name = "FROM..TO")]
    pub outage: Option<Outage>,
    /// How many keys messages have that are handled one after the other, as with order-key (but for
    /// --per-key-max-in-flight), and how they are spread: N or N:uniform, all keys alike; N:zipf, the second has half
    /// of what the first has, the third a third of it
    #[arg(long, value_name = "N[:SPREAD]")]
    pub keys: Option<KeyModel>,
    /// From the start of a worker until it takes a message
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = start_delay)]
    pub start_delay: Duration,
    /// The fewest workers
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u32>(0..=100_000))]
    pub min: u32,
    /// The most workers
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole_number::<u32>(1..=100_000))]
    pub max: u32,
    /// Time between decisions
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// What rates are measured over [default: 5s, or the interval if that is longer]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub window: Option<Duration>,
    /// The most deliveries a worker holds at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole_number::<u32>(1..=10_000))]
    pub batch: u32,
    /// The longest wait within the objective, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = whole_number::<u32>(0..))]
    pub slo_ms: u32,
    /// The share of messages that have to be within the objective
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, value_parser = share)]
    pub slo_share: f64,
    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Draw arrivals, workers and waits over time as a picture, too; those of the simulation
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: ReportFormat,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub limits: LimitArgs,
    #[allow(missing_docs)]
    #[command(flatten)]
    #[cfg(feature = "guests")]
    pub live: LiveArgs,
}

fn factor(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1e6)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0)
}

/// Simulates and prints to `out`. `interrupted` makes what ends when the user wants a live run to end.
///
/// # Errors
/// If the arrivals, a policy or its settings cannot be used, or the answer cannot be written.
pub async fn run<F: Future<Output = ()>>(
    args: SimulateArgs,
    terminal: &Terminal,
    out: &mut impl Write,
    #[cfg_attr(not(feature = "guests"), expect(unused_variables, reason = "only a live run takes long"))]
    interrupted: impl FnOnce() -> std::io::Result<F>,
) -> anyhow::Result<ExitCode> {
    let (source, arrivals) = arrivals(&args)?;
    let (model, compared) = models(&args)?;
    #[cfg(feature = "guests")]
    if let Some(faster) = args.live.live {
        live::check(&model, &arrivals, faster)?;
    }
    let policies = load(&args).await?;
    // Whether it can be written is told before the run, which may be long.
    args.plot.as_deref().map(picture::check).transpose()?;
    let arrivals = Arc::new(arrivals);
    let policies: Vec<_> =
        policies.into_iter().flat_map(|policy| policy.with_each(&model, compared.as_ref())).collect();
    let bar = terminal.bar(STEPS * u64::try_from(policies.len())?);
    bar.say(format!("{} messages", arrivals.total()));
    let bounding = {
        let (model, arrivals) = (model.clone(), arrivals.clone());
        spawn_blocking(move || bound(&model, &arrivals, args.slo_share))
    };
    let runs: Vec<_> = policies.into_iter().map(|(policy, model)| policy.start(model, &arrivals, &bar)).collect();
    let mut outcomes = Vec::new();
    for run in runs {
        outcomes.push(run.await.context("a simulation ended early")??);
    }
    let bound = bounding.await.context("the bound's computation ended early")??;
    drop(bar);
    for (name, outcome) in &outcomes {
        warn(name, outcome);
    }
    let report = SimulationReport::new(source, f64::from(args.slo_ms), args.slo_share, bound as f64 / 1e9, &outcomes);
    if let Some(file) = &args.plot {
        picture::write(file, &chart::svg(&report.trace, &arrivals, model.objective, &outcomes)?)?;
    }
    #[cfg(feature = "guests")]
    if let Some(faster) = args.live.live {
        let simulated = simulated(&args, &outcomes)?;
        let run = live::run(
            (&model, &arrivals),
            &simulated,
            (&args.live, faster),
            args.output,
            terminal,
            out,
            interrupted()?,
        );
        return Ok(if run.await? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    match args.output {
        ReportFormat::Json => json_line(out, &report)?,
        ReportFormat::Csv => write!(out, "{}", report.csv()?)?,
        ReportFormat::Text => {
            writeln!(out, "{}", report.table())?;
            write!(out, "{}", chart::lines(&arrivals, &outcomes, WIDTH))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What a live run has to know of each policy that was simulated.
#[cfg(feature = "guests")]
fn simulated<'a>(
    args: &SimulateArgs,
    outcomes: &'a [(String, SimulationOutcome)],
) -> anyhow::Result<Vec<live::Simulated<'a>>> {
    let settings = settings(&names(&args.policy), &args.policy_settings)?;
    let all = args.policy.iter().cloned().zip(settings).zip(outcomes);
    Ok(all.map(|((policy, settings), (name, outcome))| live::Simulated { name, policy, settings, outcome }).collect())
}

fn warn(name: &str, outcome: &SimulationOutcome) {
    if outcome.unfinished > 0 {
        let SimulationOutcome { unfinished, end, .. } = outcome;
        tracing::warn!(
            "{name}: given up {} s after the start with {unfinished} messages not handled",
            end / 1_000_000_000
        );
    }
}

/// Where the arrivals come from, and they themselves.
fn arrivals(args: &SimulateArgs) -> anyhow::Result<(String, Arrivals)> {
    let (source, arrivals) = match (&args.trace, &args.generate) {
        (Some(file), _) => (file.display().to_string(), trace::read(file)?),
        (None, Some(generator)) => {
            let duration = args.duration.unwrap_or(Duration::from_secs(3600));
            (format!("{generator}"), generator.arrivals(duration, args.seed))
        }
        (None, None) if args.journal.is_empty() => {
            bail!("there are no arrivals; give --trace, --journal or --generate")
        }
        (None, None) => {
            let files: Vec<_> = args.journal.iter().map(|file| file.display().to_string()).collect();
            (files.join(", "), recorded(&args.journal, args.workload.as_deref())?)
        }
    };
    let scaled = if args.arrival_scale == 1.0 { arrivals } else { arrivals.scaled(args.arrival_scale) };
    ensure!(
        scaled.total() <= MOST,
        "{source}: {} messages are more than {MOST}; lower --arrival-scale",
        scaled.total()
    );
    Ok((source, scaled))
}

fn model(args: &SimulateArgs) -> anyhow::Result<Model> {
    let SimulateArgs { min, max, interval, .. } = *args;
    ensure!(min <= max, "--min {min} is more than --max {max}");
    let window = args.window.unwrap_or(interval.max(Duration::from_secs(5)));
    ensure!(window >= interval, "--window is shorter than --interval; raise it");
    let service = match &args.service {
        ServiceTimeSource::Drawn(service) => service.clone(),
        ServiceTimeSource::Measured(file) => {
            let text = text_of(Path::new(file), "the service times", "write milliseconds, one a line")?;
            samples(&text).map_err(|(line, problem)| anyhow::anyhow!("{file}:{line}: {problem}"))?
        }
    };
    Ok(Model {
        scale: Scale { min, max, interval, window, source: SignalSource::Info },
        start_delay: u64::try_from(args.start_delay.as_nanos()).context("--start-delay is too long")?,
        batch: usize::try_from(args.batch)?,
        service,
        retry: args.retry,
        outage: args.outage,
        limits: args.limits.limits()?,
        keys: args.keys,
        per_key: args.limits.per_key()?,
        seed: args.seed,
        objective: u64::from(args.slo_ms) * 1_000_000,
    })
}

/// What is simulated, and with an outage the same without the breaker, if there is one.
fn models(args: &SimulateArgs) -> anyhow::Result<(Arc<Model>, Option<Arc<Model>>)> {
    let model = model(args)?;
    let without = || {
        let limits = StartLimits { breaker: None, ..model.limits.clone() };
        Arc::new(Model { limits, ..model.clone() })
    };
    let compared = (model.outage.is_some() && model.limits.breaker.is_some()).then(without);
    Ok((Arc::new(model), compared))
}

/// A policy that has accepted its settings.
#[derive(Clone)]
struct StartedPolicy {
    name: String,
    plugin: Arc<PolicyPlugin>,
    context: PolicyContext,
    state: Vec<u8>,
}

/// Loads all policies. Two of the same file are two.
async fn load(args: &SimulateArgs) -> anyhow::Result<Vec<StartedPolicy>> {
    let names = names(&args.policy);
    let settings = settings(&names, &args.policy_settings)?;
    let compile = Compile::default().by_this_program()?;
    let host = PluginHost::start(&Plugins {
        dir: PathBuf::new(),
        rescan: Duration::MAX,
        cache: None,
        compile,
        origin: Default::default(),
    })?;
    let mut candidates = Vec::new();
    for ((name, file), settings) in names.into_iter().zip(&args.policy).zip(settings) {
        candidates.push(candidate(&host, name, file, &settings).await?);
    }
    Ok(candidates)
}

async fn candidate(
    host: &PluginHost,
    name: String,
    file: &Path,
    settings: &[(String, String)],
) -> anyhow::Result<StartedPolicy> {
    let limits = Limits::default();
    let plugin: PolicyPlugin = host.load(file, &limits).await.map_err(|error| anyhow::anyhow!(refused(&error)))?;
    let context = PolicyContext::new(Arc::from(WORKLOAD), limits);
    let state = match plugin.init(&context, settings, None).await {
        Ok(Ok(state)) => state,
        Ok(Err(refusal)) => bail!("{name} refuses its settings: {refusal}; correct --policy-setting"),
        Err(fault) => bail!("{name}: its init {fault}"),
    };
    Ok(StartedPolicy { name, plugin: Arc::new(plugin), context, state })
}

impl StartedPolicy {
    /// Itself with the model, and with what that is compared with.
    fn with_each(self, model: &Arc<Model>, compared: Option<&Arc<Model>>) -> Vec<(Self, Arc<Model>)> {
        let beside = compared.map(|compared| {
            let name = format!("{}, no breaker", self.name);
            (Self { name, ..self.clone() }, compared.clone())
        });
        std::iter::once((self, model.clone())).chain(beside).collect()
    }

    /// Simulates on a thread of its own, and goes on on it for as long as it takes.
    fn start(
        self,
        model: Arc<Model>,
        arrivals: &Arc<Arrivals>,
        bar: &Bar,
    ) -> JoinHandle<anyhow::Result<(String, SimulationOutcome)>> {
        let (arrivals, bar) = (arrivals.clone(), bar.clone());
        let runtime = tokio::runtime::Handle::current();
        spawn_blocking(move || {
            let Self { name, plugin, context, mut state } = self;
            let mut failed: Option<Fault> = None;
            let mut decide = |seen: &tidegate_runtime::contract::Observation| match runtime
                .block_on(plugin.decide(&context, seen, &state))
            {
                Ok(decision) => {
                    state = decision.state;
                    Some(decision.desired)
                }
                Err(fault) => {
                    failed.get_or_insert(fault);
                    None
                }
            };
            let mut progress = Progress { step: (arrivals.length() / STEPS).max(1), told: 0, bar };
            let outcome = simulate(&model, &arrivals, &mut decide, &mut |now| progress.is_at(now))?;
            if let Some(fault) = failed {
                let SimulationOutcome { failures, decisions, .. } = outcome;
                tracing::warn!(
                    "{name}: {failures} of {decisions} decisions failed and changed nothing; the first {fault}"
                );
            }
            Ok((name, outcome))
        })
    }
}

/// How far a run is.
struct Progress {
    step: u64,
    told: u64,
    bar: Bar,
}

impl Progress {
    fn is_at(&mut self, now: u64) {
        while self.told < (now / self.step).min(STEPS) {
            self.told += 1;
            self.bar.advance();
        }
    }
}
