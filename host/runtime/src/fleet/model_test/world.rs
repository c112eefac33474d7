//! All hosts and the bucket, one event after the other, and what has to hold.

use super::*;

impl World {
    pub(super) fn new(count: usize) -> Self {
        let hosts = (0..count).map(|number| Host::new(number, 0)).collect();
        Self { bucket: Bucket::default(), hosts, acted: Vec::new() }
    }

    pub(super) fn put(&mut self, key: String, value: Vec<u8>, expected: Option<u64>, luck: Luck) -> Written {
        match luck {
            Luck::Good => self.bucket.put(key, value, expected),
            Luck::Lost => Written::Unknown,
            Luck::Unconfirmed => {
                self.bucket.put(key, value, expected);
                Written::Unknown
            }
        }
    }

    pub(super) fn happens(&mut self, event: &Event) {
        match *event {
            Event::Beat(host, luck) => {
                let of = &mut self.hosts[host];
                // One of an older version says nothing of generations.
                let generations = (!of.older).then(|| of.generations());
                let report = Report { generations, ..Report::idle() };
                let workloads: BTreeMap<String, Report> = [(W.to_owned(), report)].into();
                let (id, older) = (of.id.clone(), of.older);
                let apart = !older && of.view.may_write_apart(workloads.keys());
                let mut entry = HostEntry { boot: id.boot, capacity: 2, workloads, apart, reads_apart: !older };
                if apart {
                    let workloads = std::mem::take(&mut entry.workloads);
                    let figures = Figures { boot: entry.boot.clone(), workloads };
                    if !matches!(self.put(figures_key(&id.id), figures.text(), None, luck), Written::Stored(_)) {
                        return;
                    }
                }
                if let Written::Stored(revision) = self.put(host_key(&id.id), text(&entry), None, luck) {
                    self.hosts[host].told(revision, self.bucket.lives);
                }
            }
            Event::Deliver(host, count) => self.hosts[host].deliver(&self.bucket, count),
            Event::Think(host, seed) => self.think(host, seed),
            Event::Act(host, luck) => self.act(host, luck),
            Event::GiveUp(host, luck) => self.give_up(host, luck),
            Event::Restart(host) => {
                let boots = self.hosts[host].boots + 1;
                self.hosts[host] = Host::new(host, boots);
            }
            Event::Watch(host) => {
                let of = &mut self.hosts[host];
                if let Some(watching) = of.watching.take() {
                    of.view.begin(watching);
                }
            }
            Event::File(host, file) => self.hosts[host].file = file,
            Event::Back(lost) => self.bucket.go_back(lost),
            Event::Purge => self.bucket.empty(false),
            Event::Anew => self.bucket.empty(true),
            Event::Forge(forgery) => self.forge(forgery),
        }
    }

    /// What stands there is changed, or deleted, by somebody who is no host. Where nothing does nothing happens.
    fn forge(&mut self, forgery: Forgery) {
        let readable = |key: &str, value: &Vec<u8>| read::<Plan>(key, value).ok();
        let plan = self.bucket.last.get(&plan_key(W)).and_then(|(_, value)| readable(&plan_key(W), value));
        let lease = self.bucket.get::<Lease>(&lease_key(W)).1;
        let forged = |plan: Plan| (plan_key(W), text(&plan));
        let written = match forgery {
            Forgery::NoPlan => plan.map(|_| (plan_key(W), Vec::new())),
            Forgery::Shares => plan.map(|plan| forged(Plan { shares: [("h0".to_owned(), 1000)].into(), ..plan })),
            Forgery::Later(epoch) => plan.map(|plan| forged(Plan { epoch: plan.epoch.max(epoch), desired: 0, ..plan })),
            Forgery::Row => plan.map(|plan| forged(Plan { lineage: "another".to_owned(), desired: 0, ..plan })),
            Forgery::Lease(number) => lease.map(|lease| {
                let watched = Watched { arrivals: number, elapsed_ms: number, now_ms: number };
                let fold = lease.fold.clone().map(|fold| Fold { decisions: number, ..fold });
                let epoch = lease.epoch.max(number);
                let lease = Lease { holder: HostId::default(), epoch, watched, fold, ..lease };
                (lease_key(W), text(&lease))
            }),
        };
        if let Some((key, value)) = written {
            self.bucket.forge(key, value);
        }
    }

