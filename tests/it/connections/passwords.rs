//! User and password, and token.

use super::{Way, configured};

const REFUSED: &str = "refuses this client, which offers";

#[tokio::test]
async fn a_user_and_a_password_let_in_and_wrong_ones_do_not() {
    let server = configured("authorization { user: ada, password: love-lace }").await;
    let url = server.url();
    Way::to(&server, &["--user", "ada", "--password", "love-lace"]).secret("love-lace").works().await;
    let in_url = url.replace("nats://", "nats://ada:love-lace@");
    Way::flags(["--server", &in_url]).secret("love-lace").works().await;

    Way::to(&server, &[]).fails(&[url, &format!("{REFUSED} no credentials"), "--creds"]).await;
    let wrong = Way::to(&server, &["--user", "ada", "--password", "by-ron"]).secret("by-ron");
    wrong.fails(&[url, &format!("{REFUSED} a user and a password"), "NATS_* variables"]).await;
    let in_url = url.replace("nats://", "nats://ada:by-ron@");
    let wrong = Way::flags(["--server", &in_url]).secret("by-ron");
    wrong.fails(&[url, &format!("{REFUSED} a user and a password")]).await;
}

#[tokio::test]
async fn a_token_lets_in_and_a_wrong_one_does_not() {
    let server = configured("authorization { token: s3cret }").await;
    let url = server.url();
    Way::to(&server, &["--token", "s3cret"]).secret("s3cret").works().await;
    // As the nats command has it.
    Way::to(&server, &["--user", "s3cret"]).secret("s3cret").works().await;
    let in_url = url.replace("nats://", "nats://s3cret@");
    Way::flags(["--server", &in_url]).secret("s3cret").works().await;

    let wrong = Way::to(&server, &["--token", "guessed"]).secret("guessed");
    wrong.fails(&[url, &format!("{REFUSED} a token"), "--token"]).await;
}
