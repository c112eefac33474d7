//! Random histories, and those that once went wrong.

use proptest::prelude::*;

use super::*;

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![8 => Just(Luck::Good), 1 => Just(Luck::Lost), 1 => Just(Luck::Unconfirmed)]
}

fn events(hosts: usize) -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(hosts), 0..400)
}

fn event(hosts: usize) -> impl Strategy<Value = Event> {
    let of = 0..hosts;
    prop_oneof![
        12 => (of.clone(), luck()).prop_map(|(host, luck)| Event::Beat(host, luck)),
        12 => (of.clone(), 1_usize..40).prop_map(|(host, count)| Event::Deliver(host, count)),
        12 => (of.clone(), any::<u32>()).prop_map(|(host, seed)| Event::Think(host, seed)),
        12 => (of.clone(), luck()).prop_map(|(host, luck)| Event::Act(host, luck)),
        1 => of.clone().prop_map(Event::Restart),
        1 => (of.clone(), luck()).prop_map(|(host, luck)| Event::GiveUp(host, luck)),
        1 => of.clone().prop_map(Event::Watch),
        1 => (of, 0..FILES.len()).prop_map(|(host, file)| Event::File(host, file)),
    ]
}

/// What happens in a bucket that has an earlier state, which may lose some more.
fn events_after(hosts: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![30 => event(hosts), 1 => lost().prop_map(Event::Back)];
    proptest::collection::vec(event, 0..60)
}

/// How many writes a bucket loses: mostly the last ones.
fn lost() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1_usize..12, 1 => 1_usize..200]
}

fn run(count: usize, events: &[Event], paused: (usize, usize, usize), purged: bool) {
    let mut world = World::new(count);
    world.go_through(events, paused);
    world.calm();
    // Of all that was ever written.
    world.check(purged);
}

