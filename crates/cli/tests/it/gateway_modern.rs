//! The MCP door as clients of 2026-07-28 use it, by raw JSON.

use serde_json::{Value, json};

use crate::support::{Home, accept, can_be_asked, decline, modern, until};

const CREATE: &str = "ads_createCampaign";

fn campaign() -> Value {
    json!({"name": "Spring sale", "budget": 250, "startDate": "2026-03-01"})
}

/// What a retry carries: an answer, and the state as it was given.
fn retry(asked: &Value, answer: &Value) -> Value {
    json!({"inputResponses": {"confirm": answer}, "requestState": asked["requestState"]})
}

/// The error object of a refused call.
#[track_caller]
fn refused(result: &Value, code: &str) -> Value {
    assert_eq!(
        (&result["resultType"], &result["isError"]),
        (&json!("complete"), &json!(true)),
        "{result}"
    );
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], code, "{result}");
    assert!(
        error["message"].is_string() && error["corr_id"].is_string(),
        "{result}"
    );
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains(error["message"].as_str().unwrap()),
        "{result}"
    );
    error.clone()
}

/// How often the tool was about to act.
fn intents(home: &Home, tool: &str) -> usize {
    home.audit()
        .iter()
        .filter(|r| r["phase"] == "intent" && r["toolId"] == tool)
        .filter(|r| r["action"] != "tools.decline")
        .count()
}

#[tokio::test]
async fn discover_tells_what_is_spoken_here() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let reply = gateway
        .modern(&token, &modern("server/discover", json!({}), &json!({})))
        .header("x-correlation-id", "hello")
        .send()
        .await;
    let result = reply.ok()["result"].clone();
    assert_eq!(result["resultType"], "complete");
    assert!(
        result["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28")),
        "{result}"
    );
    assert!(
        result["capabilities"]["tools"].is_object()
            && result["capabilities"].get("prompts").is_none(),
        "{result}"
    );
    assert!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].is_string(),
        "{result}"
    );
    assert_eq!(
        (
            reply.header("mcp-session-id"),
            reply.header("x-correlation-id")
        ),
        (None, Some("hello"))
    );
}

#[tokio::test]
async fn the_list_is_filtered_and_names_the_tool_ids() {
    let home = Home::new();
    let gateway = home.start().await;
    for (role, expected) in [
        (
            "data-analyst",
            &[
                "database_executeQuery",
                "database_getSchema",
                "database_listTables",
            ][..],
        ),
        ("finance-write", &[CREATE]),
        ("agent", &[]),
    ] {
        let token = home.role("agent-1", role).await;
        let list = gateway
            .modern_result(&token, "tools/list", json!({}), &json!({}))
            .await;
        let tools = list["tools"].as_array().unwrap();
        let mut names: Vec<_> = tools.iter().map(|t| t["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{role}");
        assert_eq!(list["cacheScope"], "private", "{list}");
        for tool in tools {
            let id = tool["_meta"]["dev.fastmcp/toolId"].as_str().unwrap();
            assert_eq!(id.replace(':', "_"), tool["name"].as_str().unwrap());
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            assert!(
                tool["description"].is_string() && tool["annotations"]["readOnlyHint"].is_boolean(),
                "{tool}"
            );
        }
    }
}

#[tokio::test]
async fn a_call_gives_what_rest_gives() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let query = json!({"query": "SELECT id, name FROM customers ORDER BY id LIMIT 1"});
    let call = modern(
        "tools/call",
        json!({"name": "database_executeQuery", "arguments": query}),
        &json!({}),
    );
    let reply = gateway
        .modern(&token, &call)
        .header("x-correlation-id", "mcp-1")
        .send()
        .await;
    let result = reply.ok()["result"].clone();
    let rest = gateway
        .invoke(&token, "database:executeQuery", &query)
        .send()
        .await
        .ok();
    assert_eq!(
        (&result["resultType"], result.get("isError")),
        (&json!("complete"), None),
        "{result}"
    );
    assert_eq!(result["structuredContent"], rest["result"]);
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        text, rest["result"],
        "clients without structured content see it as text"
    );
    let records = home.audit_of("mcp-1");
    let shape: Vec<_> = records
        .iter()
        .map(|r| (r["phase"].as_str().unwrap(), r["toolId"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shape,
        [
            ("intent", "database:executeQuery"),
            ("outcome", "database:executeQuery")
        ]
    );
    assert_eq!(
        reply.header("x-correlation-id"),
        Some("mcp-1"),
        "it comes back on this door too"
    );
}

#[tokio::test]
async fn refusals_are_results_that_say_why() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let write = json!({"query": "DELETE FROM orders"});
    let denied = gateway
        .modern_call(&token, "database_executeQuery", &write, &json!({}))
        .await;
    let error = refused(&denied, "FORBIDDEN");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Access denied"),
        "{error}"
    );
    let unfit = gateway
        .modern_call(
            &token,
            "database_executeQuery",
            &json!({"query": 1}),
            &json!({}),
        )
        .await;
    let error = refused(&unfit, "VALIDATION_ERROR");
    assert!(
        error["message"].as_str().unwrap().contains("query"),
        "{error}"
    );
    let not_listed = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    refused(&not_listed, "FORBIDDEN");
}

