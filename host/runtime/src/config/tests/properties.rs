//! What holds for any text and any values.

use proptest::prelude::*;

use super::*;

const VALID: &str = include_str!("../../../../../examples/tidegate.example.toml");

/// A configuration with what can be decided about one workload written out.
fn explicit(config: &Config) -> String {
    let show = |duration: Duration| units::show_duration(&duration);
    let workload = &config.workloads[0];
    let (queue, scale, limits) = (&workload.queue, &workload.scale, &workload.limits);
    let backoff: Vec<String> = workload.retry.backoff.iter().map(|delay| show(*delay)).collect();
    format!(
        "grace = {:?}\n[nats]\nurl = {:?}\n[plugins]\ndir = {:?}\nrescan = {:?}\ncache = \"off\"\n\
         [workload.{}]\nstream = {:?}\nconsumer = {:?}\nhandler = {:?}\npolicy = {:?}\nack-wait = {:?}\n\
         max-ack-pending = {}\nmax-waiting = {}\n\
         scale = {{ min = {}, max = {}, interval = {:?}, window = {:?}, watch-consumer = {:?} }}\n\
         pull = {{ batch = {}, max-bytes = {:?}, expires = {:?} }}\n\
         limits = {{ time = {:?}, memory = {:?}, table-elements = {}, instances = {}, fuel = {}, response = {:?}, \
         publications = {}, log-rate = {:?}, respawns = {} }}\n\
         grants = {{ publish = {:?}, reply = {:?} }}\n\
         retry = {{ max-attempts = {}, backoff = {:?} }}\n",
        show(config.grace),
        config.nats.servers,
        config.plugins.dir,
        show(config.plugins.rescan),
        workload.name,
        queue.stream,
        queue.consumer,
        workload.handler,
        workload.policy,
        show(queue.ack_wait),
        queue.max_ack_pending,
        queue.max_waiting,
        scale.min,
        scale.max,
        show(scale.interval),
        show(scale.window),
        queue.watch_consumer,
        workload.pull.batch,
        units::show_size(&(workload.pull.max_bytes as u64)),
        show(workload.pull.expires),
        show(limits.time),
        units::show_size(&(limits.memory as u64)),
        limits.table_elements,
        limits.instances,
        limits.fuel,
        units::show_size(&(limits.response as u64)),
        limits.publications,
        units::show_size(&(limits.log_rate as u64)),
        limits.respawns,
        workload.grants.publish,
        workload.grants.reply,
        workload.retry.max_attempts,
        backoff,
    )
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_change_to_a_valid_file_makes_it_panic(at in 0..VALID.len(), length in 0usize..40, new in "[ -~\n]{0,12}") {
        let end = (at + length).min(VALID.len());
        if let (Some(before), Some(after)) = (VALID.get(..at), VALID.get(end..))
            && let Err(errors) = Config::from_toml(&format!("{before}{new}{after}"))
        {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                prop_assert!(!error.problem.is_empty() && !error.remedy.is_empty());
                prop_assert!(!error.to_string().contains('\n'), "{}", error);
            }
        }
    }

    #[test]
    fn what_was_decided_decides_the_same_when_written_out(
        max in 1u32..=10_000,
        batch in 1usize..=10_000,
        interval in 10u64..=3_600_000,
    ) {
        let text = format!("{LEAST}scale.max = {max}\npull.batch = {batch}\nscale.interval = \"{interval}ms\"\n");
        let config = Config::from_toml(&text).unwrap();
        prop_assert_eq!(Config::from_toml(&explicit(&config)), Ok(config));
    }

    #[test]
    fn what_is_decided_can_work(max in 1u32..=10_000, batch in 1usize..=10_000) {
        let config = Config::from_toml(&format!("{LEAST}scale.max = {max}\npull.batch = {batch}\n")).unwrap();
        let workload = &config.workloads[0];
        prop_assert!(workload.queue.max_ack_pending > i64::from(max) * i64::try_from(batch).unwrap());
        prop_assert!(workload.scale.min <= workload.scale.max && workload.scale.window >= workload.scale.interval);
    }

    #[test]
    fn a_flag_wins_over_the_file(file in 1i64..=10_000, flag in 1i64..=10_000) {
        let (_directory, config) = written(&format!("{LEAST}pull.batch = {file}\n"));
        let loaded = Config::load(&flags(&format!("{config} --batch {flag}")), &variables(&[])).unwrap();
        prop_assert_eq!(loaded.workloads[0].pull.batch, usize::try_from(flag).unwrap());
    }
}
