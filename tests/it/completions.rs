//! The scripts that complete the command line, and the man pages.

use crate::support::cli::run;

#[tokio::test]
async fn every_shell_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]).await;
        assert_eq!(script.code, Some(0), "{script:?}");
        for word in ["redrive", "permissions", "http-names"] {
            assert!(script.stdout.contains(word), "{shell}: {word}");
        }
        assert!(script.stderr.is_empty(), "{}", script.stderr);
    }
    run(["completions", "tcsh"]).await.failed_with(2, &["tcsh", "bash"]);
}

#[tokio::test]
async fn bash_takes_its_script_and_completes_with_it() {
    let program = env!("CARGO_BIN_EXE_tidegate");
    let script = format!(
        "eval \"$({program} completions bash)\"; COMP_WORDS=(tidegate dead re); COMP_CWORD=2; \
         _tidegate tidegate re dead; \
         echo \"${{COMPREPLY[@]}}\""
    );
    let ended = tokio::process::Command::new("bash").args(["-c", &script]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "redrive\n", "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
async fn there_is_a_man_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("share/man1");
    let written = run(["man".as_ref(), pages.as_os_str()]).await;
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""), "{written:?}");
    for (page, has) in
        [("tidegate.1", "tidegate\\-run(1)"), ("tidegate-run.1", "http"), ("tidegate-dead-list.1", "cause")]
    {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(has), "{page}: {text}");
    }
    assert!(!pages.join("tidegate-compile.1").exists(), "a hidden command has a page");
    let printed = run(["man"]).await;
    assert_eq!(printed.stdout, std::fs::read_to_string(pages.join("tidegate.1")).unwrap());
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    run(["man".as_ref(), file.join("x").as_os_str()]).await.failed_with(1, &["the man pages cannot be written to"]);
}
