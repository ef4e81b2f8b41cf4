//! The MCP door as clients with sessions use it, by raw JSON.

use serde_json::{Value, json};

use crate::support::{Home, Legacy, accept, can_be_asked, decline, until};

const CREATE: &str = "ads_createCampaign";

fn campaign() -> Value {
    json!({"name": "Spring sale", "budget": 250, "startDate": "2026-03-01"})
}

/// How often the tool was about to act.
fn intents(home: &Home) -> usize {
    home.audit()
        .iter()
        .filter(|r| r["phase"] == "intent" && r["toolId"] == "ads:createCampaign")
        .filter(|r| r["action"] != "tools.decline")
        .count()
}

/// Calls, answers the question with `answer`, and returns the result.
async fn call_and_answer(session: &Legacy<'_>, answer: Value) -> Value {
    let mut events = session.call(CREATE, &campaign()).await;
    let asked = events.next().await.unwrap();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    let params = &asked["params"];
    assert!(
        params["message"]
            .as_str()
            .unwrap()
            .contains("ads:createCampaign"),
        "{params}"
    );
    assert_eq!(
        params["requestedSchema"]["properties"]["confirm"]["type"], "boolean",
        "{params}"
    );
    session.respond(&asked["id"], answer).await;
    let answered = events.next().await.unwrap();
    assert_eq!(answered["id"], 7, "{answered}");
    assert_eq!(events.next().await, None, "the stream ends with its answer");
    answered["result"].clone()
}

#[tokio::test]
async fn a_session_lists_calls_and_ends() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let session = gateway.legacy(&token, json!({})).await;
    assert!(
        session.hello["capabilities"]["tools"].is_object()
            && session.hello["serverInfo"]["name"].is_string(),
        "{}",
        session.hello
    );
    assert!(session.session.bytes().all(|b| (0x21..0x7f).contains(&b)));
    assert_eq!(session.answer("ping", json!({})).await["result"], json!({}));

    let list = session.answer("tools/list", json!({})).await["result"].clone();
    let mut names: Vec<_> = list["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "database_executeQuery",
            "database_getSchema",
            "database_listTables"
        ]
    );
    assert!(
        list.get("resultType").is_none() && list.get("ttlMs").is_none(),
        "words of the newer revision: {list}"
    );
    assert_eq!(
        list["tools"][0]["_meta"]["dev.fastmcp/toolId"]
            .as_str()
            .unwrap()
            .replace(':', "_"),
        list["tools"][0]["name"].as_str().unwrap()
    );

    let call =
        json!({"name": "database_executeQuery", "arguments": {"query": "SELECT 42 AS answer"}});
    let result = session.answer("tools/call", call).await["result"].clone();
    assert_eq!(
        result["structuredContent"]["rows"],
        json!([{"answer": 42}]),
        "{result}"
    );
    let refused =
        json!({"name": "database_executeQuery", "arguments": {"query": "DELETE FROM orders"}});
    let result = session.answer("tools/call", refused).await["result"].clone();
    assert_eq!(
        (
            &result["isError"],
            &result["structuredContent"]["error"]["code"]
        ),
        (&json!(true), &json!("FORBIDDEN")),
        "{result}"
    );
    let unknown = session
        .answer("tools/call", json!({"name": "no_such", "arguments": {}}))
        .await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
    let ended = gateway
        .ask("DELETE", "/mcp")
        .bearer(&token)
        .header("mcp-session-id", &session.session)
        .send()
        .await;
    assert!((200..300).contains(&ended.status), "{}", ended.text());
    assert_eq!(session.send(&ping).await.status, 404);
}