#[tokio::test]
async fn an_unknown_tool_is_no_tool_and_no_token_is_no_entry() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    for name in ["no_such", "database:listTables", ""] {
        let call = modern(
            "tools/call",
            json!({"name": name, "arguments": {}}),
            &json!({}),
        );
        let reply = gateway.modern(&token, &call).send().await;
        assert_eq!(
            reply.json()["error"]["code"],
            -32602,
            "`{name}`: {}",
            reply.text()
        );
    }
    let call = modern("tools/list", json!({}), &json!({}));
    for bad in ["", "x.y.z"] {
        let reply = gateway.modern(bad, &call).send().await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer") && challenge.contains("resource_metadata="),
            "{challenge}"
        );
    }
    let metadata = gateway
        .get("/.well-known/oauth-protected-resource/mcp")
        .await
        .ok();
    assert_eq!(
        metadata["resource"],
        format!("http://{}/mcp", gateway.address()),
        "{metadata}"
    );
    // Development keys have nobody who could be asked for a token.
    assert!(
        metadata.get("authorization_servers").is_none(),
        "{metadata}"
    );
    let reply = gateway
        .modern(&token, &modern("ping", json!({}), &json!({})))
        .send()
        .await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["code"]),
        (404, &json!(-32601)),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_dangerous_call_asks_acts_on_yes_and_acts_once() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let question = &asked["inputRequests"]["confirm"];
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let message = question["params"]["message"].as_str().unwrap();
    assert!(
        message.contains("ads:createCampaign")
            && message.contains("Spring sale")
            && message.contains("250"),
        "{message}"
    );
    assert_eq!(
        question["params"]["requestedSchema"]["properties"]["confirm"]["type"], "boolean",
        "{question}"
    );
    assert_eq!(
        intents(&home, "ads:createCampaign"),
        0,
        "nothing was done yet"
    );

    let done = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
        .await;
    assert_eq!(
        (&done["resultType"], &done["structuredContent"]["mode"]),
        (&json!("complete"), &json!("sandbox")),
        "{done}"
    );
    assert_eq!(intents(&home, "ads:createCampaign"), 1);
    for _ in 0..2 {
        let again = gateway
            .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
            .await;
        assert_eq!(
            again["structuredContent"], done["structuredContent"],
            "{again}"
        );
    }
    let operation = done["_meta"]["dev.fastmcp/operationId"].as_str().unwrap();
    let campaign_id = done["structuredContent"]["campaignId"].as_str().unwrap();
    let (arguments, nothing) = (campaign(), json!({}));
    let crowd = (0..6).map(|_| gateway.modern_call(&token, CREATE, &arguments, &nothing));
    for result in futures_util::future::join_all(crowd).await {
        assert_eq!(
            result["resultType"], "input_required",
            "a call without a ticket is asked about anew: {result}"
        );
        let message = result["inputRequests"]["confirm"]["params"]["message"]
            .as_str()
            .unwrap();
        assert!(
            message.contains("AGAIN") && message.contains(operation),
            "and told that it was done: {message}"
        );
        // What a provider wrote is no part of what a person is asked.
        assert!(!message.contains(campaign_id), "{message}");
    }
    assert_eq!(intents(&home, "ads:createCampaign"), 1);
}

