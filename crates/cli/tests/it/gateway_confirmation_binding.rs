//! A ticket is for one exact call: what differs in anything that counts is another.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, until};

const QUERY: &str = "database:executeQuery";
const CREATE: &str = "ads:createCampaign";

/// Asks for the deletion of one order.
fn delete(id: &str) -> String {
    format!(r#"{{"query":"DELETE FROM orders WHERE id = ?","params":[{id}]}}"#)
}

async fn ask(gateway: &Gateway, token: &str, tool: &str, body: impl Into<String>) -> Reply {
    gateway
        .ask("POST", &format!("/tools/{tool}/invoke"))
        .bearer(token)
        .body(body.into())
        .send()
        .await
}

/// Confirms with the token in the header, so that the body is the arguments, byte for byte.
async fn confirm(
    gateway: &Gateway,
    token: &str,
    tool: &str,
    asked: &Value,
    body: impl Into<String>,
) -> Reply {
    gateway
        .ask("POST", &format!("/tools/{tool}/confirm"))
        .bearer(token)
        .header("x-action-token", asked["action_token"].as_str().unwrap())
        .body(body.into())
        .send()
        .await
}

#[tokio::test]
async fn numbers_beyond_two_to_the_53rd_are_told_apart() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let asked = ask(&gateway, &token, QUERY, delete("9007199254740993")).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let asked = asked.json();
    // One number, were they binary floating point.
    for other in ["9007199254740992", "9007199254740994", "9007199254740993.5"] {
        let reply = confirm(&gateway, &token, QUERY, &asked, delete(other)).await;
        assert!(
            matches!(reply.status, 401 | 422),
            "{other}: {}",
            reply.text()
        );
    }
    let same = delete("9007199254740993.0");
    let done = confirm(&gateway, &token, QUERY, &asked, same).await.ok();
    assert_eq!(done["result"]["rows_affected"], 0, "{done}");
}

#[tokio::test]
async fn a_name_that_stands_twice_is_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let twice = r#"{"query":"DELETE FROM orders WHERE id = ?","params":[1],"params":[2]}"#;
    ask(&gateway, &token, QUERY, twice)
        .await
        .error(422, "VALIDATION_ERROR");
    let asked = ask(&gateway, &token, QUERY, delete("1")).await.json();
    // Whichever of the two a parser keeps, nobody may be shown one and run the other.
    for twice in [
        r#"{"query":"DELETE FROM orders WHERE id = ?","params":[1],"params":[2]}"#,
        r#"{"query":"DELETE FROM orders WHERE id = ?","params":[2],"params":[1]}"#,
        r#"{"query":"DELETE FROM orders WHERE id = ?","params":[1],"par\u0061ms":[2]}"#,
    ] {
        let reply = confirm(&gateway, &token, QUERY, &asked, twice).await;
        reply.error(422, "VALIDATION_ERROR");
    }
    let reordered = r#" {"params" : [ 1 ], "query":"DELETE FROM orders WHERE id = ?"} "#;
    confirm(&gateway, &token, QUERY, &asked, reordered)
        .await
        .ok();
}

#[tokio::test]
async fn a_tool_that_was_registered_anew_takes_no_ticket_from_before() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home
        .mint("agent-1", &["--role", "finance-write", "--tenant", "acme"])
        .await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let campaign = r#"{"name":"A","budget":1,"startDate":"2026-03-01"}"#;
    let asked = ask(&gateway, &token, CREATE, campaign).await.json();
    let tools = gateway.catalogue(&token).await.ok()["tools"].clone();
    let mut manifest = tools
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["toolId"] == CREATE)
        .unwrap()
        .clone();
    manifest["tenant"] = json!("acme");
    manifest["description"] = json!("Creates a campaign; since today without asking anybody.");
    let registered = gateway
        .ask("POST", "/manifests/register")
        .bearer(&admin)
        .json(&manifest)
        .send()
        .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    let refused = confirm(&gateway, &token, CREATE, &asked, campaign).await;
    let error = refused.error(409, "CONFLICT");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("tool has changed"),
        "{error}"
    );
    // Asked anew, it is the new tool that is confirmed.
    let asked = ask(&gateway, &token, CREATE, campaign).await.json();
    confirm(&gateway, &token, CREATE, &asked, campaign)
        .await
        .ok();
}

#[tokio::test]
async fn a_policy_that_demands_more_by_now_takes_no_ticket_from_before() {
    let policy = |level: &str| {
        format!(
            r#"
version: 1
roles:
  buyer: ["ads.write", "tools.invoke:write"]
rules:
  - {{id: buy, effect: allow, when: {{action: tools.invoke, subject.roles: buyer}}}}
  - {{id: ask, effect: allow, when: {{resource.toolId: "{CREATE}"}}, require_confirmation: {level}}}
"#
        )
    };
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    fs::write(home.policies(), policy("client")).unwrap();
    let gateway = home.start().await;
    let token = home.role("alice", "buyer").await;
    let campaign = r#"{"name":"A","budget":1,"startDate":"2026-03-01"}"#;
    let asked = ask(&gateway, &token, CREATE, campaign).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let version =
        async || gateway.get("/ready").await.ok()["dependencies"]["policy"]["version"].clone();
    let before = version().await;
    fs::write(home.policies(), policy("person")).unwrap();
    until("the new policy", async || {
        (version().await != before).then_some(())
    })
    .await;
    let refused = confirm(&gateway, &token, CREATE, &asked.json(), campaign).await;
    let error = refused.error(409, "CONFLICT");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("policy demands something else"),
        "{error}"
    );
}
