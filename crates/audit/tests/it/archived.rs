//! A log that was written once and archived: what today's code reads must stay what it was then. `e2e/audit.mjs` reads
//! the same one.

use std::{fs, path::PathBuf};

use fastmcp_audit::{VerifierKey, verify};

#[test]
fn an_archived_log_of_then_verifies_now() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fixtures/archived");
    let key = fs::read_to_string(root.join("audit.vkey")).unwrap();
    let key: VerifierKey = key.trim().parse().unwrap();
    let report = verify(&root.join("audit"), Some(&key)).unwrap();
    let (gone, since, until) = report.archived.unwrap();
    assert_eq!((report.records, gone, report.closed), (16, 7, true));
    assert_eq!(
        (since.to_string(), until.to_string()),
        ("2026-11-20".to_owned(), "2026-11-21".to_owned())
    );
}