    /// The events, with a host that stands still for a while in between.
    pub(super) fn go_through(&mut self, events: &[Event], (host, from, long): (usize, usize, usize)) {
        for (at, event) in events.iter().enumerate() {
            let of = match event {
                Event::Beat(of, _) | Event::Deliver(of, _) | Event::Think(of, _) | Event::Act(of, _) => Some(*of),
                _ => None,
            };
            if of != Some(host) || at < from || at >= from + long {
                self.happens(event);
            }
        }
    }

    pub(super) fn think(&mut self, host: usize, seed: u32) {
        let of = &mut self.hosts[host];
        of.watch(&self.bucket);
        if of.intent.is_some() {
            return;
        }
        let next = of.seat.next(&of.view, true);
        of.intent = match next {
            Next::Lead => Some(Intent::Ask(MIN + seed % (MAX - MIN + 1))),
            Next::Follow | Next::Wait => None,
            next => Some(Intent::Do(next)),
        };
    }

    pub(super) fn act(&mut self, host: usize, luck: Luck) {
        let Some(intent) = self.hosts[host].intent.take() else { return };
        match intent {
            Intent::Ask(desired) => {
                let of = &self.hosts[host];
                let Some(decided) = of.decided(desired) else { return };
                let Planned::Lease(lease, revision) = of.seat.decided(decided, &of.view) else { return };
                let came = self.put(lease_key(W), text(&*lease), Some(revision), luck);
                if let Written::Stored(_) = came {
                    self.acted.push((self.bucket.lives, lease.fold.as_ref().unwrap().decisions));
                }
                let of = &mut self.hosts[host];
                of.wrote(came);
                of.seat.wrote(*lease, came, &of.view);
            }
            Intent::Do(Next::Read) if luck == Luck::Good => {
                let found = self.bucket.get::<Lease>(&lease_key(W));
                let of = &mut self.hosts[host];
                of.seat.read(found, &of.view);
            }
            Intent::Do(Next::ReadPlan) if luck == Luck::Good => {
                let (revision, plan) = self
                    .bucket
                    .last
                    .get(&plan_key(W))
                    .map_or((0, None), |(revision, value)| (*revision, read::<Plan>(&plan_key(W), value).ok()));
                self.hosts[host].seat.found_plan(revision, plan.as_ref());
            }
            Intent::Do(Next::WriteLease(lease, expected)) => {
                let came = self.put(lease_key(W), text(&*lease), Some(expected), luck);
                let of = &mut self.hosts[host];
                of.wrote(came);
                of.seat.wrote(*lease, came, &of.view);
            }
            Intent::Do(Next::WritePlan(plan, expected)) => {
                let came = self.put(plan_key(W), text(&*plan), Some(expected), luck);
                self.hosts[host].wrote(came);
                self.hosts[host].seat.published(plan.epoch, came);
            }
            Intent::Do(_) => {}
        }
    }

    fn give_up(&mut self, host: usize, luck: Luck) {
        let Some((lease, revision)) = self.hosts[host].seat.given_up() else { return };
        let (plan, known) = (lease.plan(), self.hosts[host].seat.plan_revision(&self.hosts[host].view));
        let came = self.put(lease_key(W), text(&lease), Some(revision), luck);
        let of = &mut self.hosts[host];
        of.wrote(came);
        of.seat.wrote(lease, came, &of.view);
        if let Written::Stored(_) = came {
            let came = self.put(plan_key(W), text(&plan), Some(known), luck);
            self.hosts[host].wrote(came);
        }
    }

    /// The host does what it is about to do, so many times.
    pub(super) fn steps(&mut self, host: usize, count: usize) {
        for _ in 0..count {
            self.happens(&Event::Think(host, 7));
            self.happens(&Event::Act(host, Luck::Good));
        }
    }

    /// The leader decides so, and plans it.
    pub(super) fn decides(&mut self, host: usize, seed: u32) {
        self.happens(&Event::Think(host, seed));
        self.happens(&Event::Act(host, Luck::Good));
        self.steps(host, 1);
    }

    /// The host sees that the leader is silent.
    pub(super) fn is_noticed_by(&mut self, host: usize) {
        (0..3).for_each(|_| self.happens(&Event::Beat(host, Luck::Good)));
        self.happens(&Event::Deliver(host, usize::MAX));
    }

