//! The variables that the nats command reads too.

use nkeys::KeyPair;
use tempfile::TempDir;

use super::{Way, configured};
use crate::support::jwt::Operator;
use crate::support::tls::Authority;

#[tokio::test]
async fn nats_user_and_nats_password_let_in() {
    let server = configured("authorization { user: ada, password: love-lace }").await;
    let way = |password: &str| {
        let way = Way::default().variable("NATS_URL", server.url()).variable("NATS_USER", "ada");
        way.variable("NATS_PASSWORD", password).secret(password)
    };
    way("love-lace").works().await;
    way("by-ron").fails(&[server.url(), "offers a user and a password", "NATS_* variables"]).await;
    // A flag wins over the variable beside it.
    let flag = Way { arguments: vec!["--password".into(), "love-lace".into()], ..way("by-ron") };
    flag.works().await;
    let url = Way::to(&server, &[]).variable("NATS_URL", "nats://127.0.0.1:1").variable("NATS_USER", "ada");
    url.variable("NATS_PASSWORD", "love-lace").works().await;
    let alone = Way::to(&server, &[]).variable("NATS_PASSWORD", "love-lace").secret("love-lace");
    alone.fails(&["NATS_PASSWORD", "a password without a user"]).await;
}

#[tokio::test]
async fn nats_token_lets_in_and_so_does_a_user_alone() {
    let server = configured("authorization { token: s3cret }").await;
    for name in ["NATS_TOKEN", "NATS_USER"] {
        Way::to(&server, &[]).variable(name, "s3cret").secret("s3cret").works().await;
        let wrong = Way::to(&server, &[]).variable(name, "guessed").secret("guessed");
        wrong.fails(&[server.url(), "offers a token"]).await;
    }
    let both = Way::to(&server, &[]).variable("NATS_TOKEN", "s3cret").variable("NATS_CREDS", "/x.creds");
    both.secret("s3cret").fails(&["NATS_TOKEN and NATS_CREDS are two ways"]).await;
}

#[tokio::test]
async fn nats_nkey_and_nats_creds_name_files() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let user = KeyPair::new_user();
    let server = configured(format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key())).await;
    let seed = file("user.nk", &user.seed().unwrap());
    Way::to(&server, &[]).variable("NATS_NKEY", seed).works().await;
    Way::to(&server, &[]).variable("NATS_NKEY", "/nowhere.nk").fails(&["/nowhere.nk as an nkey seed"]).await;

    let operator = Operator::new();
    let server = configured(operator.server(&[])).await;
    let creds = file("user.creds", &operator.user(None).1);
    Way::to(&server, &[]).variable("NATS_CREDS", creds).works().await;
    Way::to(&server, &[]).variable("NATS_CREDS", "/nowhere.creds").fails(&["/nowhere.creds as credentials"]).await;
}

#[tokio::test]
async fn nats_ca_nats_cert_and_nats_key_name_files() {
    let authority = Authority::new();
    let server = configured(authority.server(true)).await;
    let mine = authority.sign("host");
    let way = Way::to(&server, &[]).variable("NATS_CA", authority.file()).variable("NATS_CERT", mine.cert);
    way.clone().variable("NATS_KEY", mine.key).works().await;
    way.clone().fails(&["NATS_CERT", "a certificate without its key", "give NATS_KEY too"]).await;
    way.variable("NATS_KEY", "/nowhere.pem").fails(&["/nowhere.pem as the key of the client certificate"]).await;
}
