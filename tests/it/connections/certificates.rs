//! TLS with an authority of one's own, and with client certificates.

use super::{Way, configured};
use crate::support::nats::nats;
use crate::support::tls::Authority;

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_by_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = configured(ours.server(false)).await;
    let url = server.url().replace("tls://", "nats://");
    Way::flags(["--server", &url.replace("nats://", "tls://"), "--tlsca", &ours.file()]).works().await;
    // The server says that it wants TLS.
    Way::flags(["--server", &url, "--tlsca", &ours.file()]).works().await;

    let unknown = ["TLS with", "is not trusted here", "--tlsca"];
    Way::flags(["--server", &url]).fails(&unknown).await;
    Way::flags(["--server", &url, "--tlsca", &theirs.file()]).fails(&unknown).await;
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let wrong = Way::flags(["--server", &elsewhere, "--tlsca", &ours.file()]);
    wrong.fails(&["TLS with", "is for another name", "Write a name into the URL"]).await;
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_told_as_the_servers_or_as_the_clients() {
    let ours = Authority::new();
    let mine = ours.sign_expired("host");
    let mut server = configured(ours.server(true)).await;
    let files = ["--tlsca", &ours.file(), "--tlscert", &mine.cert, "--tlskey", &mine.key];
    Way::to(&server, &files).fails(&["TLS with", "this client's certificate has expired", "--tlscert"]).await;

    server.configure(&ours.server(false));
    ours.sign_expired("127.0.0.1");
    server.restart().await.unwrap();
    let expired = "the server's certificate has expired at 2021-01-01T00:00:00Z";
    Way::to(&server, &["--tlsca", &ours.file()]).fails(&["TLS with", expired, "Give the server another one"]).await;
}

#[tokio::test]
async fn a_client_with_a_certificate_is_let_in_and_one_without_is_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = configured(ours.server(true)).await;
    let url = server.url();
    let (mine, other) = (ours.sign("host"), ours.sign("other"));
    let with = |cert: &str, key: &str| {
        Way::flags(["--server", url, "--tlsca", &ours.file(), "--tlscert", cert, "--tlskey", key])
    };
    with(&mine.cert, &mine.key).works().await;

    Way::flags(["--server", url, "--tlsca", &ours.file()])
        .fails(&["TLS with", "wants a client certificate", "--tlscert"])
        .await;
    let foreign = theirs.sign("host");
    with(&foreign.cert, &foreign.key)
        .fails(&["TLS with", "does not take this client's certificate", "--tlscert"])
        .await;
    with(&mine.cert, &other.key).fails(&["TLS with", "do not belong together", "--tlskey"]).await;
    with(&mine.key, &mine.key)
        .fails(&[&mine.key, "as a client certificate: it has no section BEGIN CERTIFICATE"])
        .await;
    with(&mine.cert, &mine.cert).fails(&[&mine.cert, "it has no section BEGIN PRIVATE KEY"]).await;
    Way::flags(["--server", url, "--tlscert", &mine.cert]).fails(&["--tlscert", "a certificate without its key"]).await;
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let server = nats().await;
    Way::flags(["--server", &server.url().replace("nats://", "tls://")])
        .fails(&["TLS with", "does not speak TLS", "Write nats:// in the URL"])
        .await;
    let authority = Authority::new();
    Way::to(&server, &["--tlsca", &authority.file()]).fails(&["TLS with", "does not speak TLS"]).await;
}
