//! The flags that are keys of the configuration, made of its table of keys.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use tidegate_runtime::config::keys::{CONNECTION, HOST, Key, Unset, WORKLOAD};
use tidegate_runtime::config::{Flags, Layer, Value, ValueType};

/// How to reach NATS. Every command that connects has these.
///
/// They are named as those of the `nats` command. A flag wins over the environment variable beside it, and that over
/// the file.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFlags(pub Layer);

/// What to run: the flags of `tidegate run`, `tidegate check` and `tidegate permissions`.
#[derive(Debug, Clone, Default)]
pub struct ConfigFlags(pub Flags);

impl Args for ConnectionFlags {
    fn augment_args(command: Command) -> Command {
        let keys = HOST.iter().filter(|key| key.path.starts_with(CONNECTION));
        let command = command.args(keys.flat_map(|key| args(key, "Connection")));
        command.mut_arg("server", |server| server.conflicts_with("context"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConnectionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(given(HOST.iter().filter(|key| key.path.starts_with(CONNECTION)), matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .short('c')
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file [default: tidegate.toml, if it is there and no --stream is given]");
        let about = "Workload (the one in the file, or one made of flags alone)";
        let workload = Arg::new("workload").long("workload").value_name("NAME").help_heading(about).help(
            "The workload's name; with a file of several workloads, the one that the flags change \
             [default: the handler's name]",
        );
        let host = HOST.iter().filter(|key| !key.path.starts_with(CONNECTION));
        ConnectionFlags::augment_args(command.arg(config))
            .args(host.flat_map(|key| args(key, "Host")))
            .arg(workload)
            .args(WORKLOAD.iter().flat_map(|key| args(key, about)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Flags {
            file: matches.get_one("config").cloned(),
            host: given(HOST.iter(), matches),
            workload_name: matches.get_one("workload").cloned(),
            workload: given(WORKLOAD.iter(), matches),
            own_server: false,
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What the flags of some keys say.
fn given<'a>(keys: impl Iterator<Item = &'a Key>, matches: &ArgMatches) -> Layer {
    let mut layer = Layer::default();
    for key in keys {
        if let Some(flag) = key.flag {
            for value in matches.get_many::<Value>(flag).into_iter().flatten() {
                layer.add(key, &format!("--{flag}"), value.clone());
            }
        }
        if let Some((flag, value, _)) = key.switch.filter(|(flag, ..)| matches.get_flag(flag)) {
            layer.add(key, &format!("--{flag}"), Value::Text(value.to_owned()));
        }
    }
    layer
}

/// The flag of a key, and the one without a value.
fn args(key: &'static Key, heading: &'static str) -> impl Iterator<Item = Arg> {
    let valued = key.flag.map(|flag| {
        let several = matches!(key.kind, ValueType::Texts | ValueType::Delays | ValueType::Table);
        let arg = Arg::new(flag)
            .long(flag)
            .value_name(key.placeholder)
            .help_heading(heading)
            .action(if several { ArgAction::Append } else { ArgAction::Set })
            .allow_negative_numbers(matches!(key.kind, ValueType::Integer))
            .help(help(key));
        let arg = match key.kind {
            ValueType::Word(words) => arg.value_parser(PossibleValuesParser::new(words()).map(Value::Text)),
            _ => arg.value_parser(|text: &str| key.parse(text)),
        };
        match key.letter {
            Some(letter) => arg.short(letter),
            None => arg,
        }
    });
    let switch = key.switch.map(|(flag, _, help)| {
        let arg = Arg::new(flag).long(flag).action(ArgAction::SetTrue).help_heading(heading).help(help);
        arg.conflicts_with_all(key.flag)
    });
    valued.into_iter().chain(switch)
}

/// What `--help` says of a key: what it is, its range, its variable and its default.
fn help(key: &Key) -> String {
    let mut help = key.help.to_owned();
    help += match key.kind {
        ValueType::Texts | ValueType::Delays => "; separated by commas",
        ValueType::Table => "; may be given several times",
        _ => "",
    };
    if !key.range.is_empty() {
        help += &format!(" [range: {}]", key.range);
    }
    if let Some(variable) = key.variable {
        help += &format!(" [env: {variable}]");
    }
    match key.unset {
        Unset::Value(default) | Unset::Derived(default) => help += &format!(" [default: {default}]"),
        Unset::Nothing("none") | Unset::Required(_) => {}
        Unset::Nothing(nothing) => help += &format!(" [default: {nothing}]"),
    }
    help
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use clap::Parser;

    use super::*;
    use tidegate_runtime::config::{Config, Environment};

    #[derive(Debug, Parser)]
    struct FlagsCli {
        #[command(flatten)]
        flags: ConfigFlags,
    }

    fn parsed(line: &str) -> Result<Flags, Error> {
        FlagsCli::try_parse_from(std::iter::once("tidegate").chain(line.split(' '))).map(|cli| cli.flags.0)
    }

    #[test]
    fn flags_that_cannot_be_meant_are_refused_at_once() {
        for line in ["--server a --context b", "--cache-dir a --no-cache", "--interval 5", "--manage crate", "--max x"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn each_key_with_a_flag_is_set_by_it_alone() {
        for (keys, of) in [(HOST, "host"), (WORKLOAD, "workload")] {
            for key in keys {
                let Some(flag) = key.flag else { continue };
                let text = match (key.kind, key.unset) {
                    (ValueType::Table, _) => "a=b",
                    (ValueType::Word(words), _) => words()[0],
                    (_, Unset::Value(default)) => default,
                    (ValueType::Integer, _) => "-1",
                    (ValueType::Boolean, _) => "true",
                    (ValueType::Number, _) => "0.5",
                    (ValueType::Duration, _) => "1s",
                    _ => "a",
                };
                let flags = parsed(&format!("--{flag} {text}")).unwrap();
                let (set, other) =
                    if of == "host" { (flags.host, flags.workload) } else { (flags.workload, flags.host) };
                assert!(set.has(key.path) && other.is_empty(), "--{flag} {text}");
            }
        }
    }

    #[test]
    fn a_list_is_given_with_commas_or_several_times() {
        let line =
            "--stream S --handler h --policy p --filter a,b --filter c --setting k=1 --setting l=a,b=c --backoff 1s,2s";
        let config = Config::load(&parsed(line).unwrap(), &Environment::new()).unwrap();
        let workload = &config.workloads[0];
        assert_eq!(workload.queue.filter, ["a", "b", "c"]);
        let pair = |key: &str, value: &str| (key.to_owned(), value.into());
        assert_eq!(workload.settings, [pair("k", "1"), pair("l", "a,b=c")]);
        assert_eq!(workload.retry.backoff.len(), 2);
    }

    #[test]
    fn the_value_of_a_secret_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", parsed("--stream S --password hunter2").unwrap()).contains("hunter2"));
    }
}
