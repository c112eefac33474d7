//! How to reach NATS: flags over environment over file, and a context in the place where it is named.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{path, userinfo};
use crate::config::error::{At, ConfigError};
use crate::config::file::NatsTable;
use crate::config::units::quoted;
use crate::config::{Auth, Nats, names};

/// Where a connection's settings come from.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Layers {
    pub(in crate::config) flags: NatsTable,
    pub(in crate::config) environment: NatsTable,
    pub(in crate::config) file: NatsTable,
    /// What the context holds that the highest layer names.
    pub(in crate::config) context: Option<NatsTable>,
}

impl Layers {
    /// Decides how to connect.
    pub(in crate::config) fn resolve(
        self,
        environment: &BTreeMap<String, String>,
        problems: &mut Vec<ConfigError>,
    ) -> Nats {
        if let (Some(_), Some(context)) = (&self.file.url, &self.file.context) {
            problems.push(context.error("url and context are both given", "keep one; a context has a url of its own"));
        }
        let layers = self.layers();
        let url = layers.iter().enumerate().find_map(|(depth, layer)| Some((depth, layer.url.as_ref()?)));
        let (servers, in_url) = servers(url.map(|(_, url)| url), problems);
        let named = layers.iter().position(|layer| !methods(layer).is_empty());
        let auth = match (url, in_url) {
            // What stands above the URL, or beside it, was said of this connection; what is below, of another.
            (Some((depth, url)), Some(in_url)) if named.is_none_or(|named| named >= depth) => {
                if named == Some(depth) {
                    let problem = format!("{} says who this is, and so does another setting beside it", url.place.key);
                    problems.push(url.error(problem, "keep one"));
                }
                in_url
            }
            _ => auth(&layers, environment, problems),
        };
        let first = |pick: fn(&NatsTable) -> &Option<At<String>>| layers.iter().find_map(|layer| pick(layer).as_ref());
        let ca = first(|layer| &layer.ca).map(|at| path(at, environment, problems));
        let certificate = match (first(|layer| &layer.cert), first(|layer| &layer.key)) {
            (Some(cert), Some(key)) => Some((path(cert, environment, problems), path(key, environment, problems))),
            (Some(cert), None) => {
                problems
                    .push(cert.error("a certificate without its key", format!("give {} too", sibling(cert, "key"))));
                None
            }
            (None, Some(key)) => {
                problems.push(key.error("a key without its certificate", format!("give {} too", sibling(key, "cert"))));
                None
            }
            (None, None) => None,
        };
        let inbox_prefix = first(|layer| &layer.inbox_prefix).map(|at| {
            problems.extend(names::inbox_prefix(&at.value).err().map(|wrong| wrong.at(&at.place)));
            at.value.clone()
        });
        Nats { servers, auth, ca, certificate, inbox_prefix }
    }

    /// The layers that count, the highest first. A context ends the list: what is below it belongs to another server,
    /// and its password must not go to this one.
    fn layers(self) -> Vec<NatsTable> {
        let mut layers = Vec::new();
        for layer in [self.flags, self.environment, self.file] {
            let context = layer.context.is_some();
            layers.push(layer);
            if context {
                layers.extend(self.context);
                break;
            }
        }
        layers
    }
}

/// How the key `name` is written where `at` was.
fn sibling(at: &At<String>, name: &str) -> String {
    let key = &at.place.key;
    if key.starts_with("--") {
        format!("--tls{name}")
    } else if key.starts_with("NATS_") {
        format!("NATS_{}", name.to_uppercase())
    } else {
        name.to_owned()
    }
}

/// The servers without the credentials that their URLs may hold, and those.
fn servers(
    url: Option<&At<crate::config::value::Strings>>,
    problems: &mut Vec<ConfigError>,
) -> (Vec<String>, Option<Auth>) {
    let Some(url) = url else { return (vec!["nats://127.0.0.1:4222".to_owned()], None) };
    let (servers, who): (Vec<String>, Vec<Option<Auth>>) =
        url.value.0.iter().map(|server| userinfo::split(server.trim())).unzip();
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
fn methods(layer: &NatsTable) -> Vec<(Method, &At<String>)> {
    [
        (Method::User, layer.user.as_ref().or(layer.password.as_ref())),
        (Method::Token, layer.token.as_ref()),
        (Method::Nkey, layer.nkey.as_ref()),
        (Method::Creds, layer.creds.as_ref()),
    ]
    .into_iter()
    .filter_map(|(method, at)| Some((method, at?)))
    .collect()
}

/// The highest layer that names a method decides which; a name in the file may have its password in the environment.
fn auth(layers: &[NatsTable], environment: &BTreeMap<String, String>, problems: &mut Vec<ConfigError>) -> Auth {
    let Some(found) = layers.iter().map(methods).find(|methods| !methods.is_empty()) else { return Auth::None };
    let mut found = found.into_iter();
    let Some((method, at)) = found.next() else { return Auth::None };
    for (_, other) in found {
        let problem = format!("{} and {} are two ways to say who this is", at.place.key, other.place.key);
        problems.push(other.error(problem, "keep one"));
    }
    let mut file = |at: &At<String>| -> PathBuf { path(at, environment, problems) };
    match method {
        Method::Token => Auth::Token(at.value.clone()),
        Method::Nkey => Auth::Nkey(file(at)),
        Method::Creds => Auth::Creds(file(at)),
        Method::User => {
            let user = layers.iter().find_map(|layer| layer.user.as_ref());
            let password = layers.iter().find_map(|layer| layer.password.as_ref());
            user_auth(user, password, problems)
        }
    }
}

fn user_auth(user: Option<&At<String>>, password: Option<&At<String>>, problems: &mut Vec<ConfigError>) -> Auth {
    match (user, password) {
        (Some(user), Some(password)) => Auth::User { name: user.value.clone(), password: password.value.clone() },
        // The nats command takes a name alone as a token.
        (Some(user), None) if user.place.key == "--user" || user.place.key == "NATS_USER" => {
            Auth::Token(user.value.clone())
        }
        // As is a context's (whose key has no table before it), with an empty password.
        (Some(user), None) if user.place.key == "user" => {
            Auth::User { name: user.value.clone(), password: String::new() }
        }
        (Some(user), None) => {
            let remedy = "give password too, here or in NATS_PASSWORD, or write token instead";
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