    /// Those that believe to lead.
    pub(super) fn leaders(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].seat.lease().is_some()).collect()
    }

    pub(super) fn written<T: for<'a> serde::Deserialize<'a>>(&self, key: &str) -> Vec<T> {
        let of = self.bucket.log.iter().enumerate();
        let of = of.filter(|(at, (_, of, _))| of == key && !self.bucket.forged.contains(at));
        of.map(|(_, (_, _, value))| read(key, value).unwrap()).collect()
    }

    /// What always holds.
    pub(super) fn check(&self, purged: bool) {
        let mut plans: BTreeMap<(String, u64), Plan> = BTreeMap::new();
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        for plan in self.written::<Plan>(&plan_key(W)) {
            let known = plans.entry((plan.lineage.clone(), plan.epoch)).or_insert_with(|| plan.clone());
            assert_eq!(*known, plan, "two plans of one epoch");
            let highest = highest.entry(plan.lineage.clone()).or_default();
            // A plan that waited to be the first one is so again in a bucket that was purged. Whoever has seen a later
            // one does not follow it.
            assert!(purged || plan.epoch >= *highest, "{} was written after {highest}", plan.epoch);
            *highest = plan.epoch;
            assert!(plan.shares.values().sum::<u32>() <= MAX && plan.desired <= MAX);
            assert!(plan.desired == 0 || !plan.shares.is_empty(), "a plan for no host: {plan:?}");
        }
        if purged {
            return;
        }
        let mut before = 0;
        let leases = self.written::<Lease>(&lease_key(W));
        check_rollouts(&leases);
        for lease in leases {
            let (decisions, state) = lease.fold.map_or((0, b"0".to_vec()), |fold| (fold.decisions, fold.state));
            assert!(decisions == before || decisions == before + 1, "after {before} came {decisions}");
            assert_eq!(state, decisions.to_string().into_bytes());
            before = decisions;
        }
        let acted: BTreeSet<_> = self.acted.iter().collect();
        assert_eq!(acted.len(), self.acted.len(), "a decision was acted upon twice: {:?}", self.acted);
    }

    /// Nothing goes wrong any more: there is one leader, all follow its plan, and it goes on deciding.
    pub(super) fn calm(&mut self) {
        let round = |world: &mut Self| {
            for host in 0..world.hosts.len() {
                world.happens(&Event::Beat(host, Luck::Good));
                for _ in 0..4 {
                    world.happens(&Event::Deliver(host, usize::MAX));
                    world.happens(&Event::Think(host, 7));
                    world.happens(&Event::Act(host, Luck::Good));
                }
            }
        };
        (0..40).for_each(|_| round(self));
        // A plan is written now and then for what is measured meanwhile: the hosts before the leader hear of it later.
        (0..self.hosts.len()).for_each(|host| self.happens(&Event::Deliver(host, usize::MAX)));
        let leaders: Vec<_> = self.hosts.iter().filter_map(|host| host.seat.lease()).collect();
        assert_eq!(leaders.len(), 1, "leaders");
        let lease = leaders[0].clone();
        assert_eq!(lease.desired, MIN + 7);
        let shares: Vec<u32> = self.hosts.iter().map(|host| host.view.share(W).unwrap()).collect();
        assert_eq!(shares.iter().sum::<u32>(), lease.desired, "{shares:?}");
        assert!(self.hosts.iter().all(|host| host.view.plan(W) == Some(&lease.plan())));
        let asks = |host: &Host| host.view.parks(W) == (host.view.share(W) > Some(0));
        assert!(self.hosts.iter().all(asks), "only those with a share ask for messages");
        let decided = self.acted.len();
        round(self);
        assert!(self.acted.len() > decided, "nobody decides");
    }
}

/// One trial after the other, whoever leads, and what was counted of one is not lost and not counted twice.
fn check_rollouts(leases: &[Lease]) {
    let (mut number, mut counted) = (0, 0);
    for rollout in leases.iter().filter_map(|lease| lease.rollout.as_ref()) {
        assert!(rollout.number == number || rollout.number == number + 1, "after {number}: {rollout:?}");
        if rollout.number != number {
            (number, counted) = (rollout.number, 0);
        }
        let Some(tried) = &rollout.tried else { continue };
        let seen = tried.compared.measured();
        assert!(seen.new.calls >= counted, "{counted} were counted, and then {seen:?}");
        counted = seen.new.calls;
        assert!(tried.workers.values().sum::<u32>() <= (MAX / 10).max(1));
    }
}
