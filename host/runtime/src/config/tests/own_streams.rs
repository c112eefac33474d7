//! What a host keeps has streams of its own.

use super::*;

#[test]
fn dead_letters_and_the_journal_have_a_stream_each() {
    let of = |lines: &str| errors(&format!("{LEAST}{lines}"));
    let remedy = "; each has subjects of its own; name another stream in one of them";
    let default = "\"TIDEGATE_DEAD\" is where this host keeps dead letters, by dead-letters.stream";
    assert_eq!(of("[journal]\nstream = \"TIDEGATE_DEAD\"\n"), [format!("line 6: journal.stream: {default}{remedy}")]);
    let written = "\"BOTH\" is where this host keeps dead letters, by dead-letters.stream (line 6)";
    assert_eq!(
        of("[dead-letters]\nstream = \"BOTH\"\n[journal]\nstream = \"BOTH\"\n"),
        [format!("line 8: journal.stream: {written}{remedy}")]
    );
    // In another account it is another stream.
    let own = "nats = { url = \"other:4222\" }\n[journal]\nstream = \"TIDEGATE_DEAD\"\n";
    Config::from_toml(&format!("{LEAST}{own}")).unwrap();
}
