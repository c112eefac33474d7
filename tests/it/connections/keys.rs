//! Keys that sign the server's challenge: nkeys, and creds files in operator mode.

use nkeys::KeyPair;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Way, configured};
use crate::support::host::plugins;
use crate::support::jwt::Operator;

fn written(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The last word of a creds file that is a secret.
fn seed(creds: &str) -> &str {
    creds.lines().find(|line| line.starts_with("SU")).unwrap()
}

#[tokio::test]
async fn an_nkey_lets_in_and_another_one_does_not() {
    let (known, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    let server = configured(format!("authorization {{ users: [ {{ nkey: {} }} ] }}", known.public_key())).await;
    let dir = TempDir::new().unwrap();
    let file = written(&dir, "user.nk", &known.seed().unwrap());
    Way::to(&server, &["--nkey", &file]).secret(&known.seed().unwrap()).works().await;

    let file = written(&dir, "unknown.nk", &unknown.seed().unwrap());
    let wrong = Way::to(&server, &["--nkey", &file]).secret(&unknown.seed().unwrap());
    wrong.fails(&[server.url(), "refuses this client, which offers an nkey", "--nkey"]).await;
    Way::to(&server, &[]).fails(&["offers no credentials"]).await;
}

#[tokio::test]
async fn a_file_that_is_no_nkey_is_named_without_what_it_holds() {
    let dir = TempDir::new().unwrap();
    let account = KeyPair::new_account().seed().unwrap();
    // One letter off: a seed has a checksum.
    let mut broken = KeyPair::new_user().seed().unwrap();
    let last = if broken.pop() == Some('A') { 'B' } else { 'A' };
    broken.push(last);
    for (text, reason) in [(broken, "does not hold a seed"), (account, "not a user's, but that of another kind of key")]
    {
        let file = written(&dir, "user.nk", &text);
        // No server: the files come first.
        let wrong = Way::flags(["--server", "nats://127.0.0.1:1", "--nkey", &file]).secret(&text);
        wrong.fails(&[&format!("cannot use {file} as an nkey seed: it"), reason, "begins with SU"]).await;
    }
}

#[tokio::test]
async fn a_creds_file_lets_in_and_an_expired_or_a_foreign_one_does_not() {
    let (ours, theirs) = (Operator::new(), Operator::new());
    let server = configured(ours.server(&[])).await;
    let dir = TempDir::new().unwrap();
    let (_, creds) = ours.user(None);
    let file = written(&dir, "user.creds", &creds);
    Way::to(&server, &["--creds", &file]).secret(seed(&creds)).works().await;

    let refused = "refuses this client, which offers a creds file";
    for (_, creds) in [ours.user(Some(1_700_000_001)), theirs.user(None)] {
        let file = written(&dir, "other.creds", &creds);
        let wrong = Way::to(&server, &["--creds", &file]).secret(seed(&creds));
        wrong.fails(&[server.url(), refused, "expired", &file]).await;
    }
    // The JWT of one user and the key of another.
    let (_, other) = ours.user(None);
    let file = written(&dir, "mixed.creds", &creds.replace(seed(&creds), seed(&other)));
    Way::to(&server, &["--creds", &file]).secret(seed(&other)).fails(&[server.url(), refused]).await;
}

#[tokio::test]
async fn files_that_are_missing_or_something_else_are_named() {
    let dir = TempDir::new().unwrap();
    let other = written(&dir, "other", "something else");
    for (flag, file, said) in [
        ("--creds", "/nowhere/user.creds", "cannot use /nowhere/user.creds as credentials: No such file"),
        ("--nkey", "/nowhere/user.nk", "cannot use /nowhere/user.nk as an nkey seed: No such file"),
        ("--tlsca", "/nowhere/ca.pem", "cannot use /nowhere/ca.pem as certificate authorities: No such file"),
        ("--creds", &other, "as credentials: it has no section with a JWT"),
        ("--nkey", &other, "as an nkey seed: it does not hold a seed"),
        ("--tlsca", &other, "as certificate authorities: it has no section BEGIN CERTIFICATE"),
    ] {
        Way::flags(["--server", "nats://127.0.0.1:1", flag, file]).fails(&[file, said, "Give the path of"]).await;
    }
}

#[tokio::test]
async fn a_host_whose_credentials_are_revoked_goes_on_when_new_ones_are_in_the_file() {
    let operator = Operator::new();
    let mut server = configured(operator.server(&[])).await;
    let dir = TempDir::new().unwrap();
    let (user, creds) = operator.user(None);
    let file = written(&dir, "user.creds", &creds);
    let way = Way::to(&server, &["--creds", &file]).secret(seed(&creds));
    let plugins = plugins();
    let mut host = way.host(plugins.path());
    host.line_with("ready").await;

    server.configure(&operator.server(&[&user]));
    server.reload().unwrap();
    host.line_with("lost the NATS server").await;
    host.line_with("it refuses the credentials of this client").await;
    written(&dir, "user.creds", "nothing at all");
    host.line_with("the file with the credentials cannot be used").await;
    let (_, creds) = operator.user(None);
    written(&dir, "user.creds", &creds);
    host.line_with("the NATS server is back").await;
    assert_eq!(way.request().await.stdout, "done");

    let times = |part: &str| host.seen().iter().filter(|line| line.contains(part)).count();
    assert_eq!((times("it refuses the credentials"), times("with the credentials cannot be used")), (1, 1));
    host.signal(Signal::TERM);
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0));
    way.secret(seed(&creds)).kept(&ended);
}
