//! How to reach NATS: flags over environment over file, and a context in the place where it is named. A workload in an
//! account of its own says all of it in its own table.

use std::path::PathBuf;

use super::context;
use super::environment::Environment;
use super::error::{At, ConfigError, SourcePosition};
use super::keys::{CONNECTION, HOST};
use super::layer::Layer;
use super::nats::{Auth, JETSTREAM_API, Nats};
use super::reader::Reader;
use super::units::quoted;
use super::userinfo;

/// Where a connection's settings come from.
pub(super) struct ConnectionLayers {
    pub(super) flags: Layer,
    pub(super) environment: Layer,
    pub(super) file: Layer,
    /// What the context holds that the highest layer names.
    pub(super) context: Option<Layer>,
}

impl ConnectionLayers {
    /// Decides how to connect.
    pub(super) fn resolve(self, variables: &Environment, problems: &mut Vec<ConfigError>) -> Nats {
        if let Some(context) = self.file.text("nats.context").filter(|_| self.file.has("nats.url")) {
            problems.push(context.error("url and context are both given", "keep one; a context has a url of its own"));
        }
        let layers = self.that_count();
        let all = layers.iter().fold(Layer::default(), |above, below| above.over(below));
        let nowhere = SourcePosition::default();
        let mut keys = Reader::new(HOST, &all, &nowhere, variables, problems);
        let urls = At { value: keys.get("nats.url"), place: keys.place("nats.url") };
        let (servers, in_url) = servers(&urls, keys.problems);
        let named = layers.iter().position(|layer| !methods(layer).is_empty());
        let depth = layers.iter().position(|layer| layer.has("nats.url"));
        let auth = match in_url {
            // What stands above the URL, or beside it, was said of this connection; what is below, of another.
            Some(in_url) if named.is_none() || named >= depth => {
                if named == depth {
                    let problem = format!("{} says who this is, and so does another setting beside it", urls.place.key);
                    keys.problems.push(urls.error(problem, "keep one"));
                }
                in_url
            }
            _ => {
                named.and_then(|named| layers.get(named)).map(|layer| auth(layer, &all, &mut keys)).unwrap_or_default()
            }
        };
        Nats {
            servers,
            auth,
            ca: keys.path("nats.ca"),
            certificate: certificate(&all, &mut keys),
            inbox_prefix: keys.maybe("nats.inbox-prefix"),
            api_prefix: api_prefix(&mut keys),
            tls_first: keys.get("nats.tls-first"),
        }
    }

    /// Those of a workload's own connection: its table, and `flags` of a command that is about this workload alone.
    /// Nothing else counts, so that no credentials that are meant for one account reach the servers of another. `None`
    /// where the workload has no such table.
    pub(super) fn of_workload(
        flags: &Layer,
        (workload, table): (&Layer, &SourcePosition),
        variables: &Environment,
        problems: &mut Vec<ConfigError>,
    ) -> Option<Self> {
        if !workload.has_table(CONNECTION) {
            return None;
        }
        if !workload.has("nats.url") && !workload.has("nats.context") {
            let problem =
                "the workload has a connection of its own, and nothing says where; [nats] does not count for it";
            let remedy = "give url, or context, which has a url";
            problems.push(table.child("nats").error(problem, remedy));
            return None;
        }
        let named = [flags, workload].into_iter().find_map(|layer| layer.text("nats.context"));
        let context = named.and_then(|name| context_of(&name, variables, problems));
        let (flags, file) = (flags.clone(), workload.clone());
        Some(Self { flags, environment: Layer::default(), file, context })
    }

    /// The layers that count, the highest first. A context ends the list: what is below it belongs to another server,
    /// and its password must not go to this one.
    fn that_count(self) -> Vec<Layer> {
        let mut layers = Vec::new();
        for layer in [self.flags, self.environment, self.file] {
            let context = layer.has("nats.context");
            layers.push(layer);
            if context {
                layers.extend(self.context);
                break;
            }
        }
        layers
    }
}

/// What the context holds that is named here.
pub(super) fn context_of(name: &At<String>, variables: &Environment, problems: &mut Vec<ConfigError>) -> Option<Layer> {
    context::read(name, variables).map_err(|errors| problems.extend(errors.0)).ok()
}

/// Where requests to JetStream go, if not to the account's own.
fn api_prefix(keys: &mut Reader<'_>) -> Option<String> {
    let domain: Option<String> = keys.maybe("nats.jetstream-domain");
    let prefix: Option<String> = keys.maybe("nats.api-prefix");
    if domain.is_some() && prefix.is_some() {
        let place = keys.place("nats.api-prefix");
        let problem = "a domain and a prefix of the API are two ways to say where JetStream is";
        keys.problems.push(place.error(problem, "keep one"));
    }
    prefix.or(domain.map(|domain| format!("$JS.{domain}.API"))).filter(|prefix| prefix != JETSTREAM_API)
}

