//! Old records go, and what is left is as good as before; records are exported as they are.

use std::{fs, path::PathBuf, process::Output};

use fastmcp_audit::{Clock, Draft, Log, Options, Status};
use fastmcp_gateway::keys::Keys;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Home, until};

const INSTANCE: (&str, &str) = ("FASTMCP_INSTANCE", "gw-1");
/// Long before any day on which this runs.
const OLD: &str = "audit-20200301.jsonl";

/// A log with four records of a day long ago, and two of now.
fn aged() -> Home {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    let dir = home.data().join("audit");
    let options = || {
        let keys = Keys::open(&home.data()).unwrap();
        Options::new("gw-1", keys.audit_signer("gw-1").unwrap())
    };
    let mut old = options();
    let then: Timestamp = "2020-03-01T10:00:00Z".parse().unwrap();
    old.clock = Clock::new(move || then);
    let log = Log::open(&dir, old).unwrap();
    for (sub, reason) in [("agent-1", "=1+1"), ("agent-2", "a \"quoted\", one")] {
        let mut draft = Draft::event("tools.invoke", Status::Denied);
        draft.sub = Some(sub.to_owned());
        draft.reason = Some(reason.to_owned());
        log.append(&draft).wait().unwrap();
    }
    log.close().unwrap();
    drop(log);
    Log::open(&dir, options()).unwrap().close().unwrap();
    home
}

fn told(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

fn old(home: &Home) -> PathBuf {
    home.data().join("audit").join(OLD)
}

#[tokio::test]
async fn prune_says_what_would_go_and_moves_it() {
    let home = aged();
    let cold = home.folder().join("cold");
    let planned = home
        .run(
            &["audit", "prune", "--days", "30", "--dry-run"],
            &[INSTANCE],
        )
        .await;
    let text = told(&planned);
    assert!(planned.status.success() && text.contains(OLD), "{text}");
    assert!(
        text.contains("1 files with 4 records would be removed"),
        "{text}"
    );
    assert!(old(&home).exists());

    let unsaid = home.run(&["audit", "prune"], &[INSTANCE]).await;
    assert!(
        told(&unsaid).contains("--days or AUDIT_RETENTION_DAYS"),
        "{}",
        told(&unsaid)
    );

    let moved = home
        .run(
            &[
                "audit",
                "prune",
                "--days",
                "30",
                "--archive-dir",
                cold.to_str().unwrap(),
            ],
            &[INSTANCE],
        )
        .await;
    assert!(
        told(&moved).contains("1 files with 4 records moved to"),
        "{}",
        told(&moved)
    );
    assert!(!old(&home).exists() && cold.join(OLD).exists());
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
    let gone = "archived    4 records of 2020-03-01 to 2020-03-01 were taken away";
    assert!(said.contains(gone), "{said}");
    let lost = home.run(&["audit", "prove", "1"], &[]).await;
    assert!(told(&lost).contains("it begins with 4"), "{}", told(&lost));

    let again = home
        .run(&["audit", "prune", "--days", "30"], &[INSTANCE])
        .await;
    assert!(told(&again).contains("nothing goes"), "{}", told(&again));

    // Put back into a copy, it is read as any other.
    let copy = home.folder().join("copy");
    fs::create_dir_all(copy.join("tile")).unwrap();
    copy_all(&home.data().join("audit"), &copy);
    fs::copy(cold.join(OLD), copy.join(OLD)).unwrap();
    let vkey = home.data().join("audit.vkey");
    let arguments = [
        "audit",
        "verify",
        "--json",
        "--dir",
        copy.to_str().unwrap(),
        "--vkey",
        vkey.to_str().unwrap(),
    ];
    let whole = home.run(&arguments, &[]).await;
    let report: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["archived"]),
        (&json!(true), &Value::Null),
        "{report}"
    );
    let forged = fs::read_to_string(copy.join(OLD))
        .unwrap()
        .replacen("agent-1", "agent-3", 1);
    fs::write(copy.join(OLD), forged).unwrap();
    assert_eq!(home.run(&arguments, &[]).await.status.code(), Some(1));
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_running_gateway_prunes_by_itself_and_lets_nobody_else() {
    let home = aged();
    let cold = home.folder().join("cold");
    let gateway = home.start_with(&[INSTANCE]).await;
    let refused = home
        .run(&["audit", "prune", "--days", "30"], &[INSTANCE])
        .await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        told(&refused).contains("prunes by itself"),
        "{}",
        told(&refused)
    );
    assert!(old(&home).exists());
    gateway.stop().await;

    let gateway = home
        .start_with(&[
            INSTANCE,
            ("AUDIT_RETENTION_DAYS", "30"),
            ("AUDIT_ARCHIVE_DIR", cold.to_str().unwrap()),
        ])
        .await;
    until("the old file to go", async || {
        (!old(&home).exists()).then_some(())
    })
    .await;
    assert!(cold.join(OLD).exists());
    let token = home.role("agent-1", "data-analyst").await;
    gateway.query(&token, "SELECT 1").await.ok();
    let ready = gateway.get("/ready").await.ok();
    assert_eq!(ready["degraded"], json!({}), "{ready}");
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed && said.contains("4 records of 2020-03-01"), "{said}");
    home.start_with(&[INSTANCE]).await.stop().await;
}

#[tokio::test]
async fn records_are_exported_as_they_stand_in_the_log() {
    let home = aged();
    let lines: String = home
        .audit_files()
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let exported = home.run(&["audit", "export"], &[]).await;
    assert_eq!(
        String::from_utf8(exported.stdout).unwrap(),
        lines,
        "byte for byte"
    );
    let file = home.folder().join("out.jsonl");
    let arguments = [
        "audit",
        "export",
        "--sub",
        "agent-2",
        "-o",
        file.to_str().unwrap(),
    ];
    assert!(home.run(&arguments, &[]).await.status.success());
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", lines.lines().nth(2).unwrap())
    );
    let csv = home
        .run(
            &[
                "audit", "export", "--format", "csv", "--from", "1", "--to", "3",
            ],
            &[],
        )
        .await;
    let csv = String::from_utf8(csv.stdout).unwrap();
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[0].starts_with("seq,ts,phase,action,status"), "{csv}");
    assert!(
        rows[1].contains("\"'=1+1\"") && rows[2].contains("\"a \"\"quoted\"\", one\""),
        "{csv}"
    );
}
