//! The policy commands: what a rule says, without a gateway.

use std::fs;

use serde_json::{Value, json};

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
async fn a_named_policy_that_is_not_there_is_nobodys_policy() {
    let home = Home::new();
    let named = [("FASTMCP_POLICY", "company-polices.yml")];
    for arguments in [
        &["policy", "check"][..],
        &["doctor", "--json"],
        &["serve", "--bind", "127.0.0.1:0"],
    ] {
        let output = home.run(arguments, &named).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("company-polices.yml") && said.contains("there is no such file"),
            "{arguments:?}: {said}"
        );
    }
    assert!(!home.folder().join("company-polices.yml").exists());
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

#[tokio::test]
async fn a_misspelt_role_or_tool_is_refused_with_what_was_meant() {
    let home = Home::new();
    for (arguments, expected) in [
        (
            &["--role", "data-analist", "--tool", "database:listTables"][..],
            "no policy file defines the role `data-analist`; did you mean `data-analyst`?",
        ),
        (
            &["--role", "xyz", "--tool", "database:listTables"],
            "no policy file defines the role `xyz`; there are ",
        ),
        (
            &["--role", "data-analyst", "--tool", "database:listTable"],
            "tenant `public` has no tool `database:listTable`; did you mean `database:listTables`?",
        ),
        (
            &["--tool", "a:b", "--read-only", "--claims", "[1]"],
            "`--claims` is not a JSON object",
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

const CIRCUMSTANCES: &str = r#"
version: 1
roles: {writer: ["tools.invoke:write"]}
rules:
  - {id: all, effect: allow, when: {action: tools.invoke, subject.roles: writer}}
  - {id: claims, effect: deny, when: {"subject.claims.dept !=": sales}}
  - {id: client, effect: deny, when: {"context.client !=": cli}}
  - {id: ip, effect: deny, when: {"context.ip !=": 10.0.0.0/8}}
  - {id: time, effect: deny, when: {"context.hour !=": 9}}
  - {id: corr, effect: deny, when: {"context.corr_id !=": c-1}}
  - {id: class, effect: deny, when: {"resource.classification !=": secret}}
  - {id: path, effect: deny, when: {context.arguments.path_in: [a.txt, b.txt]}}
"#;

#[tokio::test]
async fn whatever_rules_read_can_be_told() {
    let home = Home::new();
    fs::write(home.folder().join("c.yml"), CIRCUMSTANCES).unwrap();
    let all = [
        ("claims", "--claims", r#"{"dept": ["sales", "eu"]}"#),
        ("client", "--client", "cli"),
        ("ip", "--ip", "10.0.0.7"),
        ("time", "--time", "2026-11-20T09:00:00Z"),
        ("corr", "--corr-id", "c-1"),
        ("class", "--classification", "secret"),
        ("path", "--arguments", r#"{"path": "c.txt"}"#),
    ];
    let ask = async |changed: &str, to: Option<&str>| {
        let mut arguments = vec!["--policy", "c.yml", "--role", "writer", "--tool", "x:y"];
        for (rule, flag, value) in all {
            let value = if rule == changed { to } else { Some(value) };
            arguments.extend(value.into_iter().flat_map(|value| [flag, value]));
        }
        let decision = explain(&home, &arguments).await["decision"].clone();
        (decision["effect"].clone(), decision["policy_ids"].clone())
    };
    let (allow, deny) = (serde_json::json!("allow"), serde_json::json!("deny"));
    assert_eq!(ask("", None).await, (allow, serde_json::json!(["all"])));
    for (rule, to) in [
        ("claims", None),
        ("client", None),
        ("ip", Some("192.168.7.12")),
        ("time", Some("2026-11-20T10:00:00Z")),
        ("corr", None),
        ("class", Some("public")),
        ("path", Some(r#"{"path": "a.txt"}"#)),
    ] {
        assert_eq!(
            ask(rule, to).await,
            (deny.clone(), serde_json::json!([rule]))
        );
    }
}

#[tokio::test]
async fn cedar_is_checked_with_places_against_a_schema_that_can_be_had() {
    let home = Home::new();
    let folder = home.folder().join("m");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("x.cedar"),
        "@id(\"a\")\npermit (principal, action, resource);\n\npermit (principal, action, resource);\n@id(\"c-x\") @obligation(\"confirm:persn\")\npermit (principal, action, resource);\n",
    )
    .unwrap();
    let output = home.run(&["policy", "check", "m"], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("x.cedar:4:1: a policy has no id"), "{said}");
    assert!(
        said.contains("x.cedar:5:12: rule `c-x`: `@obligation"),
        "{said}"
    );
    let said = home.say(&["policy", "schema"]).await;
    assert!(
        said.code == 0 && said.stdout.contains("entity Tool in [Provider]"),
        "{}",
        said.stderr
    );
}

#[tokio::test]
async fn a_check_notes_arguments_that_no_named_tool_takes() {
    let home = Home::new();
    let rule = "version: 1\nrules:\n  - {id: typo, effect: deny, when: {resource.toolId: \"filesystem:writeFile\", context.arguments.pth: a}}\n  - {id: crm, effect: deny, when: {resource.toolId: \"crm:merge\", context.arguments.pth: a}}\n";
    fs::write(home.folder().join("p.yml"), rule).unwrap();
    let note = |id: &str| {
        format!("note     p.yml: rule `{id}`: no tool that it names takes the argument `pth`")
    };
    let said = home.say(&["policy", "check", "p.yml"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains(&note("typo")), "{}", said.stdout);
    assert!(!said.stdout.contains("`crm`"), "{}", said.stdout);

    let manifest = json!({"toolId": "crm:merge", "name": "Merge", "description": "d",
        "inputs": {"type": "object", "properties": {"path": {"type": "string"}}},
        "provider_id": "crm", "tenant": "acme", "required_scopes": []});
    let tools = home.folder().join("tools.json");
    fs::write(tools, json!([manifest]).to_string()).unwrap();
    let check = ["policy", "check", "p.yml", "--manifests", "tools.json"];
    let said = home.say(&check).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains(&note("crm")), "{}", said.stdout);
    assert!(!said.stdout.contains("`typo`"), "{}", said.stdout);
}
