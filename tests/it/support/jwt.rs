//! An operator with its accounts and users, as `nsc` makes them: JWTs of version 2.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator, its system account, and an account with JetStream.
pub(crate) struct Operator {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
        Self { operator: KeyPair::new_operator(), system, account }
    }

    /// The configuration of a server that trusts this operator. Users with a public key of `revoked` are not let in.
    pub(crate) fn server(&self, revoked: &[&str]) -> String {
        let operator = json!({ "type": "operator", "version": 2 });
        let (system, account) = (self.system.public_key(), self.account.public_key());
        format!(
            "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{ {system}: {}, {account}: \
             {} }}\n",
            jwt(&self.operator, &self.operator, operator, None),
            jwt(&self.operator, &self.system, account_claims(0, &[]), None),
            jwt(&self.operator, &self.account, account_claims(-1, revoked), None),
        )
    }

    /// A new user of the account: its public key, and the text of its `.creds` file. `expires` is in seconds since the
    /// Unix epoch.
    pub(crate) fn user(&self, expires: Option<u64>) -> (String, String) {
        let user = KeyPair::new_user();
        let claims =
            json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
        let jwt = jwt(&self.account, &user, claims, expires);
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nKeep it secret.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        );
        (user.public_key(), creds)
    }
}

fn account_claims(storage: i64, revoked: &[&str]) -> Value {
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": storage, "disk_storage": storage, "streams": -1, "consumer": -1,
    });
    // Whatever was issued before the end of time.
    let revocations: serde_json::Map<String, Value> =
        revoked.iter().map(|user| ((*user).to_owned(), json!(32_503_680_000_u64))).collect();
    json!({
        "limits": limits, "revocations": revocations, "default_permissions": { "pub": {}, "sub": {} },
        "type": "account", "version": 2,
    })
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value, expires: Option<u64>) -> String {
    let mut claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test",
        "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(body.as_bytes()).unwrap());
    format!("{body}.{signature}")
}