#[tokio::test]
async fn at_once_the_same_answer_acts_once_and_all_get_the_result() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    let (arguments, answer) = (campaign(), retry(&asked, &accept()));
    let crowd = (0..8).map(|_| gateway.modern_call(&token, CREATE, &arguments, &answer));
    let results = futures_util::future::join_all(crowd).await;
    for result in &results {
        assert!(
            result["structuredContent"]["campaignId"].is_string(),
            "{result}"
        );
        assert_eq!(result["structuredContent"], results[0]["structuredContent"]);
    }
    assert_eq!(intents(&home, "ads:createCampaign"), 1);
}

#[tokio::test]
async fn no_cannot_be_said_without_end() {
    let home = Home::new();
    let gateway = home
        .start_with(&[
            ("RATE_LIMIT_DEFAULT_RPS", "0.0001"),
            ("RATE_BUCKET_BURST", "1"),
        ])
        .await;
    let token = home.role("agent-1", "finance-write").await;
    let call = async |more: &Value| {
        let arguments = campaign();
        gateway.modern_call(&token, CREATE, &arguments, more).await
    };
    let asked = call(&json!({})).await;
    let mut limited = Value::Null;
    for _ in 0..50 {
        limited = call(&json!({})).await;
        if limited["isError"] == true {
            break;
        }
    }
    let error = refused(&limited, "RATE_LIMITED");
    assert_eq!(error["details"]["rule"], "requests", "{error}");
    let declined = call(&retry(&asked, &decline())).await;
    let error = refused(&declined, "RATE_LIMITED");
    assert_eq!(error["details"]["rule"], "requests", "{error}");
}

#[tokio::test]
async fn no_is_no_and_stays_no() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let no = json!({"action": "accept", "content": {"confirm": false}});
    let answers = [
        (decline(), "declined"),
        (json!({"action": "cancel"}), "cancelled"),
        (no, "declined"),
    ];
    for (answer, status) in answers {
        let asked = gateway
            .modern_call(&token, CREATE, &campaign(), &json!({}))
            .await;
        let declined = gateway
            .modern_call(&token, CREATE, &campaign(), &retry(&asked, &answer))
            .await;
        let error = refused(&declined, "CONFLICT");
        assert_eq!(error["details"]["status"], status, "{answer}: {error}");
        let changed_mind = gateway
            .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
            .await;
        let error = refused(&changed_mind, "CONFLICT");
        assert_eq!(error["details"]["status"], status, "{answer}: {error}");
    }
    // Neither yes nor no: it waits still, and is asked about once more.
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    let nothing = json!({"action": "accept", "content": {}});
    let unanswered = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &nothing))
        .await;
    let error = refused(&unanswered, "CONFLICT");
    assert_eq!(error["details"]["reason"], "unanswered", "{error}");
    assert_eq!(intents(&home, "ads:createCampaign"), 0);
    let done = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
        .await;
    assert!(
        done["structuredContent"]["campaignId"].is_string(),
        "{done}"
    );
    let said: Vec<_> = home
        .audit()
        .into_iter()
        .filter(|r| r.to_string().contains("declined"))
        .collect();
    assert!(
        said.len() >= 2,
        "a refusal by the user is in the record: {said:?}"
    );
}

