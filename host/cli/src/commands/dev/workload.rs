//! The workload that a handler is tried in where nobody says another one.

use std::path::Path;

use anyhow::Context;

use tidegate_artifacts::policies;
use tidegate_runtime::config::keys::{Key, WORKLOAD};
use tidegate_runtime::config::{Config, Flags, OciReference, Queue, Value};

/// The policy of the workload.
const POLICY: &str = "step";
/// Its stream.
const STREAM: &str = "DEV";

/// What is to be run.
pub(super) struct Wanted {
    pub(super) flags: Flags,
    /// The handler's plugin name: as the user has it, or as the project is called.
    pub(super) handler: String,
    /// Whether nobody has named a policy.
    pub(super) is_own_policy: bool,
    /// Whether the user has named a server.
    pub(super) names_server: bool,
}

/// What the flags say, and where neither they nor a file say it, what a handler called `name` is tried with.
pub(super) fn flags(mut flags: Flags, name: &str, has_file: bool) -> Wanted {
    let handler = flags.workload.text_of("handler").filter(|handler| !OciReference::is_one(handler));
    let names_server = flags.host.has("nats.servers") || flags.host.has("nats.context");
    let is_configured = flags.file.is_some() || (has_file && !flags.workload.has("stream"));
    let has_policy = is_configured || flags.workload.has("policy");
    let plugin = handler.unwrap_or_else(|| if is_configured { name.to_owned() } else { usable(name) });
    if !is_configured {
        let mut own = vec![("handler", plugin.clone()), ("policy", POLICY.to_owned())];
        if !flags.workload.has("stream") {
            own.push(("stream", STREAM.to_owned()));
            own.push(("subjects", format!("{plugin}.>")));
            own.push(("filter", format!("{plugin}.in.>")));
            own.push(("grants.publish", format!("{plugin}.out")));
        }
        for (path, text) in own {
            let key = WORKLOAD.iter().find(|key| key.path == path && !flags.workload.has(path));
            if let Some((key, value)) = key.and_then(|key| Some((key, value(key, &text)?))) {
                flags.workload.add(key, "tidegate dev", value);
            }
        }
    }
    flags.own_server = !names_server;
    Wanted { flags, handler: plugin, is_own_policy: !has_policy, names_server }
}

/// A name that workload, plugin and subjects can have, near that of a directory such as `My App`.
fn usable(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    name.chars().map(fits).collect()
}

fn value(key: &Key, text: &str) -> Option<Value> {
    key.parse(text).ok()
}

/// Has the handler `name` come from what is built here, wherever the configuration has it come from. `project` is what
/// the last part of its place in a registry may be. Says what is done otherwise than by the configuration.
pub(super) fn build_here(config: &mut Config, name: &str, project: &str) -> Vec<String> {
    let mut said = Vec::new();
    let (dir, origin) = (config.plugins.dir.display().to_string(), &mut config.plugins.origin);
    if let Some(bucket) = origin.bucket.take() {
        said.push(format!(
            "the plugin bucket {bucket} is not looked at: plugins come from {dir}, where `tidegate plugin fetch` \
             brings those that are missing"
        ));
    }
    if !std::mem::take(&mut origin.trusted).is_empty() {
        said.push("plugins need not be signed here, whatever plugins.trusted says".to_owned());
    }
    for workload in &mut config.workloads {
        let place = OciReference::parse(&workload.handler).and_then(Result::ok);
        if place.is_some_and(|place| place.stem() == project) {
            said.push(format!("{} is not asked for: the handler is built here", workload.handler));
            workload.handler = name.to_owned();
        }
        if workload.handler == name && workload.handler_pin.take().is_some() {
            said.push(format!("the pin of {name} does not count: it is built here"));
        }
    }
    said
}

