//! What a watch brings, and what a host makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::part::{BucketState, UNLED};
use super::*;
use crate::fleet::entries::{Shares, text};

fn id(id: &str) -> HostId {
    HostId { id: id.to_owned(), boot: format!("{id}-1") }
}

fn entry(boot: &str, woken: bool) -> Vec<u8> {
    let report = Report { woken, room: 9, ..Report::default() };
    let workloads = [("w".to_owned(), report)].into();
    text(&HostEntry { boot: boot.to_owned(), capacity: 2, workloads, apart: false, reads_apart: true })
}

fn view() -> View {
    let mut view = View::new(id("a"));
    view.begin(Watching::All);
    view
}

#[test]
fn a_host_is_gone_when_it_writes_nothing_while_this_one_writes() {
    let mut view = view();
    view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
    assert!(!view.is_whole());
    for revision in 2..2 + GONE as u64 {
        assert!(view.candidates("w").iter().any(|host| host.id == "b"), "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert!(view.is_whole());
    assert_eq!(view.candidates("w").len(), 1);
    assert_eq!(view.silent_for(&id("b"), 0), Some(GONE));
    // Something else that it wrote is a sign of life too, and another process of that name is none.
    assert_eq!(view.silent_for(&id("b"), GONE as u64 - 1), Some(2));
    let other = HostId { boot: "b-2".to_owned(), ..id("b") };
    view.saw("host.b", 90, Some(&entry("b-1", false))).unwrap();
    assert_eq!((view.silent_for(&id("b"), 0), view.silent_for(&other, 0)), (Some(0), Some(GONE)));
}

#[test]
fn what_a_host_has_left_is_removed_when_it_is_gone_for_long_and_has_not_come_back() {
    let mut view = view();
    view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
    view.saw("host.c", 2, None).unwrap();
    for revision in 3..3 + REMEMBERED as u64 {
        assert_eq!(view.dead(), None, "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert_eq!(view.dead(), Some(("b".to_owned(), 1)));
    view.forgot("b", 1);
    assert_eq!(view.dead(), Some(("c".to_owned(), 2)));
    // It is back before that.
    view.saw("host.c", 90, Some(&entry("c-2", false))).unwrap();
    view.forgot("c", 2);
    assert_eq!((view.dead(), view.hosts().count()), (None, 2));
}

#[test]
fn another_process_of_the_same_id_is_told_until_it_is_silent() {
    let mut view = view();
    view.saw("host.a", 1, Some(&entry("a-0", false))).unwrap();
    view.saw("host.a", 2, Some(&entry("a-1", false))).unwrap();
    assert!(!view.is_doubled(), "it was the process before");
    for revision in (3..20).step_by(2) {
        view.saw("host.a", revision, Some(&entry("a-2", false))).unwrap();
        assert!(view.is_doubled());
        view.saw("host.a", revision + 1, Some(&entry("a-1", false))).unwrap();
        assert!(view.is_doubled(), "both write");
    }
    for revision in 21..20 + DOUBLED as u64 {
        assert!(view.is_doubled());
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert!(!view.is_doubled());
}

#[test]
fn settings_are_compared_with_those_of_the_host_that_leads() {
    let mut view = view();
    let own = Fingerprints::from([("scale.max".to_owned(), "1".to_owned())]);
    let keys = Fingerprints::from([("scale.max".to_owned(), "2".to_owned())]);
    view.saw("settings.w", 1, Some(&text(&Settings { holder: id("b"), keys }))).unwrap();
    assert!(view.differ("w", &own).is_empty());
    view.saw("plan.w", 2, Some(&text(&Plan { holder: id("b"), epoch: 1, ..Plan::default() }))).unwrap();
    assert_eq!(view.differ("w", &own), ["scale.max"]);
    view.saw("plan.w", 3, Some(&text(&Plan { holder: id("a"), epoch: 2, ..Plan::default() }))).unwrap();
    assert!(view.differ("w", &own).is_empty());
}

#[test]
fn of_a_host_that_is_not_watched_nothing_is_known() {
    let mut view = View::new(id("a"));
    view.begin(Watching::Some(["a".to_owned()].into()));
    view.saw("host.a", 2, Some(&entry("a-1", false))).unwrap();
    assert_eq!(view.silent_for(&id("b"), 0), None);
}

#[test]
fn a_plan_is_news_once_and_never_after_a_later_one() {
    let mut view = view();
    let plan = |epoch, lineage: &str| {
        let shares = Shares::from([("a".to_owned(), epoch as u32)]);
        text(&Plan { lineage: lineage.to_owned(), epoch, shares, ..Plan::default() })
    };
    let news = News::Plan("w".to_owned());
    assert_eq!(view.saw("plan.w", 5, Some(&plan(3, "l"))), Ok(news.clone()));
    assert_eq!(view.saw("plan.w", 5, Some(&plan(3, "l"))), Ok(News::None));
    assert_eq!(view.saw("plan.w", 4, Some(&plan(2, "l"))), Ok(News::None));
    assert_eq!(view.share("w"), Some(3));
    // The bucket was made anew, and so were its numbers.
    assert_eq!(view.saw("plan.w", 1, Some(&plan(1, "m"))), Ok(news));
    // What is deleted, or lost with its bucket, holds on.
    assert_eq!((view.saw("plan.w", 2, None), view.spoiled("w")), (Ok(News::NoPlan("w".to_owned())), 2));
    view.begin(Watching::All);
    assert_eq!(view.share("w"), Some(1));
}

#[test]
fn a_plan_that_one_which_was_seen_excludes_tells_that_the_bucket_went_back_unless_a_replica_lags() {
    let plan =
        |epoch, holder: &str| text(&Plan { lineage: "l".to_owned(), epoch, holder: id(holder), ..Plan::default() });
    let seen = || {
        let mut view = view();
        view.saw("plan.w", 8, Some(&plan(3, "b"))).unwrap();
        view.begin(Watching::All);
        view
    };
    // A later one of the same number, or an earlier one.
    for (revision, excluded) in [(8, plan(3, "c")), (9, plan(3, "c")), (9, plan(2, "b"))] {
        let mut view = seen();
        assert_eq!(view.saw("plan.w", revision, Some(&excluded)), Ok(News::WentBack), "{revision}");
        assert_eq!(view.plan("w").unwrap().epoch, 3);
        view.went_back();
        assert_eq!(view.saw("plan.w", revision, Some(&excluded)), Ok(News::Plan("w".to_owned())));
        let lost = Plan { lineage: "l".to_owned(), epoch: 3, holder: id("d"), ..Plan::default() };
        assert!(view.excludes("w", &lost), "its number is used");
    }
    // A replica brings what it lacks before what came later.
    for (brings, news) in [(true, News::None), (false, News::WentBack)] {
        let mut view = seen();
        assert_eq!(view.saw("plan.w", 6, Some(&plan(2, "b"))), Ok(News::None));
        assert_eq!(view.saw("host.a", 7, Some(&entry("a-1", false))), Ok(News::None));
        if brings {
            assert_eq!(view.saw("plan.w", 8, Some(&plan(3, "b"))), Ok(News::None));
        }
        assert_eq!(view.saw("host.a", 9, Some(&entry("a-1", false))), Ok(news));
    }
}

#[test]
fn one_host_keeps_a_pull_parked_at_zero_and_those_with_workers_where_there_are_some() {
    let mut view = View::new(id("a"));
    assert!(view.parks("w"), "there is no plan");
    view.begin(Watching::Some(["a".to_owned(), "b".to_owned()].into()));
    let plan = |epoch, shares: [u32; 2], parks: &str| {
        let shares = ["a", "b"].map(str::to_owned).into_iter().zip(shares).collect();
        text(&Plan { holder: id("b"), epoch, shares, parks: parks.to_owned(), ..Plan::default() })
    };
    view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
    for (revision, shares, parks, expected) in [
        (2, [0, 0], "b", false),
        (3, [0, 0], "a", true),
        (4, [0, 0], "", true),
        (5, [0, 1], "a", false),
        (6, [1, 1], "b", true),
    ] {
        view.saw("plan.w", revision, Some(&plan(revision, shares, parks))).unwrap();
        assert_eq!(view.parks("w"), expected, "{shares:?} {parks}");
    }
    // The leader is killed, and may have been the one.
    view.saw("plan.w", 7, Some(&plan(7, [0, 0], "b"))).unwrap();
    for revision in 8..8 + LOST as u64 {
        assert!(!view.parks("w"), "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert!(view.parks("w"));
    // It has left.
    view.saw("plan.w", 20, Some(&text(&Plan { epoch: 20, parks: "b".to_owned(), ..Plan::default() }))).unwrap();
    assert!(view.parks("w"));
}

#[test]
fn the_leader_keeps_the_pull_itself_unless_it_cannot_run_a_worker() {
    let mut view = view();
    let with_room = |boot: &str, room| {
        let workloads = [("w".to_owned(), Report { room, ..Report::default() })].into();
        text(&HostEntry { boot: boot.to_owned(), capacity: 2, workloads, apart: false, reads_apart: true })
    };
    for (revision, rooms, expected) in [(1, [9, 9], "a"), (3, [0, 9], "b"), (5, [0, 0], ""), (7, [1, 0], "a")] {
        view.saw("host.b", revision, Some(&with_room("b-1", rooms[1]))).unwrap();
        view.saw("host.a", revision + 1, Some(&with_room("a-1", rooms[0]))).unwrap();
        assert_eq!(view.parker("w"), expected, "{rooms:?}");
    }
}

#[test]
fn a_host_without_a_part_of_the_limits_has_a_small_one_while_nobody_can_give_it_one() {
    use BucketState::{Lost, Unusable, Usable};
    let mut view = View::new(id("a"));
    view.begin(Watching::Some(["a".to_owned(), "b".to_owned()].into()));
    // There is no plan, and nobody who could make one.
    let none = |view: &View| [Usable, Unusable, Lost].map(|bucket| view.part("w", 8, bucket));
    for revision in 1..=UNLED as u64 {
        assert_eq!(none(&view), [Some((0, 8)), None, None], "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert_eq!(none(&view), [Some((1, 8)), None, None]);
    assert_eq!(view.part("w", 10_000, Usable), Some((100, 10_000)));
    // The leader has all, and is killed, or the bucket is gone, and perhaps the leader.
    let plan = |epoch, holder: HostId, part| {
        let hosts = [("a".to_owned(), part), ("b".to_owned(), 9 - part)].into();
        let limit = Some(crate::fleet::limits::Parts { of: 9, hosts });
        text(&Plan { holder, epoch, parks: "b".to_owned(), limit, ..Plan::default() })
    };
    view.saw("plan.w", 100, Some(&plan(1, id("b"), 0))).unwrap();
    for revision in 101..101 + UNLED as u64 {
        assert_eq!(none(&view), [Some((0, 9)), Some((0, 9)), Some((4, 9))], "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert_eq!(none(&view), [Some((4, 9)); 3]);
    // One that has a part keeps it.
    view.saw("plan.w", 200, Some(&plan(2, HostId::default(), 2))).unwrap();
    assert_eq!(none(&view), [Some((2, 9)); 3]);
    // Nobody leads any more.
    view.saw("plan.w", 300, Some(&plan(3, HostId::default(), 0))).unwrap();
    for revision in 301..301 + UNLED as u64 {
        assert_eq!(view.part("w", 8, Usable), Some((0, 9)), "{revision}");
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert_eq!(view.part("w", 8, Usable), Some((4, 9)));
}

#[test]
fn what_a_person_has_set_meanwhile_stays_when_what_was_set_before_is_over() {
    let mut view = view();
    let set = |count| SetWorkers { count, for_ms: Some(1), until_ms: None };
    for (revision, count) in [(4, 3), (9, 5)] {
        view.saw("workers.w", revision, Some(&text(&set(count)))).unwrap();
    }
    view.note_ended("w", 4);
    assert_eq!(view.set_workers("w"), Some((9, set(5))));
    view.note_ended("w", 9);
    assert_eq!(view.set_workers("w"), None);
}

#[test]
fn a_host_where_a_message_has_started_a_worker_is_news() {
    let mut view = view();
    assert_eq!(view.saw("host.b", 1, Some(&entry("b-1", true))), Ok(News::Woken(vec!["w".to_owned()])));
    assert_eq!(view.saw("host.b", 2, Some(&entry("b-1", false))), Ok(News::None));
    assert!(view.saw("host.b", 3, Some(b"?")).unwrap_err().contains("host.b"));
}

#[test]
fn figures_stand_apart_from_the_entry_if_that_says_so_and_are_of_the_same_process() {
    let mut view = view();
    let figures = |boot: &str, running| {
        let workloads = [("w".to_owned(), Report { running, ..Report::idle() })].into();
        Figures { boot: boot.to_owned(), workloads }.text()
    };
    let lives =
        |boot: &str| text(&HostEntry { boot: boot.to_owned(), capacity: 2, apart: true, ..HostEntry::default() });
    view.saw("figures.b", 1, Some(&figures("b-1", 3))).unwrap();
    view.saw("host.b", 2, Some(&lives("b-1"))).unwrap();
    view.saw("host.c", 3, Some(&entry("c-1", false))).unwrap();
    let running =
        |view: &View| view.candidates("w").iter().map(|host| (host.id.clone(), host.running)).collect::<Vec<_>>();
    assert_eq!(running(&view), [("b".to_owned(), 3), ("c".to_owned(), 0)]);
    // Another process of that name has not said yet what it does.
    view.saw("host.b", 4, Some(&lives("b-2"))).unwrap();
    assert_eq!(running(&view), [("c".to_owned(), 0)]);
    view.saw("figures.b", 5, Some(&figures("b-2", 1))).unwrap();
    assert_eq!(running(&view), [("b".to_owned(), 1), ("c".to_owned(), 0)]);
    // One that tells it in its entry again, for a host of an older version has come.
    view.saw("host.b", 6, Some(&entry("b-2", false))).unwrap();
    assert_eq!(running(&view), [("b".to_owned(), 0), ("c".to_owned(), 0)]);
}

#[test]
fn nothing_stands_apart_while_a_host_is_there_that_does_not_read_it() {
    let mut view = view();
    let older = br#"{"boot":"b-1","capacity":2,"workloads":{"w":{"running":1,"wanted":1,"room":9,"work":{"settled":0,
        "handled":0,"failed":0,"busy-us":0,"calls-us":0,"calling":0,"alive-us":0},"redelivered":0}}}"#;
    view.saw("host.b", 1, Some(older)).unwrap();
    view.saw("host.a", 2, Some(&entry("a-1", false))).unwrap();
    assert!(!view.all_read_apart());
    // It writes an entry where this host writes two.
    for revision in 3..3 + 2 * GONE as u64 - 1 {
        assert_eq!(view.hosts().count(), 2, "{revision}");
        assert_eq!(view.silent_for(&id("b"), 0), Some((revision as usize - 2) / 2));
        view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
    }
    assert_eq!((view.hosts().count(), view.all_read_apart()), (1, true));
    let workloads = ["w".to_owned()];
    assert!(!view.may_write_apart(workloads.iter()));
    for (epoch, apart) in [(1, true), (2, false), (3, true)] {
        view.saw("plan.w", 90 + epoch, Some(&text(&Plan { holder: id("a"), epoch, apart, ..Plan::default() })))
            .unwrap();
        assert_eq!(view.may_write_apart(workloads.iter()), apart);
    }
    // One that leads and does not know of it says nothing of it.
    let older = br#"{"lineage":"","holder":{"id":"b","boot":"b-1"},"epoch":4,"desired":0,"shares":{}}"#;
    view.saw("plan.w", 95, Some(older)).unwrap();
    assert!(!view.may_write_apart(workloads.iter()));
}