#[tokio::test]
async fn who_says_no_too_late_is_told_no_result() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    let done = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
        .await;
    let campaign_id = done["structuredContent"]["campaignId"].as_str().unwrap();
    for answer in [decline(), json!({"action": "cancel"})] {
        let late = gateway
            .modern_call(&token, CREATE, &campaign(), &retry(&asked, &answer))
            .await;
        let details = refused(&late, "CONFLICT")["details"].clone();
        assert_eq!(details["status"], "completed", "{details}");
        assert_eq!(
            details["operation_id"], done["_meta"]["dev.fastmcp/operationId"],
            "{details}"
        );
        assert!(!late.to_string().contains(campaign_id), "{late}");
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_call_and_caller_alone() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    let call = |arguments: Value, state: Value| {
        let params = json!({"name": CREATE, "arguments": arguments, "requestState": state, "inputResponses": {"confirm": accept()}});
        modern("tools/call", params, &can_be_asked())
    };
    let mut changed = campaign();
    changed["budget"] = json!(251);
    let tampered = json!(format!("{}x", asked["requestState"].as_str().unwrap()));
    for (what, message) in [
        (
            "other arguments",
            call(changed, asked["requestState"].clone()),
        ),
        ("a tampered state", call(campaign(), tampered)),
        ("no state of ours", call(campaign(), json!("AAAA"))),
    ] {
        let ask = gateway.modern(&token, &message);
        let reply = ask.header("x-correlation-id", "moved").send().await;
        assert_eq!(
            reply.json()["error"]["code"],
            -32602,
            "{what}: {}",
            reply.text()
        );
    }
    let others = [
        home.role("agent-2", "finance-write").await,
        home.mint("agent-1", &["--role", "finance-write", "--tenant", "acme"])
            .await,
    ];
    for other in others {
        let reply = gateway
            .modern(&other, &call(campaign(), asked["requestState"].clone()))
            .header("x-correlation-id", "moved")
            .send()
            .await;
        assert_eq!(
            reply.json()["error"]["code"],
            -32602,
            "another caller: {}",
            reply.text()
        );
    }
    let refused: Vec<_> = home
        .audit_of("moved")
        .iter()
        .map(|r| {
            let text = |name: &str| r[name].as_str().unwrap_or_default().to_owned();
            assert!(text("reason").contains("requestState"), "{r}");
            ["action", "status", "toolId", "sub", "tenant"].map(text)
        })
        .collect();
    let record = |sub: &str, tenant: &str| {
        ["tools.confirm", "denied", "ads:createCampaign", sub, tenant].map(str::to_owned)
    };
    let own = record("agent-1", "public");
    let expected = [
        own.clone(),
        own.clone(),
        own,
        record("agent-2", "public"),
        record("agent-1", "acme"),
    ];
    assert_eq!(refused, expected, "each attempt is in the record");
    assert_eq!(intents(&home, "ads:createCampaign"), 0);
    let done = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
        .await;
    assert!(
        done["structuredContent"]["campaignId"].is_string(),
        "{done}"
    );
}

#[tokio::test]
async fn a_state_that_has_expired_is_refused_and_recorded_with_its_operation() {
    let home = Home::new();
    let gateway = home.start_with(&[("CONFIRM_TTL_SEC", "1")]).await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    let mut records = home.audit().into_iter();
    let asking = records.find(|r| r["status"] == "pending").unwrap();
    let mut params = json!({"name": CREATE, "arguments": campaign()});
    params
        .as_object_mut()
        .unwrap()
        .extend(retry(&asked, &decline()).as_object().unwrap().clone());
    let call = modern("tools/call", params, &can_be_asked());
    // Until then each answer is a no, which is taken or was.
    until("the end of its time", async || {
        let ask = gateway.modern(&token, &call);
        let reply = ask.header("x-correlation-id", "late").send().await.json();
        (reply["error"]["code"] == -32602).then_some(())
    })
    .await;
    let last = home.audit_of("late").pop().unwrap();
    assert_eq!(
        (&last["action"], &last["status"], &last["operation_id"]),
        (
            &json!("tools.confirm"),
            &json!("failed"),
            &asking["operation_id"]
        ),
        "{last}"
    );
    assert!(
        last["reason"].as_str().unwrap().contains("expired"),
        "{last}"
    );
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told_what_to_do() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let params = json!({"name": CREATE, "arguments": campaign()});
    let result = gateway
        .modern_result(&token, "tools/call", params, &json!({}))
        .await;
    let error = refused(&result, "CONFLICT");
    assert_eq!(
        error["details"]["reason"], "confirmation_required",
        "{error}"
    );
    assert!(
        error["message"].as_str().unwrap().contains("elicitation"),
        "{error}"
    );
    assert_eq!(intents(&home, "ads:createCampaign"), 0);
}