#[tokio::test]
async fn a_session_belongs_to_its_caller() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let session = gateway.legacy(&token, json!({})).await;
    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
    let send = |token: &str, session: &str| {
        gateway
            .ask("POST", "/mcp")
            .bearer(token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .header("mcp-session-id", session)
            .json(&ping)
            .send()
    };
    assert_eq!(send(&token, &session.session).await.status, 200);
    let others = [
        home.role("agent-2", "data-analyst").await,
        home.mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
            .await,
    ];
    for other in others {
        assert_eq!(send(&other, &session.session).await.status, 404);
    }
    assert_eq!(send(&token, "no-such-session").await.status, 404);
    assert_eq!(send("", &session.session).await.status, 401);
    assert_eq!(send(&token, &session.session).await.status, 200);
}

#[tokio::test]
async fn a_dangerous_call_asks_on_its_stream_and_acts_on_yes() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let session = gateway.legacy(&token, can_be_asked()).await;
    let done = call_and_answer(&session, accept()).await;
    assert_eq!(done["structuredContent"]["mode"], "sandbox", "{done}");
    assert!(done.get("isError").is_none_or(|e| e == false), "{done}");
    assert_eq!(intents(&home), 1);
}

#[tokio::test]
async fn a_call_that_is_repeated_while_it_is_asked_about_is_done_once() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let session = gateway.legacy(&token, can_be_asked()).await;
    // The stream of the first breaks; its question may be answered all the same.
    let mut first = session.call(CREATE, &campaign()).await;
    let lost = first.next().await.unwrap();
    drop(first);
    let params = json!({"name": CREATE, "arguments": campaign()});
    let call = json!({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": params});
    let mut second = session.ask(&call).open().await;
    let asked = second.next().await.unwrap();
    session.respond(&asked["id"], accept()).await;
    let answered = second.next().await.unwrap();
    let done = &answered["result"]["structuredContent"];
    assert!(done["campaignId"].is_string(), "{answered}");
    session.respond(&lost["id"], accept()).await;
    let ended = || {
        let records = home.audit();
        let confirms = records.iter().filter(|r| r["action"] == "tools.confirm");
        confirms.filter(|r| r["phase"] != "intent").count() == 2
    };
    until("both to be recorded", async || ended().then_some(())).await;
    assert_eq!(intents(&home), 1);
}

#[tokio::test]
async fn a_gateway_without_sessions_says_that_it_has_none() {
    let home = Home::new();
    let gateway = home.start_with(&[("FASTMCP_STATELESS_HTTP", "true")]).await;
    let token = home.role("agent-1", "finance-write").await;
    let params = json!({"name": CREATE, "arguments": campaign()});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let ask = gateway.ask("POST", "/mcp").bearer(&token);
    let ask = ask
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    let reply = ask.json(&call).send().await.ok();
    let error = &reply["result"]["structuredContent"]["error"];
    assert_eq!(
        error["details"]["reason"], "confirmation_required",
        "{reply}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("FASTMCP_STATELESS_HTTP") && !message.contains("declare the capability"),
        "{message}"
    );
}

#[tokio::test]
async fn no_is_no() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let session = gateway.legacy(&token, can_be_asked()).await;
    let no = json!({"action": "accept", "content": {"confirm": false}});
    for (answer, status) in [
        (decline(), "declined"),
        (json!({"action": "cancel"}), "cancelled"),
        (no, "declined"),
    ] {
        let refused = call_and_answer(&session, answer.clone()).await;
        assert_eq!(
            (
                &refused["isError"],
                &refused["structuredContent"]["error"]["details"]["status"]
            ),
            (&json!(true), &json!(status)),
            "{answer}: {refused}"
        );
    }
    assert_eq!(intents(&home), 0);
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told_what_to_do() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let session = gateway.legacy(&token, json!({})).await;
    let result = session
        .answer(
            "tools/call",
            json!({"name": CREATE, "arguments": campaign()}),
        )
        .await["result"]
        .clone();
    let error = &result["structuredContent"]["error"];
    assert_eq!(
        (&result["isError"], &error["details"]["reason"]),
        (&json!(true), &json!("confirmation_required")),
        "{result}"
    );
    assert_eq!(intents(&home), 0);
}
