//! Defaults and derived values.

use super::*;

const EXAMPLE: &str = include_str!("../../../../../examples/tidegate.example.toml");

/// No grants at all.
fn nothing() -> Grants {
    Grants { reply: vec![], ..Grants::default() }
}

#[test]
fn the_least_configuration_gets_the_documented_defaults() {
    let config = Config::from_toml(LEAST).unwrap();
    assert_eq!(config.nats.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(config.nats.auth, Auth::None);
    assert_eq!(config.dead_letters.stream, "TIDEGATE_DEAD");
    assert_eq!(config.dead_letters, DeadLetters::default());
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!(config.plugins.dir, PathBuf::from("plugins"));
    assert_eq!(config.plugins.cache, None);
    let workload = &config.workloads[0];
    assert_eq!(workload.queue.consumer, "orders-workers");
    assert_eq!(workload.queue.watch_consumer, "orders-workers-watch");
    assert_eq!(workload.queue.manage, Manage::Bind);
    assert_eq!(workload.queue.max_ack_pending, 16_000);
    assert_eq!(workload.queue.max_waiting, 512);
    assert_eq!((workload.scale.min, workload.scale.max), (0, 16));
    assert_eq!((workload.pull.batch, workload.pull.ahead), (100, 2_000));
    assert_eq!(workload.pull.max_bytes, 64 << 20);
    assert_eq!(workload.limits, Limits::default());
    assert_eq!(workload.grants, Grants { reply: vec!["_INBOX.>".to_owned()], ..nothing() });
    assert_eq!(config.http, None);
    assert_eq!(workload.retry.max_attempts, 5);
    assert_eq!(workload.retry.backoff.len(), 4);
}

#[test]
fn a_shadow_has_the_settings_of_the_policy_unless_it_has_a_table_of_its_own_be_it_empty() {
    let settings = |shadow: &str| {
        let text = format!("{LEAST}\npolicy-settings = {{ cooldown = \"9s\" }}\n{shadow}");
        Config::from_toml(&text).unwrap().workloads.pop().unwrap().shadow.map(|shadow| shadow.settings)
    };
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    assert_eq!(settings("shadow.policy = \"s\""), Some(pair("cooldown", "9s")));
    assert_eq!(settings("shadow = { policy = \"s\", policy-settings = { a = \"1\" } }"), Some(pair("a", "1")));
    assert_eq!(settings("shadow = { policy = \"s\", policy-settings = {} }"), Some(vec![]));
    assert_eq!(settings("shadow.policy-settings = {}"), None);
}

#[test]
fn a_port_is_one_of_this_machine_alone() {
    for (written, meant) in [
        ("8222", "127.0.0.1:8222"),
        (":8222", "127.0.0.1:8222"),
        ("localhost:8222", "127.0.0.1:8222"),
        ("0.0.0.0:8222", "0.0.0.0:8222"),
        ("[::1]:8222", "[::1]:8222"),
    ] {
        let config = Config::from_toml(&format!("http = \"{written}\"\n{LEAST}")).unwrap();
        assert_eq!(config.http, Some(meant.parse().unwrap()), "{written}");
    }
}

#[test]
fn names_to_be_asked_under_are_without_ports() {
    let config = Config::from_toml(&format!("http-names = [\"a.internal\", \"b\"]\n{LEAST}")).unwrap();
    assert_eq!(config.http_names, ["a.internal", "b"]);
    for wrong in ["a.internal:8222", "http://a", "", "a b"] {
        let errors = Config::from_toml(&format!("http-names = \"{wrong}\"\n{LEAST}")).unwrap_err().to_string();
        assert!(errors.contains("http-names: ") && errors.contains("is not the name of a host"), "{errors}");
    }
}

#[test]
fn a_grant_replaces_the_default() {
    let grants = "grants = { publish = \"out.>\", reply = [] }";
    let config = Config::from_toml(&format!("{LEAST}{grants}\n")).unwrap();
    assert_eq!(config.workloads[0].grants, Grants { publish: vec!["out.>".to_owned()], ..nothing() });
}

#[test]
fn the_example_file_is_read() {
    let config = Config::from_toml(EXAMPLE).unwrap();
    let workload = &config.workloads[0];
    assert_eq!(workload.policy_settings, [("pending-per-worker".to_owned(), "100".to_owned())]);
    assert_eq!(workload.queue.filter, ["shop.orders.new"]);
}

#[test]
fn the_stream_of_dead_letters_is_made_as_the_file_says() {
    let table = "[dead-letters]\nstream = \"MORGUE\"\nreplicas = 3\nmax-age = \"720h\"\nmax-bytes = \"1GiB\"\n";
    let config = Config::from_toml(&format!("{LEAST}{table}")).unwrap();
    let max_age = Some(Duration::from_secs(30 * 24 * 3600));
    let stream = "MORGUE".to_owned();
    assert_eq!(config.dead_letters, DeadLetters { stream, replicas: 3, max_age, max_bytes: Some(1 << 30) });
}

#[test]
fn the_example_file_shows_every_key() {
    use super::keys::{HOST, WORKLOAD};
    for (table, key) in HOST.iter().chain(WORKLOAD).map(keys::Key::parts) {
        let shown = EXAMPLE.lines().map(|line| line.trim_start_matches("# ")).any(|line| {
            line.starts_with(&format!("{key} ="))
                || line.starts_with(&format!("[{key}"))
                || line.contains(&format!(".{key}]"))
        });
        assert!(shown, "{table}.{key}");
    }
}

#[test]
fn the_example_with_its_commented_defaults_is_what_leaving_them_out_gives() {
    let least = "[workload.orders]\nstream = \"ORDERS\"\nmanage = \"create\"\n\
        subjects = [\"shop.orders.>\", \"shop.receipts.>\"]\n\
        filter = \"shop.orders.new\"\nhandler = \"receipts\"\npolicy = \"backlog\"\nscale.max = 64\n\
        settings.subject-prefix = \"shop.receipts\"\npolicy-settings.pending-per-worker = 100\n\
        grants.publish = \"shop.receipts.>\"\n";
    assert_eq!(Config::from_toml(EXAMPLE), Config::from_toml(least));
}

#[test]
fn a_burst_is_what_the_rate_allows_in_a_second_unless_it_is_given() {
    let rate = |lines: &str| {
        let config = Config::from_toml(&format!("{LEAST}{lines}\n")).unwrap();
        config.workloads[0].start_limits.rate.map(|rate| (rate.every, rate.burst))
    };
    assert_eq!(rate(""), None);
    assert_eq!(rate("rate = \"500/s\""), Some((Duration::from_millis(2), 500)));
    assert_eq!(rate("rate = \"30/m\""), Some((Duration::from_secs(2), 1)));
    assert_eq!(rate("rate = \"500/s\"\nburst = 3"), Some((Duration::from_millis(2), 3)));
    let none = Config::from_toml(LEAST).unwrap();
    assert!(none.workloads[0].start_limits.is_none() && none.workloads[0].paused.is_none());
    let breaker = Config::from_toml(&format!("{LEAST}breaker.ratio = 0.25\npaused = false\n")).unwrap();
    let workload = &breaker.workloads[0];
    assert_eq!(workload.paused, Some(false));
    let seconds = Duration::from_secs;
    let default = BreakerConfig { ratio: 0.25, window: seconds(10), min_calls: 20, probe_interval: seconds(1) };
    assert_eq!(workload.start_limits.breaker, Some(default));
}

#[test]
fn pending_grows_with_workers_and_batch() {
    let config = Config::from_toml(&format!("{LEAST}scale.max = 1000\npull.batch = 200\n")).unwrap();
    assert_eq!(config.workloads[0].queue.max_ack_pending, 400_000);
    let small = Config::from_toml(&format!("{LEAST}scale.max = 1\npull.batch = 1\n")).unwrap();
    assert_eq!(small.workloads[0].queue.max_ack_pending, 1_000);
}

#[test]
fn a_batch_is_as_large_as_is_said_and_a_worker_holds_one() {
    let of = |lines: &str| {
        let Workload { batching, pull, .. } =
            Config::from_toml(&format!("{LEAST}{lines}\n")).unwrap().workloads.remove(0);
        (batching.size, pull.batch, batching.wanted)
    };
    assert_eq!(of(""), (100, 100, false));
    assert_eq!(of("pull.batch = 30"), (30, 30, false));
    assert_eq!(of("isolation = \"message\""), (1, 100, false));
    assert_eq!(of("batching.wait = \"15s\""), (100, 100, true));
    assert_eq!(of("batching.size = 10"), (10, 100, true));
    assert_eq!(of("batching.size = 1000"), (1000, 1000, true));
}

#[test]
fn a_long_interval_makes_the_window_as_long() {
    let config = Config::from_toml(&format!("{LEAST}scale.interval = \"1m\"\n")).unwrap();
    assert_eq!(config.workloads[0].scale.window, Duration::from_secs(60));
}

#[test]
fn settings_take_numbers_and_booleans_as_written() {
    let text = format!("{LEAST}[workload.orders.settings]\na = 1_000\nb = 1.50\nc = true\nd = \"x\"\ne = 0xff\n");
    let config = Config::from_toml(&text).unwrap();
    let values: Vec<&str> = config.workloads[0].settings.iter().filter_map(|(_, value)| value.text()).collect();
    assert_eq!(values, ["1000", "1.50", "true", "x", "255"]);
}

#[test]
fn a_setting_can_stand_in_a_variable_or_in_a_file_that_is_relative_to_this_one() {
    let secrets =
        "settings = { a = \"x\", b = { env = \"TOKEN\" }, c = { file = \"token\" }, d = { file = \"/run/d\" } }";
    let (directory, config) = written(&format!("{LEAST}{secrets}\n"));
    let config = Config::load(&flags(&config), &variables(&[])).unwrap();
    let expected = [
        ("a", Setting::Text("x".to_owned())),
        ("b", Setting::Env("TOKEN".to_owned())),
        ("c", Setting::File(directory.path().join("token"))),
        ("d", Setting::File("/run/d".into())),
    ];
    assert_eq!(config.workloads[0].settings, expected.map(|(name, setting)| (name.to_owned(), setting)));
}

#[test]
fn who_may_change_things_over_http_has_a_token_that_cannot_be_guessed() {
    let read = |table: &str| Config::from_toml(&format!("http-admin = {table}\n{LEAST}"));
    let admin = |table: &str| read(table).unwrap().http_admin.unwrap();
    assert_eq!(Config::from_toml(LEAST).unwrap().http_admin, None);
    assert_eq!(admin("{ token = { env = \"T\" } }").token, Setting::Env("T".to_owned()));
    let written = admin("{ token = \"0123456789abcdef\" }");
    assert!(!format!("{written:?}").contains("0123"));
    for (wrong, told) in [
        ("{ token = \"hunter2\" }", "its token is so short"),
        ("{ token = \"0123456789abcdef\u{20ac}\" }", "its token holds other characters than visible ASCII ones"),
        ("{}", "it has no token"),
        ("{ token = { env = \"T\" }, user = \"ada\" }", "unknown key user"),
        ("\"hunter2\"", "expected a table"),
    ] {
        let errors = read(wrong).unwrap_err().to_string();
        assert!(errors.contains(told) && errors.contains("http-admin") && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn workloads_keep_the_order_of_the_file() {
    let text = format!("{}{LEAST}", LEAST.replace("orders", "zebra"));
    let names: Vec<String> = Config::from_toml(&text).unwrap().workloads.into_iter().map(|w| w.name).collect();
    assert_eq!(names, ["zebra", "orders"]);
}

#[test]
fn compiled_plugins_are_kept_in_the_cache_directory_of_the_user() {
    let (_directory, config) = written(LEAST);
    let cache = |pairs| Config::load(&flags(&config), &variables(pairs)).unwrap().plugins.cache;
    assert_eq!(cache(&[("HOME", "/home/ada")]), Some("/home/ada/.cache/tidegate/compiled".into()));
    assert_eq!(cache(&[("HOME", "/home/ada"), ("XDG_CACHE_HOME", "/tmp/c")]), Some("/tmp/c/tidegate/compiled".into()));
    assert_eq!(cache(&[]), None);
}

#[test]
fn paths_in_a_file_are_relative_to_it_and_a_tilde_is_home() {
    let (directory, config) = written(&format!("[plugins]\ndir = \"p\"\ncache = \"~/c\"\n{LEAST}"));
    let config = Config::load(&flags(&config), &variables(&[("HOME", "/home/ada")])).unwrap();
    assert_eq!(config.plugins.dir, directory.path().join("p"));
    assert_eq!(config.plugins.cache, Some("/home/ada/c".into()));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let text = format!("[nats]\nuser = \"ada\"\npassword = \"hunter2\"\n{LEAST}");
    assert!(!format!("{:?}", Config::from_toml(&text).unwrap()).contains("hunter2"));
    assert!(!format!("{:?}", flags("--stream S --password hunter2")).contains("hunter2"));
}