/// The policy that ships is put into the plugin directory if there is none of its name.
pub(super) fn bring_policy(plugins: &Path) -> anyhow::Result<()> {
    let file = plugins.join(format!("{POLICY}.wasm"));
    if file.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(plugins)
        .and_then(|()| std::fs::write(&file, policies::STEP))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A subject that the workload handles.
pub(super) fn subject(queue: &Queue) -> Option<String> {
    let wide = queue.filter.first().or(queue.subjects.first())?;
    let tokens = wide.split('.').map(|token| if ["*", ">"].contains(&token) { "dev" } else { token });
    Some(tokens.collect::<Vec<&str>>().join("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_runtime::config::Environment;

    fn of(given: &[(&str, &str)], has_file: bool) -> Wanted {
        let mut all = Flags::default();
        for (path, text) in given {
            let key = WORKLOAD.iter().find(|key| key.path == *path).unwrap();
            all.workload.add(key, "--flag", value(key, text).unwrap());
        }
        flags(all, "shout", has_file)
    }

    #[test]
    fn without_a_word_it_is_a_workload_to_try_things_with() {
        let wanted = of(&[], false);
        assert!(wanted.is_own_policy && !wanted.names_server && wanted.handler == "shout");
        let config = Config::load(&wanted.flags, &Environment::new()).unwrap();
        let workload = &config.workloads[0];
        assert_eq!((workload.handler.as_str(), workload.policy.as_str()), ("shout", "step"));
        assert_eq!(
            (workload.queue.stream.as_str(), &workload.queue.subjects[..]),
            ("DEV", &["shout.>".to_owned()][..])
        );
        assert_eq!(subject(&workload.queue).as_deref(), Some("shout.in.dev"));
    }

    #[test]
    fn a_directory_may_have_a_name_that_no_workload_can_have() {
        for (name, is) in
            [("My App", "My-App"), ("node.js", "node-js"), ("caf\u{e9} *>", "caf----"), ("a_b-c", "a_b-c")]
        {
            let wanted = flags(Flags::default(), name, false);
            let config = Config::load(&wanted.flags, &Environment::new()).unwrap();
            assert_eq!((wanted.handler.as_str(), config.workloads[0].handler.as_str()), (is, is));
            assert_eq!(config.workloads[0].queue.subjects, [format!("{is}.>")]);
        }
        // What a person or a file names is left as it is.
        assert_eq!(flags(Flags::default(), "node.js", true).handler, "node.js");
    }

    #[test]
    fn what_comes_from_elsewhere_is_built_here_and_that_is_said() {
        let digits = "0".repeat(64);
        let of = |handler: &str| {
            let mut config = Config::load(&of(&[("handler", handler)], false).flags, &Environment::new()).unwrap();
            config.plugins.origin.bucket = Some("PLUGINS".to_owned());
            config.plugins.origin.trusted = vec!["U".to_owned()];
            let said = build_here(&mut config, "shout", "shout").join("\n");
            (config.workloads[0].handler.clone(), config.workloads[0].handler_pin.clone(), said)
        };
        let (handler, pin, said) = of("oci://ghcr.io/acme/shout:1");
        assert_eq!((handler.as_str(), pin), ("shout", None));
        for part in ["bucket PLUGINS", "plugin fetch", "need not be signed", "oci://ghcr.io/acme/shout:1"] {
            assert!(said.contains(part), "{said}");
        }
        let (handler, pin, said) = of(&format!("shout@sha256:{digits}"));
        assert_eq!((handler.as_str(), pin), ("shout", None));
        assert!(said.contains("the pin of shout"), "{said}");
        assert_eq!(of("oci://ghcr.io/acme/other:1").0, "oci://ghcr.io/acme/other:1");
    }

    #[test]
    fn what_is_said_stays() {
        let wanted = of(&[("stream", "ORDERS"), ("filter", "orders.*.new"), ("handler", "loud")], true);
        assert_eq!(wanted.handler, "loud");
        let config = Config::load(&wanted.flags, &Environment::new()).unwrap();
        let workload = &config.workloads[0];
        assert_eq!((workload.queue.stream.as_str(), workload.policy.as_str()), ("ORDERS", "step"));
        assert_eq!(subject(&workload.queue).as_deref(), Some("orders.dev.new"));
        assert!(workload.queue.subjects.is_empty());
        // A file says it all.
        let wanted = of(&[], true);
        assert!(wanted.flags.workload.is_empty() && !wanted.is_own_policy);
    }
}
