//! Flags over environment over file; contexts; connections.

use super::*;

fn load(line: &str, pairs: &[(&str, &str)]) -> Config {
    Config::load(&flags(line), &variables(pairs)).unwrap()
}

fn refused(line: &str, pairs: &[(&str, &str)]) -> String {
    Config::load(&flags(line), &variables(pairs)).unwrap_err().to_string()
}

const BY_FLAGS: &str = "--stream ORDERS --handler receipts --policy backlog";

#[test]
fn flags_alone_make_a_workload_named_after_its_handler() {
    let config =
        load(&format!("{BY_FLAGS} --plugins p --subjects shop.a,shop.b --setting k=a=b --min 1 --no-cache"), &[]);
    let workload = &config.workloads[0];
    assert_eq!(workload.name, "receipts");
    assert_eq!(workload.queue.consumer, "receipts-workers");
    assert_eq!(workload.queue.manage, Manage::Create);
    assert_eq!(workload.queue.subjects, ["shop.a", "shop.b"]);
    assert_eq!(workload.settings, [("k".to_owned(), Setting::from("a=b"))]);
    assert_eq!(workload.scale.min, 1);
    assert_eq!(config.plugins.dir, PathBuf::from("p"));
    assert_eq!(config.plugins.cache, None);
    assert_eq!(config.plugins.compile, Compile::default());
    let bounds = "--max-plugin-size 1MiB --compile-time 5s --compile-memory 1GiB";
    let Compile { program, max_size, time, memory } = load(&format!("{BY_FLAGS} {bounds}"), &[]).plugins.compile;
    assert_eq!((program, max_size, time, memory), (None, 1 << 20, Duration::from_secs(5), 1 << 30));
}

#[test]
fn flags_that_do_not_make_a_workload_say_which_are_missing() {
    assert_eq!(
        refused("--stream S --handler h", &[]),
        "--policy: is missing; give the name of a plugin that decides the number of workers, such as \"backlog\""
    );
    let neither = refused("--stream S", &[]);
    assert!(neither.starts_with("--handler: is missing; ") && neither.contains("and --policy NAME"), "{neither}");
    let handler = refused("--stream S --policy p", &[]);
    assert!(handler.starts_with("--handler: is missing; ") && !handler.contains("--policy"), "{handler}");
    assert!(refused(&format!("{BY_FLAGS} --max 0"), &[]).starts_with("--max: 0 is too small; "));
    assert!(
        refused(&format!("{BY_FLAGS} --min 5 --max 4"), &[]).starts_with("--min: 5 is more than max, which is 4; ")
    );
}

#[test]
fn flags_change_the_one_workload_of_a_file() {
    let (_directory, config) = written(&format!("{LEAST}scale.max = 4\nsettings.a = 1\nsettings.b = 1\n"));
    let config = load(&format!("{config} --max 8 --setting b=2"), &[]);
    assert_eq!(config.workloads[0].scale.max, 8);
    assert_eq!(config.workloads[0].queue.manage, Manage::Bind);
    let settings = [("a".to_owned(), Setting::from("1")), ("b".to_owned(), Setting::from("2"))];
    assert_eq!(config.workloads[0].settings, settings);
}

#[test]
fn flags_name_which_of_several_workloads_they_change() {
    let (_directory, config) = written(&format!("{LEAST}{}", LEAST.replace("orders]", "invoices]")));
    assert!(refused(&format!("{config} --max 8"), &[]).contains("--workload: is missing"));
    assert!(refused(&format!("{config} --max 8 --workload x"), &[]).contains("it has orders, invoices"));
    let config = load(&format!("{config} --max 8 --workload invoices"), &[]);
    assert_eq!(config.workloads.iter().map(|workload| workload.scale.max).collect::<Vec<_>>(), [16, 8]);
}

#[test]
fn flags_win_over_environment_over_file() {
    let (_directory, file) = written(&format!("[nats]\nurl = \"nats://file\"\nca = \"/file.pem\"\n{LEAST}"));
    let variable = [("NATS_URL", "nats://env1,nats://env2"), ("NATS_CERT", "")];
    assert_eq!(load(&file, &[]).nats.servers, ["nats://file"]);
    assert_eq!(load(&file, &variable).nats.servers, ["nats://env1", "nats://env2"]);
    let nats = load(&format!("{file} --server nats://flag"), &variable).nats;
    assert_eq!(nats.servers, ["nats://flag"]);
    assert_eq!(nats.ca, Some("/file.pem".into()));
}

