#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tokio::time::advance;

use super::*;
use crate::delivery::by_generation::CallSums;

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
    sums: GenerationSums,
}

impl Scene {
    fn new() -> Self {
        let rules = RolloutConfig { min_messages: 100, ..RolloutConfig::with_share(0.5) };
        let (switch, told) = (Switch::new("orders".into(), rules), Arc::new(Mutex::new(Vec::new())));
        let seen = told.clone();
        switch.observer.set(Observer::new(move |event| seen.lock().push(event))).ok().unwrap();
        let scene = Self { switch, told, sums: GenerationSums::default() };
        scene.switch.arrived(TestVersion("one"));
        scene
    }

    fn look(&self) {
        self.switch.look(&WORKERS, &self.sums);
    }

    /// A minute, in which each generation is called so often and fails so often.
    async fn minute(&mut self, calls: &[(&str, u64, u64)]) {
        advance(Duration::from_secs(60)).await;
        for (generation, calls, failed) in calls {
            let (calls, failed) = (*calls, *failed);
            let sums = CallSums { calls, failed, timed: calls, us: calls * 10, ..CallSums::default() };
            self.sums.add(&Digest::from(*generation), sums);
        }
        self.look();
    }

    /// The generation of each worker.
    fn runs(&self) -> Vec<&'static str> {
        let choice = self.switch.choice.borrow();
        WORKERS.iter().map(|worker| choice.of(*worker).unwrap().0).collect()
    }

    fn last(&self) -> (String, Ending, String) {
        let last = self.switch.seen().last.unwrap();
        (last.generation.whole().to_owned(), last.ending, last.reason)
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_fine_is_tried_by_a_share_and_then_in_use() {
    let mut scene = Scene::new();
    scene.look();
    assert_eq!((scene.runs(), scene.told.lock().len()), (vec!["one"; 4], 0));
    scene.switch.arrived(TestVersion("two"));
    assert_eq!(scene.runs(), ["one"; 4]);
    scene.look();
    assert_eq!(scene.runs(), ["two", "two", "one", "one"]);
    for minute in 1..=5 {
        assert_eq!(scene.switch.seen().trial.unwrap().workers, [3, 4], "{minute}");
        scene.minute(&[("one", 1000, 1), ("two", 1000, 1)]).await;
    }
    assert_eq!(scene.runs(), ["two"; 4]);
    let seen = scene.switch.seen();
    assert_eq!((seen.generation.unwrap().whole(), seen.trial.is_none(), seen.ended), ("two", true, [1, 0, 0, 0]));
    let swapped = |event: &Event| matches!(event, Event::Swapped { generation, .. } if generation.whole() == "two");
    assert!(scene.told.lock().last().is_some_and(swapped));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_rolled_back_is_tried_again_only_when_the_file_has_changed() {
    let mut scene = Scene::new();
    scene.switch.arrived(TestVersion("two"));
    scene.look();
    scene.minute(&[("one", 1000, 0), ("two", 1000, 50)]).await;
    assert_eq!(scene.runs(), ["one"; 4]);
    let (generation, ending, reason) = scene.last();
    assert_eq!((&*generation, ending), ("two", Ending::RolledBack));
    assert!(reason.starts_with("50 of 1000 calls failed, 0 of 1000"), "{reason}");
    for _ in 0..10 {
        scene.minute(&[("one", 1000, 0)]).await;
    }
    assert_eq!((scene.runs(), scene.switch.seen().trial.is_none()), (vec!["one"; 4], true));
    scene.switch.arrived(TestVersion("three"));
    scene.look();
    assert_eq!(scene.runs()[0], "three");
}

#[tokio::test(start_paused = true)]
async fn a_third_file_takes_the_place_of_the_one_that_is_tried() {
    let scene = Scene::new();
    scene.switch.arrived(TestVersion("two"));
    scene.look();
    scene.switch.arrived(TestVersion("three"));
    scene.look();
    assert_eq!(scene.runs(), ["three", "three", "one", "one"]);
    assert_eq!(scene.last(), ("two".into(), Ending::Replaced, "its file has changed again".into()));
    scene.switch.arrived(TestVersion("one"));
    scene.look();
    assert_eq!(scene.runs(), ["one"; 4]);
    assert_eq!(scene.last(), ("three".into(), Ending::Replaced, "its file has the generation before again".into()));
    assert_eq!(scene.switch.abort(), Err(NoCandidate));
}

#[tokio::test(start_paused = true)]
async fn a_person_decides_otherwise() {
    let scene = Scene::new();
    assert_eq!((scene.switch.promote(), scene.switch.abort()), (Err(NoCandidate), Err(NoCandidate)));
    scene.switch.arrived(TestVersion("two"));
    assert_eq!(scene.switch.abort(), Ok("two".into()));
    assert_eq!((scene.last().1, scene.runs()), (Ending::Aborted, vec!["one"; 4]));
    // What was ended is still in its file.
    assert_eq!(scene.switch.promote(), Ok("two".into()));
    assert_eq!((scene.last().1, scene.runs()), (Ending::Promoted, vec!["two"; 4]));
    assert_eq!(scene.switch.promote(), Err(NoCandidate));
    scene.switch.arrived(TestVersion("three"));
    assert_eq!(scene.switch.promote(), Ok("three".into()));
    assert_eq!(scene.runs(), ["three"; 4]);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_start_is_rolled_back_at_once() {
    let scene = Scene::new();
    scene.switch.arrived(TestVersion("two"));
    scene.look();
    scene.switch.does_not_start(&TestVersion("one"), "of no matter");
    assert!(scene.switch.seen().trial.is_some());
    scene.switch.does_not_start(&TestVersion("two"), "no memory");
    assert_eq!((scene.runs(), scene.last()), (vec!["one"; 4], ("two".into(), Ending::RolledBack, "no memory".into())));
}