/// A certificate and its key, which go together.
fn certificate(all: &Layer, keys: &mut Reader<'_>) -> Option<(PathBuf, PathBuf)> {
    match (all.text("nats.cert"), all.text("nats.key")) {
        (Some(_), Some(_)) => keys.path("nats.cert").zip(keys.path("nats.key")),
        (Some(cert), None) => {
            let remedy = format!("give {} too", sibling(&cert, "key"));
            keys.problems.push(cert.error("a certificate without its key", remedy));
            None
        }
        (None, Some(key)) => {
            let remedy = format!("give {} too", sibling(&key, "cert"));
            keys.problems.push(key.error("a key without its certificate", remedy));
            None
        }
        (None, None) => None,
    }
}

/// How the key `name` is written where `at` was.
fn sibling(at: &At<String>, name: &str) -> String {
    let row = HOST.iter().find(|row| row.path.strip_prefix("nats.") == Some(name));
    let flag = row.and_then(|row| row.flag).filter(|_| at.place.is_flag());
    let variable = row.and_then(|row| row.variable).filter(|_| at.place.key.starts_with("NATS_"));
    flag.map(|flag| format!("--{flag}")).or(variable.map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

/// The servers without the credentials that their URLs may hold, and those.
fn servers(url: &At<Vec<String>>, problems: &mut Vec<ConfigError>) -> (Vec<String>, Option<Auth>) {
    let (servers, who): (Vec<String>, Vec<Option<Auth>>) =
        url.value.iter().map(|server| userinfo::split(server.trim())).unzip();
    let mut who = who.into_iter().flatten();
    let auth = who.next();
    if who.any(|other| Some(other) != auth) {
        problems.push(url.error("the URLs hold several credentials", "give all servers the same user"));
    }
    if servers.is_empty() {
        problems.push(url.error("the list of servers is empty", "write a URL such as \"nats://127.0.0.1:4222\""));
    }
    // A URL may hold a password, so the messages do not repeat it.
    for server in &servers {
        let remedy = "write host:port, nats://host:port or tls://host:port";
        if server.is_empty() || server.chars().any(|c| c.is_whitespace() || c.is_control()) {
            problems.push(url.error("a server's URL is empty or holds white space", remedy));
        }
        match server.split_once("://") {
            Some((scheme, _)) if !["nats", "tls"].contains(&scheme) => {
                problems.push(url.error(format!("the scheme {} is not known", quoted(scheme)), remedy));
            }
            Some((_, "")) => problems.push(url.error("a server's URL has no host", remedy)),
            _ => {}
        }
    }
    (servers, auth)
}

/// The ways to say who one is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    User,
    Token,
    Nkey,
    Creds,
}

/// The methods that a layer speaks of, each with the value to name in an error.
fn methods(layer: &Layer) -> Vec<(Method, At<String>)> {
    [
        (Method::User, layer.text("nats.user").or_else(|| layer.text("nats.password"))),
        (Method::Token, layer.text("nats.token")),
        (Method::Nkey, layer.text("nats.nkey")),
        (Method::Creds, layer.text("nats.creds")),
    ]
    .into_iter()
    .filter_map(|(method, at)| Some((method, at?)))
    .collect()
}

/// `layer`, the highest that names a method, decides which; a name in the file may have its password in the
/// environment.
fn auth(layer: &Layer, all: &Layer, keys: &mut Reader<'_>) -> Auth {
    let mut found = methods(layer).into_iter();
    let Some((method, at)) = found.next() else { return Auth::None };
    for (_, other) in found {
        let problem = format!("{} and {} are two ways to say who this is", at.place.key, other.place.key);
        keys.problems.push(other.error(problem, "keep one"));
    }
    match method {
        Method::Token => Auth::Token(at.value),
        Method::Nkey => Auth::Nkey(keys.path("nats.nkey").unwrap_or_default()),
        Method::Creds => Auth::Creds(keys.path("nats.creds").unwrap_or_default()),
        Method::User => user_auth(all.text("nats.user"), all.text("nats.password"), keys.problems),
    }
}

fn user_auth(user: Option<At<String>>, password: Option<At<String>>, problems: &mut Vec<ConfigError>) -> Auth {
    match (user, password) {
        (Some(user), Some(password)) => Auth::User { name: user.value, password: password.value },
        // The nats command takes a name alone as a token.
        (Some(user), None) if user.place.key == "--user" || user.place.key == "NATS_USER" => Auth::Token(user.value),
        // As is a context's (whose key has no table before it), with an empty password.
        (Some(user), None) if user.place.key == "user" => Auth::User { name: user.value, password: String::new() },
        (Some(user), None) => {
            let remedy = match user.place.key.starts_with("nats.") {
                true => "give password too, here or in NATS_PASSWORD, or write token instead",
                // Which of the workloads would a variable be for?
                false => "give password too, or write token, nkey or creds instead",
            };
            problems.push(user.error("a user without a password", remedy));
            Auth::None
        }
        (None, Some(password)) => {
            problems.push(password.error("a password without a user", "give the user's name too"));
            Auth::None
        }
        (None, None) => Auth::None,
    }
}
