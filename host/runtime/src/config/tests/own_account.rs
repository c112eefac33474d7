//! Workloads in accounts of their own.

use super::*;

const WORKLOAD: &str = "handler = \"receipts\"\npolicy = \"backlog\"\n";

fn workload(name: &str, stream: &str, more: &str) -> String {
    format!("[workload.{name}]\nstream = \"{stream}\"\n{WORKLOAD}{more}\n")
}

fn section(user: &str) -> String {
    format!("nats = {{ url = \"tls://other\", user = \"{user}\", password = \"p\" }}")
}

/// The only error of a workload with this table.
fn one(table: &str) -> String {
    let errors = errors(&format!("{LEAST}[workload.orders.nats]\n{table}\n"));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn nothing_that_is_said_of_the_hosts_connection_counts_for_one_of_a_workloads_own() {
    let nats = "[nats]\nurl = \"tls://host\"\nuser = \"ada\"\npassword = \"p\"\nca = \"ca.pem\"\n\
                inbox-prefix = \"_INBOX_host\"\njetstream-domain = \"hub\"\n";
    let own = "[workload.orders.nats]\nurl = \"other\"\ncreds = \"orders.creds\"\n";
    let (directory, file) = written(&format!("{nats}{LEAST}{own}"));
    let variables = variables(&[("NATS_TOKEN", "secret"), ("NATS_CA", "/env.pem")]);
    let config = Config::load(&flags(&format!("{file} --server flag --tlscert c --tlskey k")), &variables).unwrap();
    let found = config.workloads[0].nats.clone().unwrap();
    let creds = Auth::Creds(directory.path().join("orders.creds"));
    assert_eq!(found, Nats { servers: vec!["other".to_owned()], auth: creds, ..Nats::default() });
    assert_eq!(config.nats.servers, ["flag"]);
    assert_eq!(config.nats_of(&config.workloads[0]), &found);
    assert_eq!(Config::from_toml(LEAST).unwrap().workloads[0].nats, None);
}

#[test]
fn a_command_that_is_about_one_workload_connects_as_it_does_unless_flags_say_otherwise() {
    let own = "[workload.orders.nats]\nurl = \"other\"\ntoken = \"t\"\n";
    let (_directory, file) = written(&format!("{LEAST}{own}{}", workload("here", "HERE", "")));
    let environment = variables(&[("NATS_URL", "env")]);
    let reading = Reading::load(&flags(&file), &environment).unwrap();
    let of = |name, line: &str| reading.nats_of(name, &flags(line).host, &environment).unwrap();
    assert_eq!(of("here", "").servers, ["env"]);
    assert_eq!((of("orders", "").servers, of("orders", "").auth), (vec!["other".to_owned()], Auth::Token("t".into())));
    assert_eq!(of("orders", "--creds a.creds").auth, Auth::Creds("a.creds".into()));
    assert_eq!(of("orders", "--creds a.creds").servers, ["other"]);
}

#[test]
fn what_is_wrong_with_it_is_told_with_its_line() {
    let begin = "line 6: workload.orders.nats";
    for (table, expected) in [
        (
            "user = \"a\"\npassword = \"b\"",
            "line 1: workload.orders.nats: the workload has a connection of its own, and",
        ),
        ("urls = \"a\"", &format!("{begin}.urls: unknown key; did you mean url?")),
        ("url = \"http://a\"", &format!("{begin}.url: the scheme \"http\" is not known")),
        (
            "url = \"a\"\nuser = \"b\"",
            "line 7: workload.orders.nats.user: a user without a password; give password too,",
        ),
        (
            "url = \"a\"\ncreds = \"b\"\nuser = \"c\"\npassword = \"d\"",
            "line 7: workload.orders.nats.creds: workload.orders.nats.user and workload.orders.nats.creds are two ways",
        ),
        ("url = \"a\"\ncert = \"b\"", "line 7: workload.orders.nats.cert: a certificate without its key; give key too"),
        ("url = \"a\"\ncontext = \"b\"", "line 7: workload.orders.nats.context: url and context are both given"),
        (
            "url = \"a\"\napi-prefix = \"b\"\njetstream-domain = \"c\"",
            "line 7: workload.orders.nats.api-prefix: a domain",
        ),
        ("url = \"a\"\ninbox-prefix = \"b.>\"", "line 7: workload.orders.nats.inbox-prefix: "),
        ("", "line 5: workload.orders.nats: the table is empty; give url or context, or remove it to use [nats]"),
    ] {
        let error = match table.contains("context") {
            // A context that is not there is told too.
            true => errors(&format!("{LEAST}[workload.orders.nats]\n{table}\n")).join("\n"),
            false => one(table),
        };
        assert!(error.contains(expected), "{table}: {error}");
        assert!(!error.contains("NATS_PASSWORD"), "{error}");
    }
}

#[test]
fn what_must_not_be_shared_may_be_in_two_accounts() {
    let shared = "consumer = \"w\"\nsubjects = [\"in.>\"]\ngrants.publish = \"in.>\"\nfilter = \"in.a\"\n";
    let (here, there) = (workload("here", "S", shared), workload("there", "S", &format!("{shared}{}", section("a"))));
    let config = Config::from_toml(&format!("{here}{there}")).unwrap();
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(config.accounts().len(), 1);
    assert_eq!(config.workloads_at(config.workloads[1].nats.as_ref()), [&config.workloads[1]]);
    let again = workload("again", "S", &format!("{shared}{}", section("a")));
    let errors = errors(&format!("{here}{there}{again}"));
    assert!(errors.len() == 1 && errors[0].contains("the consumer \"w\" of S is already that of"), "{errors:?}");
}

#[test]
fn the_hosts_connection_written_out_is_no_other() {
    let here = format!("{}{}", workload("here", "S", "consumer = \"w\""), "");
    let table = "nats = { url = \"a\", token = \"t\" }";
    let host = "[nats]\nurl = \"a\"\ntoken = \"t\"\n";
    let config = Config::from_toml(&format!("{host}{}", workload("there", "T", table))).unwrap();
    assert_eq!((config.accounts().len(), &config.workloads[0].nats), (0, &None));
    let shared = workload("there", "S", &format!("consumer = \"w\"\n{table}"));
    assert_eq!(errors(&format!("{host}{here}{shared}")).len(), 1);
}

#[test]
fn on_a_server_of_ones_own_all_workloads_are_on_that() {
    let config = Config::from_toml(&workload("there", "S", &section("a"))).unwrap().moved_to("nats://own");
    assert_eq!((config.nats.servers.as_slice(), &config.workloads[0].nats), (&["nats://own".to_owned()][..], &None));
}

#[test]
fn another_account_is_a_change_of_its_workload_alone() {
    let of = |user: &str| {
        let (_directory, file) = written(&format!("{LEAST}{}", workload("there", "S", &section(user))));
        Reading::load(&flags(&file), &Environment::new()).unwrap()
    };
    let changes = plan(&of("a"), &of("b")).changes;
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["workload there: changed (nats.user), it drains and starts again"]);
}

#[test]
fn no_secret_of_it_shows_in_debug_output_and_none_reaches_the_fleet() {
    let config = Config::from_toml(&format!("fleet.bucket = \"F\"\n{}", workload("w", "S", &section("a")))).unwrap();
    assert!(!format!("{:?}", config.workloads[0].nats).contains("\"p\""));
    assert!(config.fleet.unwrap().fingerprints["w"].keys().all(|key| !key.starts_with("nats.")));
}
