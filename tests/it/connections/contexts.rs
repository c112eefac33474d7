//! Contexts of the nats command, as `nats context save` writes them.

use serde_json::json;
use tempfile::TempDir;

use super::{Way, configured};
use crate::support::cli::Running;
use crate::support::host::plugins;

/// A home of contexts, and the way there.
pub(super) struct Home(TempDir);

impl Home {
    pub(super) fn new() -> Self {
        let home = TempDir::new().unwrap();
        std::fs::create_dir_all(home.path().join("nats/context")).unwrap();
        Self(home)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join("nats/context").join(format!("{name}.json")).to_str().unwrap().to_owned()
    }

    /// Saves a context that has `fields` and is empty otherwise.
    pub(super) fn save(&self, name: &str, fields: serde_json::Value) {
        let mut context = json!({
            "description": "", "url": "", "socks_proxy": "", "token": "", "user": "", "password": "", "creds": "",
            "nkey": "", "cert": "", "key": "", "ca": "", "nsc": "", "jetstream_domain": "", "jetstream_api_prefix": "",
            "jetstream_event_prefix": "", "inbox_prefix": "", "user_jwt": "", "color_scheme": "", "tls_first": false,
        });
        for (key, value) in fields.as_object().unwrap() {
            context[key] = value.clone();
        }
        std::fs::write(self.file(name), serde_json::to_string_pretty(&context).unwrap()).unwrap();
    }

    pub(super) fn way(&self, arguments: &[&str]) -> Way {
        Way::flags(arguments.iter().copied()).variable("XDG_CONFIG_HOME", self.0.path().to_str().unwrap())
    }
}

#[tokio::test]
async fn a_context_is_named_by_flag_by_variable_or_in_the_file() {
    let server = configured("authorization { user: ada, password: love-lace }").await;
    let home = Home::new();
    let fields = json!({ "url": server.url(), "user": "ada", "password": "love-lace", "inbox_prefix": "_INBOX_ada" });
    home.save("prod", fields);
    home.way(&["--context", "prod"]).secret("love-lace").works().await;
    home.way(&[]).variable("NATS_CONTEXT", "prod").secret("love-lace").works().await;
    // What stands beside a context in the environment wins over what it holds, but a flag is above both.
    let beside =
        home.way(&["--context", "prod"]).variable("NATS_PASSWORD", "by-ron").variable("NATS_URL", "nats://127.0.0.1:1");
    beside.works().await;

    let plugins = plugins();
    let file = home.0.path().join("tidegate.toml");
    let text = format!(
        "nats.context = \"prod\"\nplugins.dir = {:?}\n[workload.work]\nstream = \"work\"\nsubjects = [\"work.>\"]\n\
         manage = \"create\"\nhandler = \"probe\"\npolicy = \"fixed\"\ngrants.reply = \"_INBOX_ada.>\"\n",
        plugins.path()
    );
    std::fs::write(&file, text).unwrap();
    let mut host = Running::start(home.way(&[]).command(&["run", "--no-cache", "-c", file.to_str().unwrap()]));
    host.line_with("ready").await;
    assert_eq!(home.way(&["--context", "prod"]).request().await.stdout, "done");
}

#[tokio::test]
async fn a_context_that_cannot_be_used_is_named_with_its_file() {
    let server = configured("authorization { user: ada, password: love-lace }").await;
    let home = Home::new();
    home.save("wrong", json!({ "url": server.url(), "user": "ada", "password": "by-ron" }));
    home.way(&["--context", "wrong"]).secret("by-ron").fails(&[server.url(), "offers a user and a password"]).await;

    let missing = home.file("none");
    home.way(&["--context", "none"]).fails(&["--context", &missing, "No such file", "`nats context ls`"]).await;
    home.way(&[]).variable("NATS_CONTEXT", "none").fails(&["NATS_CONTEXT", &missing]).await;
    home.way(&["--context", "../none"]).fails(&["--context", "cannot be the name of a context"]).await;

    std::fs::write(home.file("broken"), "{\n  \"url\": nonsense").unwrap();
    home.way(&["--context", "broken"]).fails(&[&format!("{}:2", home.file("broken")), "not the JSON object"]).await;
    home.save("file", json!({ "url": server.url(), "creds": "/nowhere/user.creds" }));
    home.way(&["--context", "file"]).fails(&["/nowhere/user.creds as credentials: No such file"]).await;
    home.save("proxy", json!({ "url": server.url(), "socks_proxy": "socks://a:1" }));
    let proxy = format!("{}: socks_proxy", home.file("proxy"));
    home.way(&["--context", "proxy"]).fails(&[&proxy, "tidegate cannot connect in this way"]).await;
    home.save("domain", json!({ "url": server.url(), "jetstream_domain": "a.b" }));
    let domain = format!("{}: jetstream_domain", home.file("domain"));
    home.way(&["--context", "domain"]).fails(&[&domain, "cannot be a domain of JetStream"]).await;
    home.save("prefix", json!({ "url": server.url(), "inbox_prefix": "a.>" }));
    home.way(&["--context", "prefix"]).fails(&[&home.file("prefix"), "inbox_prefix", "has a wildcard"]).await;
}
