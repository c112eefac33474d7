#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::*;
use crate::config::RolloutConfig;
use crate::rollout::ending::Ending;
use crate::rollout::seen::Rollouts;
use crate::rollout::together::entries::{Numbers, TriedPlan};

#[derive(Debug, Clone, PartialEq)]
struct TestVersion(&'static str);

impl Version for TestVersion {
    fn author(&self) -> Author {
        Author { plugin: "probe".into(), generation: self.0.into() }
    }
}

const WORKERS: [u64; 4] = [3, 4, 7, 9];

struct Scene {
    switch: Arc<Switch<TestVersion>>,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Scene {
    fn new() -> Self {
        let switch = Switch::new("orders".into(), RolloutConfig::with_share(0.5));
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = told.clone();
        switch.observer.set(Observer::new(move |event| seen.lock().push(event))).ok().unwrap();
        switch.has_file(TestVersion("one"));
        Self { switch, told }
    }

    fn obey(&self, plan: RolloutPlan) {
        self.switch.obey(plan, "me", &WORKERS);
    }

    /// The generation of each worker.
    fn runs(&self) -> Vec<&'static str> {
        let choice = self.switch.choice.borrow();
        WORKERS.iter().map(|worker| choice.of(*worker).unwrap().0).collect()
    }

    fn says(&self) -> HostGenerations {
        self.switch.told(&GenerationSums::default()).unwrap()
    }

    fn holds(&self) -> Vec<Digest> {
        self.says().calls.into_keys().collect()
    }
}

fn plan(stable: &str, tried: Option<(&str, u32)>) -> RolloutPlan {
    let tried = tried.map(|(generation, workers)| TriedPlan {
        generation: generation.into(),
        began_ms: 0,
        elapsed_ms: 0,
        workers: BTreeMap::from([("me".to_owned(), workers), ("other".to_owned(), 9)]),
        numbers: Numbers::default(),
    });
    let number = tried.is_some().into();
    RolloutPlan {
        stable: stable.into(),
        number,
        tried,
        rejected: None,
        before: Default::default(),
        last: None,
        ended: [0; 4],
        without: vec![],
    }
}

fn ended(stable: &str, generation: &str, ending: Ending) -> RolloutPlan {
    let mut ended = [0; 4];
    ended[ending as usize] = 1;
    let (generation, reason) = (Digest::from(generation), "for a reason".to_owned());
    let rejected = (ending != Ending::Promoted).then(|| generation.clone());
    let last = EndedTrial { generation, ending, reason, in_doubt: false, at_ms: 5, numbers: Numbers::default() };
    RolloutPlan { number: 1, rejected, last: Some(last), ended, ..plan(stable, None) }
}

#[test]
fn a_new_file_is_run_by_nobody_before_the_plan_says_so_and_then_by_so_many_workers() {
    let scene = Scene::new();
    scene.obey(plan("one", None));
    scene.switch.has_file(TestVersion("two"));
    assert_eq!((scene.runs(), scene.holds()), (vec!["one"; 4], vec!["one".into(), "two".into()]));
    scene.obey(plan("one", Some(("two", 1))));
    assert_eq!(scene.runs(), ["two", "one", "one", "one"]);
    // More workers, and others that run: those that were chosen stay.
    scene.switch.obey(plan("one", Some(("two", 2))), "me", &WORKERS);
    assert_eq!(scene.runs(), ["two", "two", "one", "one"]);
    scene.switch.obey(plan("one", Some(("two", 2))), "another", &WORKERS);
    assert_eq!(scene.runs(), ["one"; 4]);
    scene.obey(ended("two", "two", Ending::Promoted));
    assert_eq!((scene.runs(), scene.holds()), (vec!["two"; 4], vec!["two".into()]));
    let events = scene.told.lock();
    let [Event::RolloutBegan { .. }, Event::Swapped { generation, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(generation.whole(), "two");
}

#[test]
fn one_that_is_rolled_back_is_kept_as_long_as_its_file_and_told_once() {
    let scene = Scene::new();
    scene.switch.has_file(TestVersion("two"));
    scene.obey(plan("one", Some(("two", 1))));
    for _ in 0..2 {
        scene.obey(ended("one", "two", Ending::RolledBack));
        assert_eq!(scene.runs(), ["one"; 4]);
    }
    let rolled_back = |event: &&Event| matches!(event, Event::RolledBack { reason, .. } if reason == "for a reason");
    assert_eq!(scene.told.lock().iter().filter(rolled_back).count(), 1);
    let seen = scene.switch.seen();
    assert_eq!((seen.generation.unwrap().whole(), seen.last.unwrap().ending), ("one", Ending::RolledBack));
    assert_eq!(scene.holds(), ["one".into(), "two".into()]);
    scene.switch.has_file(TestVersion("three"));
    scene.obey(plan("one", None));
    assert_eq!(scene.holds(), ["one".into(), "three".into()]);
}

#[test]
fn a_host_without_the_generation_goes_on_with_its_own_until_it_has_it() {
    let scene = Scene::new();
    scene.obey(plan("one", None));
    scene.obey(plan("one", Some(("two", 3))));
    scene.obey(ended("two", "two", Ending::Promoted));
    assert_eq!(scene.runs(), ["one"; 4]);
    scene.switch.has_file(TestVersion("two"));
    scene.obey(ended("two", "two", Ending::Promoted));
    assert_eq!(scene.runs(), ["two"; 4]);
    // One that starts has nothing but its file.
    let late = Scene::new();
    late.obey(plan("zero", Some(("one", 4))));
    assert_eq!(late.runs(), ["one"; 4]);
}

#[test]
fn one_that_does_not_start_here_is_run_no_more_and_the_leader_is_told() {
    let scene = Scene::new();
    scene.switch.has_file(TestVersion("two"));
    scene.obey(plan("one", Some(("two", 2))));
    scene.switch.does_not_start(&TestVersion("one"), "of no matter");
    assert_eq!(scene.says().unusable, None);
    scene.switch.does_not_start(&TestVersion("two"), "no memory");
    assert_eq!((scene.runs(), scene.says().unusable), (vec!["one"; 4], Some(("two".into(), "no memory".to_owned()))));
    scene.obey(plan("one", Some(("two", 3))));
    assert_eq!(scene.runs(), ["one"; 4]);
    scene.obey(ended("one", "two", Ending::RolledBack));
    assert_eq!(scene.says().unusable, None);
}