fn pause(hosts: usize) -> impl Strategy<Value = (usize, usize, usize)> {
    (0..hosts, 0_usize..300, 0_usize..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_two_plans_have_one_epoch_and_no_decision_is_skipped_or_repeated(
        events in events(4), pause in pause(4)
    ) {
        run(4, &events, pause, false);
    }

    #[test]
    fn the_same_where_the_bucket_is_purged_or_made_anew(
        mut events in events(4), pause in pause(4), at in 0_usize..400, anew in any::<bool>()
    ) {
        let at = at.min(events.len());
        events.insert(at, if anew { Event::Anew } else { Event::Purge });
        run(4, &events, pause, true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_fleet_goes_on_where_the_bucket_has_an_earlier_state(
        before in events(4), pause in pause(4), after in events_after(4), lost in lost(), led in any::<bool>()
    ) {
        let mut world = World::new(4);
        if led {
            world.calm();
        }
        world.go_through(&before, pause);
        world.happens(&Event::Back(lost));
        world.go_through(&after, pause);
        world.calm();
    }
}

#[test]
fn a_bucket_that_lost_the_lease_or_its_last_versions_has_the_leaders_again_though_nothing_is_decided_otherwise() {
    let cases = [Event::Anew, Event::Back(30)].map(|event| [Luck::Good, Luck::Lost].map(|luck| (event.clone(), luck)));
    for (event, luck) in cases.into_iter().flatten() {
        let mut world = World::new(2);
        world.calm();
        let leader = world.leaders()[0];
        let held = world.hosts[leader].seat.lease().unwrap().clone();
        world.happens(&event);
        world.happens(&Event::Beat(leader, Luck::Good));
        world.steps(leader, 1);
        world.happens(&Event::Think(leader, 7));
        world.happens(&Event::Act(leader, luck));
        if luck == Luck::Lost {
            world.steps(leader, 2);
        }
        let (_, lease) = world.bucket.get::<Lease>(&lease_key(W));
        let lease = lease.expect("it is written again");
        assert_ne!(lease.lineage, held.lineage, "{event:?}");
        assert_eq!(lease.fold, held.fold, "{event:?} {luck:?}: the policy's state goes on");
    }
}

#[test]
fn a_plan_that_no_leader_has_written_is_written_over() {
    let mut world = World::new(2);
    world.calm();
    let lease = world.hosts.iter().find_map(|host| host.seat.lease()).unwrap().clone();
    for lineage in [lease.lineage.clone(), "another".to_owned()] {
        let holder = HostId { id: "nobody".to_owned(), boot: "x".to_owned() };
        let forged = Plan { lineage, epoch: 1 << 50, holder, ..lease.plan() };
        world.bucket.put(plan_key(W), text(&forged), None);
        world.calm();
    }
    world.bucket.put(plan_key(W), b"garbage".to_vec(), None);
    world.calm();
}

/// What somebody writes who is no host. Numbers just below those that no reader takes overflow with the next one.
fn forgery() -> impl Strategy<Value = Forgery> {
    let number = || prop_oneof![Just(0), Just(COUNTED - 1), Just(COUNTED), Just((1 << 53) - 1)];
    prop_oneof![
        Just(Forgery::NoPlan),
        Just(Forgery::Shares),
        number().prop_map(Forgery::Later),
        Just(Forgery::Row),
        number().prop_map(Forgery::Lease),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_no_host_has_written_is_written_over_whatever_happens_meanwhile(
        before in events(3), pause in pause(3),
        after in proptest::collection::vec(
            prop_oneof![20 => event(3), 1 => forgery().prop_map(Event::Forge)], 0..120
        ),
        last in forgery()
    ) {
        let mut world = World::new(3);
        world.go_through(&before, pause);
        world.go_through(&after, pause);
        world.happens(&Event::Forge(last));
        world.calm();
    }
}

#[test]
fn what_is_written_in_the_leaders_name_is_written_over_and_the_policy_goes_on() {
    let numbers = [0, COUNTED, (1 << 53) - 1];
    let mut forgeries = vec![Forgery::NoPlan, Forgery::Shares, Forgery::Row];
    forgeries.extend(numbers.map(Forgery::Later));
    for forgery in forgeries {
        let mut world = World::new(2);
        world.calm();
        let before = world.hosts.iter().find_map(|host| host.seat.lease()).unwrap().clone();
        world.happens(&Event::Forge(forgery));
        world.calm();
        let after = world.hosts.iter().find_map(|host| host.seat.lease()).unwrap().clone();
        let decisions = |lease: &Lease| lease.fold.as_ref().unwrap().decisions;
        assert!(decisions(&after) > decisions(&before), "{forgery:?}");
        assert!(world.bucket.forged.len() == 1 && after.plan() == world.bucket.get(&plan_key(W)).1.unwrap());
        world.check(false);
    }
}

#[test]
fn a_lease_with_numbers_that_nobody_has_counted_to_is_gone_on_from_with_others() {
    for number in [COUNTED - 1, COUNTED, (1 << 53) - 1] {
        let mut world = World::new(2);
        world.calm();
        world.happens(&Event::Forge(Forgery::Lease(number)));
        world.calm();
        // Another takes over, too, and so reads what was written since.
        let leader = world.leaders()[0];
        world.happens(&Event::Restart(leader));
        world.calm();
        let (_, lease) = world.bucket.get::<Lease>(&lease_key(W));
        assert!(lease.unwrap().epoch < COUNTED, "{number}");
    }
}

#[test]
fn a_host_alone_leads_at_once_and_decides() {
    let mut world = World::new(1);
    world.calm();
    world.check(false);
    assert!(world.acted.len() > 30);
}

#[test]
fn the_policys_state_goes_on_where_the_leader_that_is_gone_has_left_it() {
    let mut world = World::new(3);
    world.calm();
    let leader = world.hosts.iter().position(|host| host.seat.lease().is_some()).unwrap();
    let before = world.acted.len() as u64;
    world.hosts.remove(leader);
    world.calm();
    world.check(false);
    assert_eq!(world.acted[before as usize].1, before + 1);
}

#[test]
fn one_that_gives_up_the_lead_keeps_its_share_until_another_leads_that_goes_on_from_its_state() {
    let mut world = World::new(3);
    world.calm();
    let (leader, before) = (world.leaders()[0], world.acted.len() as u64);
    world.happens(&Event::GiveUp(leader, Luck::Good));
    (0..3).for_each(|host| world.happens(&Event::Deliver(host, usize::MAX)));
    let shares: u32 = world.hosts.iter().map(|host| host.view.share(W).unwrap()).sum();
    assert_eq!((shares, world.leaders().len()), (MIN + 7, 0));
    assert!(world.hosts.iter().all(|host| host.view.parks(W)), "it is not known who leads");
    let stands_back = world.hosts.remove(leader);
    world.calm();
    world.hosts.insert(leader, stands_back);
    world.check(false);
    assert_eq!(world.acted[before as usize].1, before + 1);
}

#[test]
fn a_plan_by_a_lease_that_the_bucket_has_lost_does_not_stay_in_the_place_of_the_leaders() {
    let mut world = World::new(4);
    world.calm();
    world.happens(&Event::Restart(0));
    world.is_noticed_by(1);
    world.steps(1, 2);
    assert_eq!(world.leaders(), [1]);
    // The lease is lost. The one that led before has it again before the other notices, and plans with the same number.
    world.happens(&Event::Back(1));
    world.calm();
}

#[test]
fn two_hosts_do_not_take_each_other_for_the_leader_for_ever() {
    let mut world = World::new(4);
    world.calm();
    world.is_noticed_by(2);
    world.steps(2, 2);
    world.steps(0, 2);
    assert_eq!(world.leaders(), [2]);
    // The lease is lost, but not the plan, which is written after that: so the first host has the lease again, and
    // believes the plan that the other one has it.
    world.happens(&Event::Back(1));
    world.steps(2, 1);
    world.calm();
}

#[test]
fn a_plan_that_the_bucket_has_lost_is_written_again_though_the_lease_is_there() {
    let mut world = World::new(2);
    world.calm();
    world.decides(0, 3);
    world.decides(0, 7);
    world.happens(&Event::Back(1));
    // So the leader does not notice it by its next entry.
    world.happens(&Event::Beat(1, Luck::Good));
    world.calm();
}

#[test]
fn a_plan_of_another_row_with_the_revision_of_the_leaders_own_is_not_taken_for_that() {
    let mut world = World::new(3);
    world.calm();
    world.decides(0, 3);
    world.happens(&Event::Think(0, 7));
    world.is_noticed_by(1);
    // The leader goes on. What it writes is lost, and has been seen.
    world.happens(&Event::Act(0, Luck::Good));
    world.steps(0, 1);
    world.happens(&Event::Deliver(1, usize::MAX));
    world.happens(&Event::Back(2));
    let lost = world.hosts[0].seat.plan_revision(&world.hosts[0].view);
    world.steps(1, 5);
    assert_eq!(world.bucket.get::<Plan>(&plan_key(W)).0, lost);
    assert_eq!(world.leaders(), [0, 1]);
    world.calm();
}