#[test]
fn the_highest_layer_that_says_who_this_is_decides_how() {
    let (_directory, file) = written(&format!("[nats]\nuser = \"ada\"\npassword = \"p\"\n{LEAST}"));
    let user = |password: &str| Auth::User { name: "ada".to_owned(), password: password.to_owned() };
    assert_eq!(load(&file, &[]).nats.auth, user("p"));
    assert_eq!(load(&file, &[("NATS_PASSWORD", "q")]).nats.auth, user("q"));
    assert_eq!(load(&file, &[("NATS_CREDS", "/x.creds")]).nats.auth, Auth::Creds("/x.creds".into()));
    assert_eq!(load(BY_FLAGS, &[("NATS_USER", "t")]).nats.auth, Auth::Token("t".to_owned()));
    assert_eq!(load(BY_FLAGS, &[("NATS_NKEY", "/x.nk")]).nats.auth, Auth::Nkey("/x.nk".into()));
    assert_eq!(load(BY_FLAGS, &[("NATS_TOKEN", "t")]).nats.auth, Auth::Token("t".to_owned()));
}

#[test]
fn a_url_says_who_this_is_unless_something_above_it_does() {
    let (_directory, file) = written(&format!("[nats]\nuser = \"ada\"\npassword = \"p\"\n{LEAST}"));
    let url = [("NATS_URL", "nats://bob:b%40b@a,nats://b")];
    let nats = load(&file, &url).nats;
    assert_eq!(nats.servers, ["nats://a", "nats://b"]);
    assert_eq!(nats.auth, Auth::User { name: "bob".to_owned(), password: "b@b".to_owned() });
    let above = load(&format!("{file} --token t"), &url).nats;
    assert_eq!((above.servers, above.auth), (nats.servers, Auth::Token("t".to_owned())));
}

#[test]
fn inboxes_have_a_prefix_by_flag_or_file() {
    let (_directory, file) = written(&format!("[nats]\ninbox-prefix = \"_INBOX_file\"\n{LEAST}"));
    assert_eq!(load(&file, &[]).nats.inbox(), "_INBOX_file");
    assert_eq!(load(&format!("{file} --inbox-prefix _INBOX_flag"), &[]).nats.inbox(), "_INBOX_flag");
    assert_eq!(load(BY_FLAGS, &[]).nats.inbox(), "_INBOX");
}

#[test]
fn requests_to_jetstream_have_the_prefix_of_the_account_a_domain_or_an_import() {
    let (_directory, file) = written(&format!("[nats]\njetstream-domain = \"hub\"\n{LEAST}"));
    assert_eq!(load(&file, &[]).nats.api(), "$JS.hub.API");
    assert_eq!(load(&format!("{BY_FLAGS} --api-prefix OWNER.API"), &[]).nats.api(), "OWNER.API");
    let own = load(&format!("{BY_FLAGS} --api-prefix $JS.API"), &[]).nats;
    assert_eq!((own.api(), own.of_bucket("$KV.b.k".to_owned()).as_str()), ("$JS.API", "$KV.b.k"));
    assert_eq!(load(BY_FLAGS, &[]).nats, own);
    let flags = "--jetstream-domain hub --token t --inbox-prefix _INBOX_a --server nats://a";
    let moved = load(&format!("{BY_FLAGS} {flags}"), &[]).nats.moved_to("nats://own");
    assert_eq!((moved.api(), &moved.auth, moved.inbox()), ("$JS.API", &Auth::None, "_INBOX_a"));
    assert_eq!(moved.servers, ["nats://own"]);
}

#[test]
fn with_a_server_of_its_own_nothing_counts_that_says_how_to_reach_another() {
    let (table, own) = ("[nats]\ncontext = \"nope\"\ninbox-prefix = \"_INBOX_a\"\n", "[workload.orders.nats]\n");
    let (_directory, file) = written(&format!("{table}{LEAST}{own}context = \"none\"\n"));
    let variables = variables(&[("NATS_CONTEXT", "nothing"), ("NATS_USER", "ada"), ("HOME", "/nowhere")]);
    let to_others = flags(&file);
    assert!(Config::load(&to_others, &variables).is_err());
    let config = Config::load(&Flags { own_server: true, ..to_others }, &variables).unwrap();
    let inbox_prefix = Some("_INBOX_a".to_owned());
    assert_eq!(config.nats, Nats { inbox_prefix, ..load(BY_FLAGS, &[]).nats });
    assert_eq!(config.workloads[0].nats, None);
}