#[tokio::test]
async fn a_question_survives_a_restart() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = gateway
        .modern_call(&token, CREATE, &campaign(), &json!({}))
        .await;
    gateway.kill().await;
    let gateway = home.start().await;
    let done = gateway
        .modern_call(&token, CREATE, &campaign(), &retry(&asked, &accept()))
        .await;
    assert!(
        done["structuredContent"]["campaignId"].is_string(),
        "{done}"
    );
}

#[tokio::test]
async fn an_idempotency_key_is_one_key_on_both_doors() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let insert = json!({"query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', 'mcp')"});
    let key = json!({"_meta": {"dev.fastmcp/idempotencyKey": "mcp-key"}});
    let first = gateway
        .modern_call(&token, "database_executeQuery", &insert, &key)
        .await;
    assert_eq!(first["structuredContent"]["rows_affected"], 1, "{first}");
    let again = gateway
        .modern_call(&token, "database_executeQuery", &insert, &key)
        .await;
    assert_eq!(
        again["structuredContent"], first["structuredContent"],
        "{again}"
    );
    let rest = gateway
        .invoke(&token, "database:executeQuery", &insert)
        .header("idempotency-key", "mcp-key")
        .send()
        .await;
    assert_eq!(
        (&rest.ok()["result"], rest.header("x-idempotent-replay")),
        (&first["structuredContent"], Some("true"))
    );
    let other = json!({"query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (2, 'pending', 'mcp')"});
    let conflict = gateway
        .modern_call(&token, "database_executeQuery", &other, &key)
        .await;
    assert_eq!(
        refused(&conflict, "CONFLICT")["details"]["reason"],
        "idempotency_conflict"
    );
    assert_eq!(
        gateway
            .number(
                &token,
                "SELECT count(*) AS n FROM orders WHERE ordered_at = 'mcp'"
            )
            .await,
        1
    );
    let unfit = json!({"_meta": {"dev.fastmcp/idempotencyKey": "with space"}});
    let error = refused(
        &gateway
            .modern_call(&token, "database_executeQuery", &insert, &unfit)
            .await,
        "VALIDATION_ERROR",
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("idempotencyKey"),
        "{error}"
    );
}

#[tokio::test]
async fn whoever_listens_is_told_when_the_tools_may_have_changed() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home
        .mint("boss", &["--role", "data-admin", "--tenant", "acme"])
        .await;
    let listen = modern(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
        &json!({}),
    );
    let mut events = gateway.modern(&token, &listen).open().await;
    let acknowledged = events.next().await.unwrap();
    assert_eq!(
        acknowledged["method"], "notifications/subscriptions/acknowledged",
        "{acknowledged}"
    );
    let manifest = json!({
        "toolId": "database:ourTables", "name": "Ours", "description": "Ours.", "inputs": {"type": "object"},
        "required_scopes": ["database.read"], "provider_id": "database",
    });
    let registered = gateway
        .ask("POST", "/manifests/register")
        .bearer(&token)
        .json(&manifest)
        .send()
        .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    assert_eq!(
        events.next().await.unwrap()["method"],
        "notifications/tools/list_changed"
    );
    let policies = std::fs::read_to_string(home.policies()).unwrap();
    std::fs::write(home.policies(), format!("{policies}\n# changed\n")).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    assert_eq!(
        events.next().await.unwrap()["method"],
        "notifications/tools/list_changed"
    );
}

#[tokio::test]
async fn numbers_keep_every_digit_on_both_doors() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let query = json!({"query": "SELECT :n AS n, typeof(:n) AS type", "params": {"n": 9_007_199_254_740_993_i64}});
    let rest = gateway
        .invoke(&token, "database:executeQuery", &query)
        .send()
        .await
        .ok();
    let mcp = gateway
        .modern_call(&token, "database_executeQuery", &query, &json!({}))
        .await;
    let rows = json!([{"n": 9_007_199_254_740_993_i64, "type": "integer"}]);
    assert_eq!(
        (&rest["result"]["rows"], &mcp["structuredContent"]["rows"]),
        (&rows, &rows)
    );
}
