//! The policy commands: what a rule says, without a gateway.

use std::fs;

use serde_json::Value;

use crate::support::Home;

async fn explain(home: &Home, arguments: &[&str]) -> Value {
    let output = home
        .run(
            &[
                &["policy", "explain", "--sub", "agent-1", "--json"],
                arguments,
            ]
            .concat(),
            &[],
        )
        .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_built_in_policy_is_sound() {
    let home = Home::new();
    let output = home.run(&["policy", "check", "--json"], &[]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert!(
        report["rules"]
            .as_array()
            .unwrap()
            .contains(&"invoke-ads-create".into()),
        "{report}"
    );
    assert!(!home.data().exists(), "checking leaves the disk as it is");
}

#[tokio::test]
async fn a_bad_policy_fails_with_file_line_and_the_right_word() {
    let home = Home::new();
    let file = home.folder().join("bad.yml");
    fs::write(&file, "version: 1\nroles:\n  agent: [\"tools.invoke:read\"]\nrules:\n  - id: a\n    efect: allow\n    when: {subject.roles: agnt}\n").unwrap();
    let output = home.run(&["policy", "check", "bad.yml"], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("bad.yml:6: rule `a`: unknown key `efect`; did you mean `effect`?"),
        "{said}"
    );
    let output = home
        .run(&["policy", "check", "bad.yml", "--json"], &[])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["ok"] == false && report["problems"].as_array().unwrap().len() > 1,
        "{report}"
    );
    let output = home.run(&["policy", "check", "none.yml"], &[]).await;
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("`none.yml` cannot be read")
    );
}

#[tokio::test]
async fn a_decision_is_explained_with_what_the_arguments_demand() {
    let home = Home::new();
    let query = [
        "--role",
        "data-analyst",
        "--tool",
        "database:executeQuery",
        "--args",
    ];
    let read = explain(&home, &[&query[..], &[r#"{"query": "SELECT 1"}"#]].concat()).await;
    assert_eq!(read["decision"]["effect"], "allow", "{read}");
    let dropped = explain(
        &home,
        &[&query[..], &[r#"{"query": "DROP TABLE orders"}"#]].concat(),
    )
    .await;
    assert_eq!(dropped["decision"]["effect"], "deny");
    assert_eq!(
        dropped["decision"]["reason"]["scopes"],
        serde_json::json!(["database.write"]),
        "{dropped}"
    );

    let ads = home
        .run(
            &[
                "policy",
                "explain",
                "--sub",
                "a",
                "--role",
                "finance-write",
                "--tool",
                "ads:createCampaign",
            ],
            &[],
        )
        .await;
    let text = String::from_utf8(ads.stdout).unwrap();
    assert!(
        text.starts_with("allow: rule `invoke-ads-create` allows")
            && text.contains("obligation confirm"),
        "{text}"
    );
}

#[tokio::test]
async fn tools_that_are_not_built_in_are_described() {
    let home = Home::new();
    let git = [
        "--role",
        "mcp-user",
        "--tool",
        "mcp:git:log",
        "--needs",
        "mcp.git",
        "--read-only",
    ];
    assert_eq!(explain(&home, &git).await["decision"]["effect"], "allow");
    let foreign = [&git[..], &["--tool-tenant", "other"]].concat();
    assert_eq!(
        explain(&home, &foreign).await["decision"]["policy_ids"],
        serde_json::json!(["tenant-isolation"])
    );
    assert_eq!(
        explain(&home, &["--action", "catalog:list"]).await["decision"]["effect"],
        "allow"
    );

    for (arguments, expected) in [
        (
            &["--action", "catalog:list", "--tool", "a:b"][..],
            "is about no tool",
        ),
        (&[], "is about a tool; name it with --tool"),
        (
            &["--tool", "a:b", "--args", "{\"a\": 1, \"a\": 2}"],
            "`--args` is not a JSON object",
        ),
        (
            &[
                "--tool",
                "database:executeQuery",
                "--args",
                "{\"query\": \"not SQL\"}",
            ],
            "the arguments are not what the tool takes",
        ),
    ] {
        let output = home
            .run(
                &[&["policy", "explain", "--sub", "a"], arguments].concat(),
                &[],
            )
            .await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains(expected),
            "{arguments:?}: {said}"
        );
    }
}
