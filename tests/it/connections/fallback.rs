//! The second connection, on which what the client library cannot read is taken in: it is made in each way that the
//! first is.

use async_nats::{ConnectOptions, HeaderMap, HeaderName};
use nkeys::KeyPair;
use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_nats_server::Server;

use super::{Way, configured};
use crate::support::host::plugins;
use crate::support::jwt::Operator;
use crate::support::tls::Authority;

/// A host that connects so keeps a message with an unreadable subject as a dead letter, and goes on.
async fn reads_what_the_library_cannot(way: &Way, server: &Server, options: ConnectOptions) {
    let plugins = plugins();
    let mut host = way.loud().host(plugins.path());
    host.line_with("ready").await;
    // The library splits a line of the protocol at any white space that Unicode knows.
    let client = options.skip_subject_validation(true).connect(server.url()).await.unwrap();
    let headers = HeaderMap::from_iter([(HeaderName::from_static("A"), "b".parse().unwrap())]);
    client.publish_with_headers("work.a\u{a0}b", headers, "never read".into()).await.unwrap();
    client.flush().await.unwrap();
    host.line_with("deliveries come on a second one").await;
    let letter = host.line_with("dead letter").await;
    assert!(letter.contains("its subject"), "{letter}");
    let reply = way.loud().request().await;
    assert_eq!((reply.code, reply.stdout.as_str()), (Some(0), "done"), "{}", reply.stderr);
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    way.kept(&reply);
    way.kept(&ended);
}

#[tokio::test]
async fn with_a_user_and_a_password_as_flags_and_in_the_url() {
    let server = configured("authorization { user: ada, password: love-lace }").await;
    let options = || ConnectOptions::with_user_and_password("ada".to_owned(), "love-lace".to_owned());
    let flags = Way::to(&server, &["--user", "ada", "--password", "love-lace"]).secret("love-lace");
    reads_what_the_library_cannot(&flags, &server, options()).await;
    let in_url = Way::flags(["--server", &server.url().replace("nats://", "nats://ada:love-lace@")]);
    reads_what_the_library_cannot(&in_url.secret("love-lace"), &server, options()).await;
}

#[tokio::test]
async fn with_a_token() {
    let server = configured("authorization { token: s3cret }").await;
    let way = Way::to(&server, &["--token", "s3cret"]).secret("s3cret");
    reads_what_the_library_cannot(&way, &server, ConnectOptions::with_token("s3cret".to_owned())).await;
}

#[tokio::test]
async fn with_an_nkey() {
    let key = KeyPair::new_user();
    let server = configured(format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key())).await;
    let (dir, seed) = (TempDir::new().unwrap(), key.seed().unwrap());
    let file = dir.path().join("user.nk");
    std::fs::write(&file, &seed).unwrap();
    let way = Way::to(&server, &["--nkey", file.to_str().unwrap()]).secret(&seed);
    reads_what_the_library_cannot(&way, &server, ConnectOptions::with_nkey(seed.clone())).await;
}

#[tokio::test]
async fn with_a_creds_file() {
    let operator = Operator::new();
    let server = configured(operator.server(&[])).await;
    let (dir, (_, creds)) = (TempDir::new().unwrap(), operator.user(None));
    let file = dir.path().join("user.creds");
    std::fs::write(&file, &creds).unwrap();
    let way = Way::to(&server, &["--creds", file.to_str().unwrap()]);
    reads_what_the_library_cannot(&way, &server, ConnectOptions::with_credentials(&creds).unwrap()).await;
}

#[tokio::test]
async fn with_tls_and_with_a_client_certificate() {
    let authority = Authority::new();
    let trusting = || ConnectOptions::new().require_tls(true).add_root_certificates(authority.file().into());
    let server = configured(authority.server(false)).await;
    let way = Way::to(&server, &["--tlsca", &authority.file()]);
    reads_what_the_library_cannot(&way, &server, trusting()).await;

    let (server, mine) = (configured(authority.server(true)).await, authority.sign("host"));
    let way = Way::to(&server, &["--tlsca", &authority.file(), "--tlscert", &mine.cert, "--tlskey", &mine.key]);
    let options = trusting().add_client_certificate(mine.cert.clone().into(), mine.key.clone().into());
    reads_what_the_library_cannot(&way, &server, options).await;
}