#[test]
fn connections_that_contradict_themselves_are_refused() {
    for (table, expected) in [
        ("user = \"a\"\npassword = \"b\"\ntoken = \"c\"", "nats.user and nats.token are two ways to say who this is"),
        ("creds = \"a\"\nnkey = \"b\"", "nats.nkey and nats.creds are two ways"),
        ("cert = \"a\"", "nats.cert: a certificate without its key; give key too"),
        ("key = \"a\"", "nats.key: a key without its certificate; give cert too"),
        ("user = \"a\"", "nats.user: a user without a password"),
        ("password = \"a\"", "nats.password: a password without a user"),
        ("url = \"nats://a:b@c\"\ntoken = \"t\"", "nats.url says who this is, and so does another setting beside it"),
        ("url = [\"nats://a:b@c\", \"nats://d@e\"]", "the URLs hold several credentials"),
        ("inbox-prefix = \"a.*\"", "nats.inbox-prefix: \"a.*\" has a wildcard"),
        ("inbox-prefix = \"$JS\"", "which NATS keeps for itself"),
        ("jetstream-domain = \"a.b\"", "nats.jetstream-domain: \"a.b\" cannot be a domain of JetStream"),
        ("api-prefix = \"a.*\"", "nats.api-prefix: \"a.*\" has a wildcard"),
        ("api-prefix = \"a.API.\"", "\"a.API.\" ends with a dot; write \"a.API\""),
        ("jetstream-domain = \"hub\"\napi-prefix = \"a.API\"", "nats.api-prefix: a domain and a prefix of the API"),
        ("tls-first = \"yes\"", "nats.tls-first: expected a boolean"),
        ("url = []", "nats.url: the list of servers is empty"),
        ("url = \"http://a\"", "nats.url: the scheme \"http\" is not known"),
        ("url = \"a b\"", "holds white space"),
        ("url = \"nats://\"", "has no host"),
    ] {
        let all = errors(&format!("[nats]\n{table}\n{LEAST}"));
        assert_eq!(all.len(), 1, "{all:#?}");
        assert!(all[0].contains(expected), "{}", all[0]);
    }
    assert!(
        refused(BY_FLAGS, &[("NATS_CERT", "x")]).starts_with("NATS_CERT: a certificate without its key; give NATS_KEY")
    );
}

#[test]
fn a_context_replaces_what_is_below_it_and_yields_to_what_is_above() {
    let home = tempfile::tempdir().unwrap();
    let contexts = home.path().join("nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(contexts.join("prod.json"), r#"{"url":"nats://prod","creds":"/prod.creds"}"#).unwrap();
    std::fs::write(contexts.join("plain.json"), r#"{"url":"nats://plain"}"#).unwrap();
    let config_home = ("XDG_CONFIG_HOME", home.path().to_str().unwrap());

    let (_directory, file) = written(&format!("[nats]\ncontext = \"prod\"\n{LEAST}"));
    let nats = load(&file, &[config_home]).nats;
    assert_eq!((nats.servers, nats.auth), (vec!["nats://prod".to_owned()], Auth::Creds("/prod.creds".into())));
    let nats = load(&file, &[config_home, ("NATS_URL", "nats://env")]).nats;
    assert_eq!((nats.servers, nats.auth), (vec!["nats://env".to_owned()], Auth::Creds("/prod.creds".into())));
    let nats = load(&format!("{file} --context plain"), &[config_home, ("NATS_TOKEN", "secret")]).nats;
    assert_eq!((nats.servers, nats.auth), (vec!["nats://plain".to_owned()], Auth::None));
    let nats = load(BY_FLAGS, &[config_home, ("NATS_CONTEXT", "prod")]).nats;
    assert_eq!(nats.servers, ["nats://prod"]);
    assert!(refused(&format!("{BY_FLAGS} --context nope"), &[config_home]).contains("nats/context/nope.json"));
    let (_directory, both) = written(&format!("[nats]\nurl = \"a\"\ncontext = \"prod\"\n{LEAST}"));
    assert!(refused(&both, &[config_home]).contains("url and context are both given"));
}

#[test]
fn what_is_about_plugins_needs_no_workload_and_no_file() {
    let bucket = |line: &str| Config::for_plugins(&flags(line), &variables(&[])).map(|of| of.plugins.origin.bucket);
    assert_eq!(bucket("--plugin-bucket B"), Ok(Some("B".to_owned())));
    let (_directory, file) = written("[nats]\nurl = \"nats://here\"\n[plugins]\nbucket = \"C\"\n");
    assert_eq!(bucket(&file), Ok(Some("C".to_owned())));
    assert!(refused(&file, &[]).contains("there is no workload"));
    // What is written all the same has to be right.
    let (_directory, wrong) = written("[plugins]\nbucket = \"C\"\n[workload.orders]\nstream = \"S\"\n");
    assert!(bucket(&wrong).is_err_and(|errors| errors.to_string().contains("workload.orders.handler: is missing")));
}

#[test]
fn a_command_that_only_connects_needs_no_workload() {
    let nats = Nats::load(&Layer::default(), None, &variables(&[("NATS_URL", "nats://env")])).unwrap();
    assert_eq!(nats.servers, ["nats://env"]);
}
