//! Faults by chance, one after the other, each undone before the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tidegate_test_artifacts::probes;
use tokio::time::sleep;
use toml::Table;

use crate::hosts::Host;
use crate::network::step_down;
use crate::proxy::{Flow, Proxy};
use crate::stage::Stage;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InjectedFault {
    HostKill,
    HostPause,
    ServerKill,
    ServerPause,
    /// No way to one server for a while.
    Partition,
    /// The connections to one server are half open.
    HalfOpen,
    /// One server is far away for a while.
    Latency,
    ConsumerLeader,
    StreamLeader,
    HandlerSwap,
    PolicySwap,
    /// For a while every message traps twice.
    TrapStorm,
}

/// Hosts that reach each server through a proxy.
pub(crate) struct Chaos<'a> {
    stage: &'a mut Stage,
    proxies: Vec<Proxy>,
    config: Table,
    pub(crate) hosts: Vec<Host>,
    random: Rng,
    /// What comes next; each once before any comes again.
    deck: Vec<InjectedFault>,
    /// Whether what is published now is to trap.
    storm: &'a AtomicBool,
    /// How often each happened.
    pub(crate) counts: BTreeMap<InjectedFault, u64>,
    swaps: usize,
}

impl<'a> Chaos<'a> {
    /// Starts so many hosts.
    pub(crate) async fn new(
        stage: &'a mut Stage,
        config: Table,
        hosts: usize,
        seed: u64,
        storm: &'a AtomicBool,
    ) -> Result<Self> {
        let mut proxies = Vec::new();
        for index in 0..stage.servers.count() {
            proxies.push(Proxy::to(stage.servers.member(index).port()).await?);
        }
        let random = Rng::with_seed(seed);
        let mut chaos = Self {
            stage,
            proxies,
            config,
            hosts: Vec::new(),
            random,
            deck: Vec::new(),
            storm,
            counts: BTreeMap::new(),
            swaps: 0,
        };
        for _ in 0..hosts {
            chaos.hosts.push(chaos.host().await?);
        }
        Ok(chaos)
    }

    async fn host(&self) -> Result<Host> {
        let urls: Vec<String> = self.proxies.iter().map(Proxy::url).collect();
        self.stage.host_to(&urls, &self.config).await
    }

    /// Lets one of `kinds` happen, and undoes it.
    pub(crate) async fn one(&mut self, kinds: &[InjectedFault]) -> Result<()> {
        if self.deck.is_empty() {
            self.deck = kinds.to_vec();
            self.random.shuffle(&mut self.deck);
        }
        let Some(kind) = self.deck.pop() else { return Ok(()) };
        let (host, server) = (self.random.usize(0..self.hosts.len()), self.random.usize(0..self.stage.servers.count()));
        let a_while = Duration::from_millis(self.random.u64(300..1500));
        match kind {
            InjectedFault::HostKill => {
                self.hosts[host].kill().await?;
                sleep(a_while).await;
                self.hosts[host] = self.host().await?;
            }
            InjectedFault::HostPause => {
                self.hosts[host].pause()?;
                sleep(a_while * 4).await;
                self.hosts[host].resume()?;
            }
            InjectedFault::ServerKill => {
                self.stage.servers.member(server).kill();
                sleep(a_while).await;
                self.stage.servers.member(server).restart().await?;
            }
            InjectedFault::ServerPause => {
                self.stage.servers.member(server).pause().await?;
                sleep(a_while * 3).await;
                self.stage.servers.member(server).resume()?;
            }
            InjectedFault::Partition => {
                self.proxies[server].refuse(true);
                self.proxies[server].cut();
                sleep(a_while).await;
                self.proxies[server].refuse(false);
            }
            InjectedFault::HalfOpen => self.proxies[server].freeze(),
            InjectedFault::Latency => {
                self.proxies[server].both(Flow::Delay(Duration::from_millis(200)));
                sleep(a_while).await;
                self.proxies[server].both(Flow::Pass);
            }
            // Right after another fault nobody may lead yet, and then nobody steps down.
            InjectedFault::ConsumerLeader => {
                drop(step_down(self.stage, "CONSUMER.LEADER.STEPDOWN.work.work-workers").await)
            }
            InjectedFault::StreamLeader => drop(step_down(self.stage, "STREAM.LEADER.STEPDOWN.work").await),
            InjectedFault::HandlerSwap => {
                self.swaps += 1;
                self.stage.install("probe", [probes::WORKER_V1, probes::WORKER_V2][self.swaps % 2])?;
            }
            InjectedFault::PolicySwap => {
                self.swaps += 1;
                self.stage.install("probe-policy", [probes::POLICY_V1, probes::POLICY_V2][self.swaps % 2])?;
            }
            InjectedFault::TrapStorm => {
                self.storm.store(true, Ordering::Relaxed);
                sleep(a_while / 3).await;
                self.storm.store(false, Ordering::Relaxed);
            }
        }
        *self.counts.entry(kind).or_default() += 1;
        Ok(())
    }

    /// How often each happened, for a person.
    pub(crate) fn told(&self) -> String {
        self.counts.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect::<Vec<_>>().join(", ")
    }
}
