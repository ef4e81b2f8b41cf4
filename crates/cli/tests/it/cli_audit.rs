//! The audit commands, on logs that are made here.

use std::{fs, path::PathBuf, process::Output};

use fastmcp_audit::{Draft, Log, Options, Signer, Status, generate_key};
use serde_json::Value;

use crate::support::{Home, not_at_midnight};

/// A home with a log of six records: opened, four of ours, closed.
async fn logged() -> Home {
    // They stand in one file.
    not_at_midnight().await;
    let home = Home::new();
    let dir = home.data().join("audit");
    fs::create_dir_all(&dir).unwrap();
    let signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    fs::write(
        home.data().join("audit.vkey"),
        format!("{}\n", signer.verifier()),
    )
    .unwrap();
    let log = Log::open(&dir, Options::new("gw-1", signer)).unwrap();
    for (sub, status) in [
        ("agent-1", Status::Success),
        ("agent-2", Status::Denied),
        ("agent-1", Status::Denied),
        ("agent-1", Status::Failed),
    ] {
        let mut draft = Draft::event("tools.invoke", status);
        draft.sub = Some(sub.to_owned());
        draft.tenant = Some("acme".to_owned());
        draft.tool_id = Some("database:listTables".to_owned());
        draft.reason = Some("with \u{1b}[31mcolour".to_owned());
        log.append(&draft).wait().unwrap();
    }
    log.close().unwrap();
    home
}

fn file(home: &Home) -> PathBuf {
    home.audit_file("agent-2")
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Changes the first byte of `from` in the file into another.
fn edit(home: &Home, line: usize, from: &str) {
    let text = fs::read_to_string(file(home)).unwrap();
    let begin: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let at = begin + text[begin..].find(from).unwrap();
    let mut bytes = text.into_bytes();
    bytes[at] ^= 1;
    fs::write(file(home), bytes).unwrap();
}

#[tokio::test]
async fn a_whole_log_verifies() {
    let home = logged().await;
    let output = home.run(&["audit", "verify"], &[]).await;
    let text = stdout(&output);
    assert!(
        text.contains("is whole")
            && text.contains("records     6")
            && text.contains("by gw-1/audit (signed)"),
        "{text}"
    );
    let report: Value = serde_json::from_str(&stdout(
        &home.run(&["audit", "verify", "--json"], &[]).await,
    ))
    .unwrap();
    assert_eq!(
        (&report["ok"], &report["records"], &report["closed"]),
        (&true.into(), &6.into(), &true.into())
    );
    assert_eq!(report["checkpoint"]["signed"], true);
}

#[tokio::test]
async fn an_edited_byte_fails_and_names_file_line_and_record() {
    let home = logged().await;
    let name = file(&home)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    edit(&home, 3, "agent-2");
    let output = home.run(&["audit", "verify"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains(&format!("`{name}` line 3 (seq 2): edited")),
        "{text}"
    );
    assert!(output.stdout.is_empty());
    let output = home.run(&["audit", "verify", "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["line"], &report["seq"]),
        (&false.into(), &3.into(), &2.into())
    );
    assert_eq!(report["file"], name);
}

#[tokio::test]
async fn another_key_and_a_checkpoint_that_was_kept_are_held_against_it() {
    let home = logged().await;
    let kept = home.folder().join("kept");
    let kept = kept.to_str().unwrap();
    stdout(&home.run(&["audit", "checkpoint", "-o", kept], &[]).await);
    stdout(&home.run(&["audit", "verify", "--kept", kept], &[]).await);

    let other = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    let vkey = home.folder().join("other.vkey");
    fs::write(&vkey, other.verifier().to_string()).unwrap();
    let output = home
        .run(&["audit", "verify", "--vkey", vkey.to_str().unwrap()], &[])
        .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("checkpoint: no signature by `gw-1/audit`"),
        "{}",
        said(&output)
    );

    let output = home
        .run(&["audit", "verify", "--dir", "nowhere"], &[])
        .await;
    assert!(
        said(&output).contains("there is no audit log in `nowhere`; name its folder with --dir"),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn records_are_found_and_shown_whole() {
    let home = logged().await;
    let found = stdout(
        &home
            .run(
                &[
                    "audit", "search", "--sub", "agent-1", "--status", "denied", "--json",
                ],
                &[],
            )
            .await,
    );
    let records: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        records.iter().map(|r| r["seq"].clone()).collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(records[0]["toolId"], "database:listTables");

    let shown: Value =
        serde_json::from_str(&stdout(&home.run(&["audit", "show", "3"], &[]).await)).unwrap();
    let line = fs::read_to_string(file(&home))
        .unwrap()
        .lines()
        .nth(3)
        .unwrap()
        .to_owned();
    assert_eq!(
        shown,
        serde_json::from_str::<Value>(&line).unwrap(),
        "as it stands in the log"
    );
    let none = home.run(&["audit", "show", "6"], &[]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(
        said(&none).contains("there is no record 6"),
        "{}",
        said(&none)
    );

    let limited = home.run(&["audit", "search", "--limit", "2"], &[]).await;
    assert_eq!(stdout(&limited).lines().count(), 3, "a head and two rows");
    assert!(said(&limited).contains("there are more than 2"));
}

#[tokio::test]
async fn the_last_records_come_last_and_cannot_steer_the_terminal() {
    let home = logged().await;
    let text = stdout(&home.run(&["audit", "tail", "-n", "2"], &[]).await);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].starts_with("4 ") && lines[1].contains("acme/agent-1"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("5 ") && lines[2].contains("audit.closed"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let one = stdout(&home.run(&["audit", "tail", "-n", "1", "--json"], &[]).await);
    assert_eq!(
        serde_json::from_str::<Value>(&one).unwrap()["action"],
        "audit.closed"
    );
}

#[tokio::test]
async fn one_record_is_proved_without_the_others() {
    let home = logged().await;
    let proof = home.folder().join("2.proof");
    let path = proof.to_str().unwrap();
    stdout(&home.run(&["audit", "prove", "2", "-o", path], &[]).await);
    fs::remove_dir_all(home.data().join("audit")).unwrap();
    let proved: Value = serde_json::from_str(&stdout(
        &home.run(&["audit", "verify-proof", path], &[]).await,
    ))
    .unwrap();
    assert_eq!(
        (&proved["log"], &proved["record"]["sub"]),
        (&"gw-1/audit".into(), &"agent-2".into())
    );

    fs::write(
        &proof,
        fs::read_to_string(&proof)
            .unwrap()
            .replace("agent-2", "agent-3"),
    )
    .unwrap();
    let output = home.run(&["audit", "verify-proof", path], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("2.proof` proves nothing"),
        "{}",
        said(&output)
    );
}
