//! `doctor`: what is wrong with a set-up.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::support::Home;

async fn examine(home: &Home, vars: &[(&str, &str)]) -> (Option<i32>, Value) {
    // Any free port: the usual one may be in use on this machine.
    let vars = [&[("PORT", "0")], vars].concat();
    let output = home.run(&["doctor", "--json"], &vars).await;
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap(),
    )
}

fn finding<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let findings = report["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap();
    (
        found["verdict"].as_str().unwrap(),
        found["text"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn a_fresh_place_is_sound_and_stays_untouched() {
    let home = Home::new();
    let (code, report) = examine(&home, &[]).await;
    assert_eq!((code, &report["ok"]), (Some(0), &true.into()), "{report}");
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["verdict"] == "ok"),
        "{report}"
    );
    assert!(!home.data().exists());
}

#[tokio::test]
async fn a_log_that_was_taken_away_is_said() {
    let home = Home::new();
    home.start().await.stop().await;
    fs::remove_dir_all(home.data().join("audit")).unwrap();
    let (code, report) = examine(&home, &[]).await;
    assert_eq!(code, Some(0), "{report}");
    let (verdict, text) = finding(&report, "audit log");
    assert!(
        verdict == "warn" && text.contains("there was a log"),
        "{report}"
    );
}

#[tokio::test]
async fn a_used_place_is_looked_at_in_every_part() {
    let home = Home::new();
    home.start().await.stop().await;
    let (code, report) = examine(&home, &[]).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(
        finding(&report, "audit log")
            .1
            .contains("records are whole, the checkpoint is signed"),
        "{report}"
    );
    assert!(finding(&report, "keys").1.contains("4 files"), "{report}");

    let seal = home.data().join("keys/seal.key");
    fs::set_permissions(&seal, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(home.policies(), "version: 1\nrols: {}\n").unwrap();
    let log = home.audit_file("audit.opened");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("audit.opened", "audit.opende", 1)).unwrap();
    let (code, report) = examine(
        &home,
        &[
            ("DATABASE_PATH", "none.db"),
            ("REDIS_URL", "redis://localhost"),
            ("CACHE_TTL", "60"),
        ],
    )
    .await;
    assert_eq!(code, Some(1));
    for (check, verdict, text) in [
        (
            "configuration",
            "warn",
            "`CACHE_TTL` (environment) has no effect",
        ),
        ("keys", "fail", "chmod 600"),
        ("policy", "fail", "did you mean `roles`?"),
        ("database", "fail", "there is no file"),
        ("audit log", "fail", "line 1"),
    ] {
        let found = finding(&report, check);
        assert!(
            found.0 == verdict && found.1.contains(text),
            "{check}: {found:?}"
        );
    }
}

#[tokio::test]
async fn what_would_refuse_the_start_is_told_at_once() {
    let home = Home::new();
    let (code, report) =
        examine(&home, &[("REQUIRE_MTLS", "true"), ("CONFIRM_TTL_SEC", "x")]).await;
    assert_eq!(
        (code, report["findings"].as_array().unwrap().len()),
        (Some(1), 2),
        "{report}"
    );
    let (code, report) = examine(&home, &[("HOST", "0.0.0.0")]).await;
    assert_eq!((code, finding(&report, "address").0), (Some(1), "fail"));
}

#[tokio::test]
async fn the_limits_in_force_are_told_and_bad_ones_named() {
    let home = Home::new();
    let told = |report: &Value| -> Vec<String> {
        let findings = report["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["check"] == "limits")
            .map(|finding| finding["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, report) = examine(&home, &[]).await;
    assert_eq!(
        told(&report),
        [
            "`default`: 5 calls a second, 10 at once, for each tenant, subject and tool",
            "counted by each process for itself",
        ]
    );
    let file = home.folder().join("limits.yml");
    let vars = [
        ("RATE_LIMIT_FILE", "limits.yml"),
        ("REDIS_URL", "redis://:hunter2@localhost"),
        ("RATE_LIMIT_FALLBACK", "refuse"),
    ];
    let rules =
        "default: false\nrules:\n  - {name: daily, key: [tenant], quota: {max: 9, per: day}}\n";
    fs::write(&file, rules).unwrap();
    let (code, report) = examine(&home, &vars).await;
    assert_eq!(
        told(&report),
        [
            "`daily`: 9 calls a day (UTC), for each tenant",
            "counted in Redis, which is not tried here; calls are refused while it is away",
        ]
    );
    assert_eq!(code, Some(0), "{report}");
    assert!(!report.to_string().contains("hunter2"));

    fs::write(&file, rules.replace("quota", "qouta")).unwrap();
    let (code, report) = examine(&home, &vars).await;
    let (verdict, text) = finding(&report, "configuration");
    assert_eq!((code, verdict), (Some(1), "fail"));
    assert!(text.contains("did you mean `quota`?"), "{text}");
    fs::remove_file(&file).unwrap();
    let (code, report) = examine(&home, &vars).await;
    assert_eq!(code, Some(1));
    let text = finding(&report, "configuration").1;
    assert!(
        text.contains("`RATE_LIMIT_FILE`") && text.contains("no such file"),
        "{text}"
    );
}
