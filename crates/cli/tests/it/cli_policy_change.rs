//! What a policy does and what a change of it would do: expected decisions, the table of roles, the replayed log.

use std::fs;

use serde_json::{Value, json};

use crate::support::Home;

async fn run(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = home.run(&[&["policy"], arguments].concat(), &[]).await;
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const EXPECTED: &str = r#"
version: 1
callers:
  ann: {sub: ann, tenant: acme, roles: [data-analyst]}
  finance: {sub: carl, tenant: acme, roles: [finance-write]}
tools:
  "crm:wipe": {tenant: other, safety_tags: [destructive]}
tests:
  - name: analysts look at tables
    caller: ann
    tool: database:listTables
    arguments: {}
    expect: allow
    rule: invoke-database-tools
    once: false
  - name: analysts drop nothing
    caller: ann
    tool: database:executeQuery
    arguments: {query: DROP TABLE orders}
    expect: deny
    because: missing_scope
  - name: money is confirmed
    caller: finance
    tool: ads:createCampaign
    expect: confirm
    rule: [invoke-ads-create, safety-destroy-requires-confirm]
  - name: nobody reaches another tenant
    caller: ann
    tool: crm:wipe
    context: {client: cli, ip: 10.0.0.7}
    expect: deny
    rule: tenant-isolation
  - caller: {sub: eve}
    action: catalog:list
    expect: allow
"#;

#[tokio::test]
async fn a_policy_is_held_to_what_is_expected_of_it() {
    let home = Home::new();
    fs::write(home.folder().join("good.yml"), EXPECTED).unwrap();
    let (code, said, _) = run(&home, &["test", "good.yml"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("ok    analysts drop nothing") && said.ends_with("5 passed, 0 failed\n"),
        "{said}"
    );
    assert!(!home.data().exists(), "testing leaves the disk as it is");

    let wrong = EXPECTED
        .replace("expect: confirm\n", "expect: allow\n")
        .replace("because: missing_scope", "because: no_rule_allows");
    fs::write(home.folder().join("wrong.yml"), wrong).unwrap();
    let (code, said, _) = run(&home, &["test", "wrong.yml"]).await;
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "FAIL  money is confirmed (wrong.yml:22)",
        "- allow by invoke-ads-create, safety-destroy-requires-confirm",
        "+ confirm:client by invoke-ads-create, safety-destroy-requires-confirm",
        "expected allow, and it is confirm:client",
        "it is not because of no_rule_allows",
        "3 passed, 2 failed",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let (code, said, _) = run(&home, &["test", "good.yml", "wrong.yml", "--json"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &report["ok"], &report["passed"], &report["failed"]),
        (Some(1), &json!(false), &json!(8), &json!(2))
    );
    let failed = report["tests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["ok"] == false)
        .unwrap();
    assert_eq!(failed["line"], 16, "{failed}");
    assert_eq!(
        failed["decision"]["reason"]["scopes"],
        json!(["database.write"])
    );
}

#[tokio::test]
async fn a_file_of_expectations_that_says_nothing_sound_is_refused() {
    let home = Home::new();
    for (text, expected) in [
        (
            EXPECTED.replace("rule: tenant-isolation", "rule: tenant-isolatoin"),
            "tests.yml:27: the policy has no rule `tenant-isolatoin`",
        ),
        (
            EXPECTED.replace("tool: crm:wipe", "tool: crm:merge"),
            "tool `crm:merge` is neither built in nor described under `tools`",
        ),
        (
            EXPECTED.replace("expect: confirm\n", "expect: maybe\n"),
            "tests.yml: line 22: `expect` is",
        ),
        (
            EXPECTED.replace("query: DROP TABLE orders", "query: not SQL"),
            "the arguments are not what the tool takes",
        ),
        (EXPECTED.replace("tenant: other", "tenat: other"), "tenat"),
    ] {
        fs::write(home.folder().join("tests.yml"), text).unwrap();
        let (code, _, said) = run(&home, &["test", "tests.yml"]).await;
        assert!(
            code == Some(1) && said.contains(expected),
            "{expected}\n{said}"
        );
    }
}

const AMOUNTS: &str = r#"
version: 1
roles: {payer: ["ads.write", "tools.invoke:write"], other: ["tools.invoke:read"]}
rules:
  - {id: pay, effect: allow, when: {action: tools.invoke, subject.roles: payer}}
  - {id: ask, effect: allow, when: {action: tools.invoke, context.arguments.status: active}, require_confirmation: person}
"#;

#[tokio::test]
async fn the_table_says_who_may_call_what() {
    let home = Home::new();
    let (code, said, _) = run(&home, &["matrix"]).await;
    assert_eq!(code, Some(0), "{said}");
    let cell = |said: &str, tool: &str, role: &str| {
        let mut lines = said
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let head = lines.next().unwrap();
        let at = head.iter().position(|name| *name == role).unwrap();
        let row = lines.find(|row| row.first() == Some(&tool)).unwrap();
        row[at].to_owned()
    };
    assert_eq!(
        cell(&said, "ads:createCampaign", "finance-write"),
        "confirm:client"
    );
    assert_eq!(cell(&said, "ads:createCampaign", "data-analyst"), "deny");
    assert_eq!(cell(&said, "database:listTables", "data-analyst"), "allow");
    assert_eq!(cell(&said, "database:listTables", "(none)"), "deny");

    fs::write(home.folder().join("amounts.yml"), AMOUNTS).unwrap();
    let (_, said, _) = run(
        &home,
        &[
            "matrix",
            "--policy",
            "amounts.yml",
            "--tool",
            "ads:createCampaign",
        ],
    )
    .await;
    assert_eq!(cell(&said, "ads:createCampaign", "payer"), "depends");
    assert!(
        said.contains(
            "ads:createCampaign for payer: deny or allow or confirm:person, depending on ask"
        ),
        "{said}"
    );
    let (_, said, _) = run(
        &home,
        &[
            "matrix",
            "--role",
            "other+data-analyst",
            "--role",
            "fs-reader",
        ],
    )
    .await;
    assert!(said.is_empty(), "an unknown role is no column: {said}");

    let manifest = json!({"toolId": "crm:merge", "name": "Merge", "description": "d", "inputs": {"type": "object"},
        "provider_id": "crm", "tenant": "acme", "required_scopes": ["crm.write"]});
    fs::write(
        home.folder().join("tools.json"),
        json!({"tenant": "acme", "tools": [manifest]}).to_string(),
    )
    .unwrap();
    let (_, said, _) = run(
        &home,
        &[
            "matrix",
            "--manifests",
            "tools.json",
            "--tenant",
            "acme",
            "--role",
            "admin",
            "--json",
        ],
    )
    .await;
    let table: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(table["tools"][0]["toolId"], "crm:merge");
    assert_eq!(table["tools"][0]["roles"][0]["cell"], "deny");
}

#[tokio::test]
async fn the_table_of_a_gateway_holds_what_is_registered_there() {
    let home = Home::new();
    let gateway = home.start().await;
    let manifest = json!({"toolId": "database:listTables", "name": "Tables", "description": "d", "inputs": {"type": "object"},
        "provider_id": "database", "tenant": "acme", "required_scopes": ["database.read", "database.write"], "read_only": true});
    let admin = home
        .mint("root", &["--role", "data-admin", "--tenant", "acme"])
        .await;
    let reply = gateway
        .ask("POST", "/manifests/register")
        .bearer(&admin)
        .json(&manifest)
        .send()
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let explained = async |tenant: &str| {
        let (code, said, complaint) = run(
            &home,
            &[
                "explain",
                "--sub",
                "ann",
                "--role",
                "data-analyst",
                "--tool",
                "database:listTables",
                "--tenant",
                tenant,
                "--json",
            ],
        )
        .await;
        assert_eq!(code, Some(0), "{complaint}");
        let report: Value = serde_json::from_str(&said).unwrap();
        report["decision"]["effect"].clone()
    };
    let cell = async |tenant: &str| {
        let (_, said, complaint) = run(
            &home,
            &[
                "matrix",
                "--role",
                "data-analyst",
                "--tool",
                "database:listTables",
                "--tenant",
                tenant,
                "--json",
            ],
        )
        .await;
        let table: Value =
            serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{complaint}"));
        table["tools"][0]["roles"][0]["cell"].clone()
    };
    assert_eq!(cell("acme").await, "deny");
    assert_eq!(cell("public").await, "allow");
    assert_eq!(
        explained("acme").await,
        "deny",
        "it needs what the tenant's manifest says"
    );
    assert_eq!(explained("public").await, "allow");
    gateway.stop().await;
}

#[tokio::test]
async fn a_candidate_is_replayed_over_the_log() {
    let home = Home::new();
    let gateway = home.start().await;
    let analyst = home.mint("ann", &["--role", "data-analyst"]).await;
    let finance = home.mint("carl", &["--role", "finance-write"]).await;
    let campaign = json!({"name": "Spring", "budget": 100, "startDate": "2027-03-01"});
    for _ in 0..2 {
        let listed = gateway
            .invoke(&analyst, "database:listTables", &json!({}))
            .send()
            .await;
        assert_eq!(listed.status, 200, "{}", listed.text());
    }
    let refused = gateway
        .invoke(&analyst, "ads:createCampaign", &campaign)
        .send()
        .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let asked = gateway
        .invoke(&finance, "ads:createCampaign", &campaign)
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let mut confirmed = campaign.clone();
    confirmed["action_token"] = asked.json()["action_token"].clone();
    let done = gateway
        .confirm(&finance, "ads:createCampaign", &confirmed)
        .send()
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let unknown = gateway.invoke(&analyst, "no:such", &json!({})).send().await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());

    let simulate = async |policy: &str| -> Value {
        fs::write(home.folder().join("candidate.yml"), policy).unwrap();
        let (code, said, complaint) = run(&home, &["simulate", "candidate.yml", "--json"]).await;
        assert_eq!(code, Some(0), "{complaint}");
        serde_json::from_str(&said).unwrap()
    };
    let built_in = fs::read_to_string(home.policies()).unwrap();
    let same = simulate(&built_in).await;
    assert_eq!(
        (&same["replayed"], &same["unchanged"]),
        (&json!(4), &json!(4)),
        "{same}"
    );
    assert_eq!(
        same["not_replayed"],
        json!({"without_attributes": 0, "never_decided": 1, "confirmations": 1}),
        "{same}"
    );

    // Analysts lose the database and gain the advertisements; what was asked of the client is asked of a person.
    let candidate = built_in
        .replace(
            "subject.roles: [\"data-analyst\", \"data-admin\"]",
            "subject.roles: [\"data-admin\"]",
        )
        .replace(
            "subject.roles: [\"finance-write\"]",
            "subject.roles: [\"finance-write\", \"data-analyst\"]",
        )
        .replace("data-analyst: [", "data-analyst: [\"ads.write\", ")
        .replace("require_confirmation: true", "require_confirmation: person");
    let changed = simulate(&candidate).await;
    let change = |what: &Value| {
        format!(
            "{} {} {} {} {}",
            what["change"], what["sub"], what["what"], what["calls"], what["becomes"]
        )
        .replace('"', "")
    };
    let changes: Vec<_> = changed["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(change)
        .collect();
    assert_eq!(
        changes,
        [
            "loses ann database:listTables 2 [deny]",
            "gains ann ads:createCampaign 1 [confirm:person]",
            "asked_of_another carl ads:createCampaign 1 [confirm:person]",
        ],
        "{changed}"
    );

    // The values of arguments are not in the log, and the answer says so.
    let hangs = simulate(&format!(
        "{built_in}\n  - id: small\n    effect: deny\n    when:\n      resource.toolId: \"ads:createCampaign\"\n      context.arguments.status: \"active\"\n"
    ))
    .await;
    assert_eq!(hangs["undecided"], 1, "{hangs}");
    let open = hangs["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["change"] == "undecided")
        .unwrap();
    assert_eq!(
        (&open["sub"], &open["rules"]),
        (&json!("carl"), &json!(["small"])),
        "{hangs}"
    );

    let (code, said, _) = run(&home, &["simulate", "candidate.yml"]).await;
    assert!(
        code == Some(0)
            && said.contains("4 decisions replayed")
            && said.contains("undecided        1"),
        "{said}"
    );
    let since = ["simulate", "candidate.yml", "--since", "1h", "--until"];
    let (code, said, complaint) = run(&home, &[&since[..], &["2100-01-01"]].concat()).await;
    assert!(
        code == Some(0) && said.contains("4 decisions replayed"),
        "{said}{complaint}"
    );
    let (code, said, _) = run(&home, &[&since[..], &["1h"]].concat()).await;
    assert!(
        code == Some(0) && said.contains("no decision replayed"),
        "{said}"
    );
    let (code, _, said) = run(&home, &[&since[..], &["soon"]].concat()).await;
    assert!(
        code == Some(2) && said.contains("expected a time as in 2026-11-20T09:00:00Z"),
        "{said}"
    );
    let (code, _, said) = run(&home, &["simulate", "candidate.yml", "--log", "nowhere"]).await;
    assert!(
        code == Some(1) && said.contains("there is no audit log in `nowhere`"),
        "{said}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn claims_that_rules_read_are_replayed() {
    let home = Home::new();
    let policy = r#"
version: 1
roles: {agent: ["tools.invoke:read", "database.read"]}
rules:
  - {id: eu, effect: allow, when: {action: tools.invoke, subject.roles: agent, subject.claims.sub_region: eu}}
"#;
    fs::create_dir(home.data()).unwrap();
    fs::write(home.policies(), policy).unwrap();
    let gateway = home.start().await;
    let ann = home.mint("ann", &["--role", "agent"]).await;
    let refused = gateway
        .invoke(&ann, "database:listTables", &json!({}))
        .send()
        .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    gateway.stop().await;
    let counts = async |policy: String| {
        fs::write(home.folder().join("candidate.yml"), policy).unwrap();
        let (_, said, _) = run(&home, &["simulate", "candidate.yml", "--json"]).await;
        let report: Value = serde_json::from_str(&said).unwrap();
        (
            report["unchanged"].clone(),
            report["gains"].clone(),
            report["undecided"].clone(),
        )
    };
    // The record says that this claim was not there; of another claim it says nothing.
    let absent = policy.replace("sub_region: eu", "sub_region: us");
    assert_eq!(counts(absent).await, (json!(1), json!(0), json!(0)));
    let other = policy.replace("sub_region: eu", "department: sales");
    assert_eq!(counts(other).await, (json!(0), json!(0), json!(1)));
    let open = policy.replace(", subject.claims.sub_region: eu", "");
    assert_eq!(counts(open).await, (json!(0), json!(1), json!(0)));
}

#[tokio::test]
async fn the_guides_expectations_hold() {
    let guide = include_str!("../../../../docs/policy.md");
    let (_, rest) = guide.split_once("```yml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let home = Home::new();
    fs::write(home.folder().join("guide.yml"), example).unwrap();
    let (code, said, complaint) = run(&home, &["test", "guide.yml"]).await;
    assert_eq!(code, Some(0), "{said}{complaint}");
}

#[tokio::test]
async fn what_was_read_and_who_approves_are_explained_tested_and_replayed() {
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    fs::write(home.policies(), crate::gateway_labels::POLICY).unwrap();
    let expected = r#"
version: 1
callers: {ann: {sub: ann, roles: [agent]}, zoe: {sub: zoe, roles: [approver]}}
tests:
  - {caller: ann, tool: "ads:createCampaign", expect: allow}
  - {caller: ann, tool: "ads:createCampaign", context: {labels: [internal]}, expect: allow}
  - {caller: ann, tool: "ads:createCampaign", context: {labels: [pii]}, expect: deny, rule: nothing-leaves-after-reading}
  - {caller: zoe, tool: "ads:createCampaign", action: approvals.decide, expect: allow}
  - {caller: ann, tool: "ads:createCampaign", action: approvals.decide, expect: deny, because: missing_scope}
"#;
    fs::write(home.folder().join("expected.yml"), expected).unwrap();
    let (code, said, complaint) = run(&home, &["test", "expected.yml"]).await;
    assert_eq!(code, Some(0), "{said}{complaint}");
    let explain = async |more: &[&str]| {
        let ask = [
            "explain",
            "--sub",
            "ann",
            "--role",
            "agent",
            "--tool",
            "ads:createCampaign",
            "--json",
        ];
        let (code, said, complaint) = run(&home, &[&ask[..], more].concat()).await;
        assert_eq!(code, Some(0), "{complaint}");
        let said: Value = serde_json::from_str(&said).unwrap();
        said["decision"]["effect"].clone()
    };
    assert_eq!(explain(&[]).await, "allow");
    assert_eq!(
        explain(&["--label", "x", "--label", "confidential"]).await,
        "deny"
    );
    assert_eq!(explain(&["--action", "approvals.decide"]).await, "deny");
    let (code, ..) = run(
        &home,
        &[
            "explain",
            "--sub",
            "ann",
            "--action",
            "catalog:list",
            "--label",
            "PII",
        ],
    )
    .await;
    assert_eq!(code, Some(2));

    // The log holds what was carried, so another rule about it can be replayed.
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--role", "agent"])
        .await;
    let labelled = json!({"labels": ["pii"]});
    let tables = "database:listTables";
    let reply = crate::gateway_labels::register(&gateway, &admin, tables, &labelled).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let token = home.role("ann", "agent").await;
    gateway.invoke(&token, tables, &json!({})).send().await.ok();
    let campaign = json!({"name": "Spring", "budget": 250, "startDate": "2027-03-01"});
    let refused = gateway
        .invoke(&token, "ads:createCampaign", &campaign)
        .send()
        .await;
    refused.error(403, "FORBIDDEN");
    gateway.stop().await;
    let candidate = crate::gateway_labels::POLICY.replace("[pii, confidential]", "[confidential]");
    fs::write(home.folder().join("candidate.yml"), candidate).unwrap();
    let (code, said, complaint) = run(&home, &["simulate", "candidate.yml", "--json"]).await;
    assert_eq!(code, Some(0), "{complaint}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["gains"], &report["undecided"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
}
