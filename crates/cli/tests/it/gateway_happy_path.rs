//! What goes well: look at the catalogue, call, confirm, and find all of it in the records.

use serde_json::{Value, json};

use crate::support::{Home, Reply};

fn tool_ids(catalogue: &Reply) -> Vec<String> {
    let tools = catalogue.ok()["tools"].as_array().unwrap().clone();
    tools
        .iter()
        .map(|t| t["toolId"].as_str().unwrap().to_owned())
        .collect()
}

fn campaign(name: &str) -> Value {
    json!({"name": name, "budget": 250, "startDate": "2026-03-01", "endDate": "2026-03-31"})
}

#[tokio::test]
async fn the_catalogue_shows_what_a_role_may_call_and_nothing_else() {
    let home = Home::new();
    let gateway = home.start().await;
    let database = [
        "database:executeQuery",
        "database:getSchema",
        "database:listTables",
    ];
    let cases: [(&str, &[&str]); 7] = [
        ("agent", &[]),
        ("admin", &[]),
        ("data-analyst", &database),
        ("data-admin", &database),
        ("finance-write", &["ads:createCampaign"]),
        (
            "fs-reader",
            &["filesystem:listDirectory", "filesystem:readFile"],
        ),
        (
            "fs-writer",
            &[
                "filesystem:listDirectory",
                "filesystem:readFile",
                "filesystem:writeFile",
            ],
        ),
    ];
    for (role, expected) in cases {
        let token = home
            .mint("agent-1", &["--role", role, "--tenant", "acme"])
            .await;
        let catalogue = gateway.catalogue(&token).await;
        assert_eq!(catalogue.ok()["tenant"], "acme");
        assert_eq!(tool_ids(&catalogue), expected, "{role}");
    }
    let both = home
        .mint(
            "agent-1",
            &["--role", "fs-reader", "--role", "finance-write"],
        )
        .await;
    let catalogue = gateway.catalogue(&both).await;
    assert_eq!(
        catalogue.ok()["tenant"],
        "public",
        "the tenant of a token that was minted without one"
    );
    assert_eq!(
        tool_ids(&catalogue),
        [
            "ads:createCampaign",
            "filesystem:listDirectory",
            "filesystem:readFile"
        ]
    );
}

#[tokio::test]
async fn the_catalogue_gives_whole_manifests() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home
        .mint(
            "agent-1",
            &["--role", "data-analyst", "--role", "finance-write"],
        )
        .await;
    let catalogue = gateway.catalogue(&token).await.ok();
    for tool in catalogue["tools"].as_array().unwrap() {
        for field in [
            "toolId",
            "name",
            "description",
            "provider_id",
            "version",
            "classification",
        ] {
            assert!(
                tool[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {tool}"
            );
        }
        for field in ["required_scopes", "safety_tags", "examples"] {
            assert!(tool[field].is_array(), "{field}: {tool}");
        }
        assert_eq!(
            (&tool["inputs"]["type"], &tool["outputs"]["type"]),
            (&json!("object"), &json!("object")),
            "{tool}"
        );
        assert_eq!(
            (&tool["tenant"], &tool["manual_review_required"]),
            (&json!("public"), &json!(false)),
            "{tool}"
        );
        assert!(
            tool["latency_estimate_ms"].is_u64() && tool["read_only"].is_boolean(),
            "{tool}"
        );
    }
    let find = |id: &str| {
        catalogue["tools"]
            .as_array()
            .unwrap()
            .iter()
            .find(|t| t["toolId"] == id)
            .unwrap()
    };
    assert_eq!(
        find("database:listTables")["required_scopes"],
        json!(["database.read"])
    );
    assert_eq!(find("database:listTables")["read_only"], true);
    assert_eq!(find("database:executeQuery")["read_only"], false);
    assert_eq!(
        find("ads:createCampaign")["safety_tags"],
        json!(["destructive", "financial"])
    );
}

#[tokio::test]
async fn a_query_on_the_sample_data_gives_rows_and_tells_of_its_credential() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let arguments = json!({"query": "SELECT id, name, country FROM customers WHERE id <= :most ORDER BY id", "params": {"most": 2}});
    let reply = gateway
        .invoke(&token, "database:executeQuery", &arguments)
        .send()
        .await;
    let body = reply.ok();
    assert_eq!(body["toolId"], "database:executeQuery");
    assert_eq!(
        body["result"],
        json!({
            "columns": ["id", "name", "country"],
            "rows": [
                {"id": 1, "name": "Amelia Hart", "country": "United Kingdom"},
                {"id": 2, "name": "Bruno Costa", "country": "Portugal"},
            ],
            "row_count": 2,
            "truncated": false,
        })
    );
    let meta = &body["token_meta"];
    assert_eq!(meta["token_type"], "Bearer", "{meta}");
    assert!(
        meta["expires_in"]
            .as_u64()
            .is_some_and(|s| (1..=300).contains(&s)),
        "{meta}"
    );
    assert!(
        meta.as_object()
            .unwrap()
            .keys()
            .all(|k| ["token_type", "expires_in", "audience"].contains(&k.as_str())),
        "{meta}"
    );

    let tables = gateway
        .invoke(&token, "database:listTables", &json!({}))
        .send()
        .await
        .ok();
    let names: Vec<_> = tables["result"]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert!(
        ["customers", "orders", "products"]
            .iter()
            .all(|n| names.contains(n)),
        "{names:?}"
    );
    let no_body = gateway
        .ask("POST", "/tools/database:listTables/invoke")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(
        no_body.ok()["result"],
        tables["result"],
        "no body is no arguments"
    );
}

#[tokio::test]
async fn a_file_is_written_read_and_listed() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "fs-writer").await;
    let write = json!({"path": "notes/todo.md", "content": "- call Ines\n"});
    let written = gateway
        .invoke(&token, "filesystem:writeFile", &write)
        .send()
        .await
        .ok();
    assert_eq!(
        written["result"],
        json!({"path": "notes/todo.md", "bytes": 12, "created": true})
    );
    let read = gateway
        .invoke(
            &token,
            "filesystem:readFile",
            &json!({"path": "notes/todo.md"}),
        )
        .send()
        .await
        .ok();
    assert_eq!(read["result"]["content"], "- call Ines\n");
    let other = home
        .mint("agent-1", &["--role", "fs-reader", "--tenant", "acme"])
        .await;
    let unseen = gateway
        .invoke(
            &other,
            "filesystem:readFile",
            &json!({"path": "notes/todo.md"}),
        )
        .send()
        .await;
    assert!(
        matches!(unseen.status, 404 | 422 | 502),
        "every tenant has files of its own: {unseen:?}"
    );
    let outside = gateway
        .invoke(
            &token,
            "filesystem:readFile",
            &json!({"path": "../../state.db"}),
        )
        .send()
        .await;
    let refused = outside.error(422, "VALIDATION_ERROR");
    assert!(
        refused["message"].as_str().unwrap().contains("path"),
        "{refused}"
    );
}

#[tokio::test]
async fn catalogue_invoke_confirm_and_the_trail_of_all_three() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-7", "finance-write").await;
    let listed = gateway
        .ask("GET", "/tool-catalog")
        .bearer(&token)
        .header("x-correlation-id", "trail-list")
        .send()
        .await;
    assert_eq!(tool_ids(&listed), ["ads:createCampaign"]);

    let arguments = campaign("Spring sale");
    let asked = gateway
        .invoke(&token, "ads:createCampaign", &arguments)
        .header("x-correlation-id", "trail-invoke")
        .header("user-agent", "black-box/1.0")
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let ticket = asked.json();
    let mut body = arguments.clone();
    body["action_token"] = ticket["action_token"].clone();
    let done = gateway
        .confirm(&token, "ads:createCampaign", &body)
        .header("x-correlation-id", "trail-confirm")
        .send()
        .await
        .ok();
    assert_eq!(
        (&done["toolId"], &done["result"]["mode"]),
        (&json!("ads:createCampaign"), &json!("sandbox"))
    );
    assert_eq!(done["result"]["name"], "Spring sale");
    assert!(done["token_meta"]["expires_in"].is_u64(), "{done}");

    let seen: Vec<_> = ["trail-list", "trail-invoke", "trail-confirm"]
        .map(|id| home.audit_of(id))
        .into_iter()
        .collect();
    let shape = |records: &[Value]| -> Vec<[String; 3]> {
        records
            .iter()
            .map(|r| ["phase", "action", "status"].map(|f| r[f].as_str().unwrap().to_owned()))
            .collect()
    };
    assert_eq!(shape(&seen[0]), [["event", "catalog:list", "success"]]);
    assert_eq!(shape(&seen[1]), [["event", "tools.invoke", "pending"]]);
    assert_eq!(
        shape(&seen[2]),
        [
            ["intent", "tools.confirm", "pending"],
            ["outcome", "tools.confirm", "success"]
        ]
    );
    let (intent, outcome) = (&seen[2][0], &seen[2][1]);
    for record in [&seen[1][0], intent, outcome] {
        assert_eq!(
            (&record["sub"], &record["user_id"]),
            (&json!("agent-7"), &json!("agent-7")),
            "{record}"
        );
        assert_eq!(
            (&record["tenant"], &record["tenant_id"]),
            (&json!("public"), &json!("public")),
            "{record}"
        );
        assert_eq!(record["toolId"], "ads:createCampaign");
        assert_eq!(record["policy_decision"], "allow");
        assert!(
            record["policy_ids"]
                .as_array()
                .unwrap()
                .contains(&json!("invoke-ads-create")),
            "{record}"
        );
        assert!(
            record["policy_version"].is_string() && record["rate_limit"].is_object(),
            "{record}"
        );
        assert_eq!(
            record["request_hash"], intent["request_hash"],
            "the digest of the same arguments"
        );
        assert_eq!(record["operation_id"], ticket["operation_id"], "{record}");
    }
    assert_eq!(
        (&seen[1][0]["ip_address"], &seen[1][0]["user_agent"]),
        (&json!("127.0.0.1"), &json!("black-box/1.0"))
    );
    assert!(
        outcome["result_hash"].is_string() && outcome["provider_call_meta"].is_object(),
        "{outcome}"
    );
    let log = home
        .audit()
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    for secret in [
        token.as_str(),
        ticket["action_token"].as_str().unwrap(),
        "Spring sale",
    ] {
        assert!(!log.contains(secret), "`{secret}` is in the audit log");
    }
}

#[tokio::test]
async fn an_operator_sees_health_readiness_metrics_and_the_description_without_a_token() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    gateway
        .invoke(&token, "database:listTables", &json!({}))
        .send()
        .await
        .ok();

    let health = gateway.get("/health").await.ok();
    assert_eq!(health["status"], "healthy");
    assert!(
        health["timestamp"]
            .as_str()
            .is_some_and(|t| t.ends_with('Z')),
        "{health}"
    );
    assert!(
        health["version"].is_string() && health["uptime"].is_number(),
        "{health}"
    );

    let ready = gateway.get("/ready").await.ok();
    assert_eq!(ready["ready"], true, "{ready}");
    for dependency in ["audit", "state", "policy"] {
        assert_eq!(ready["dependencies"][dependency]["ready"], true, "{ready}");
    }
    for provider in ["ads", "database", "filesystem"] {
        assert_eq!(
            ready["dependencies"]["providers"][provider]["ready"], true,
            "{ready}"
        );
    }

    let metrics = gateway.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    for line in [
        r#"mcp_tool_calls_total{tool_name="database:listTables",status="success"} 1"#,
        r#"mcp_tool_duration_seconds_count{tool_name="database:listTables"} 1"#,
        "tools_count 7",
        "resources_count 0",
        "# TYPE uptime gauge",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }

    let description = gateway.get("/openapi.json").await.ok();
    assert!(
        description["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.1")),
        "{description}"
    );
    for path in [
        "/tool-catalog",
        "/tools/{toolId}/invoke",
        "/tools/{toolId}/confirm",
        "/manifests/register",
        "/health",
        "/ready",
        "/metrics",
    ] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let page = gateway.get("/docs").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(page.text().contains("/tools/{toolId}/confirm"));
}
