//! Tools that are registered while the gateway runs.

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply};

fn manifest(tool_id: &str) -> Value {
    json!({
        "toolId": tool_id,
        "name": "Tables of our shop",
        "description": "Lists what our shop keeps.",
        "inputs": {"type": "object", "properties": {}, "additionalProperties": false},
        "outputs": {"type": "object"},
        "required_scopes": ["database.read"],
        "provider_id": "database",
        "read_only": true,
    })
}

async fn register(gateway: &Gateway, token: &str, manifest: &Value) -> Reply {
    gateway
        .ask("POST", "/manifests/register")
        .bearer(token)
        .json(manifest)
        .send()
        .await
}

fn names(catalogue: &Reply) -> Vec<(String, String)> {
    let tools = catalogue.ok()["tools"].as_array().unwrap().clone();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    tools
        .iter()
        .map(|t| (text(&t["toolId"]), text(&t["name"])))
        .collect()
}

#[tokio::test]
async fn a_registered_tool_is_there_for_its_tenant_alone_and_survives_a_restart() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let ours = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    let theirs = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "globex"])
        .await;
    let reply = gateway
        .ask("POST", "/manifests/register")
        .bearer(&admin)
        .header("x-correlation-id", "register-1")
        .json(&manifest("database:ourTables"))
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (
            201,
            json!({"status": "registered", "toolId": "database:ourTables"})
        )
    );
    let records = home.audit_of("register-1");
    let shape: Vec<_> = records
        .iter()
        .map(|r| (r["phase"].as_str().unwrap(), r["action"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shape,
        [
            ("intent", "manifests.register"),
            ("outcome", "manifests.register")
        ]
    );
    assert_eq!(
        (&records[1]["resource_id"], &records[1]["tenant"]),
        (&json!("database:ourTables"), &json!("acme"))
    );

    let shown = (
        "database:ourTables".to_owned(),
        "Tables of our shop".to_owned(),
    );
    assert!(names(&gateway.catalogue(&ours).await).contains(&shown));
    assert!(!names(&gateway.catalogue(&theirs).await).contains(&shown));
    let foreign = gateway
        .invoke(&theirs, "database:ourTables", &json!({}))
        .send()
        .await;
    let unknown = gateway
        .invoke(&theirs, "database:noTables", &json!({}))
        .send()
        .await;
    let (mut foreign, mut unknown) = (
        foreign.error(404, "NOT_FOUND"),
        unknown.error(404, "NOT_FOUND"),
    );
    foreign["corr_id"].take();
    unknown["corr_id"].take();
    assert_eq!(foreign, unknown, "nobody learns what other tenants have");
    let mcp = gateway
        .modern_result(&ours, "tools/list", json!({}), &json!({}))
        .await;
    assert!(
        mcp["tools"]
            .as_array()
            .unwrap()
            .iter()
            .any(|t| t["name"] == "database_ourTables"),
        "{mcp}"
    );

    gateway.stop().await;
    let gateway = home.start().await;
    assert!(names(&gateway.catalogue(&ours).await).contains(&shown));
    assert!(!names(&gateway.catalogue(&theirs).await).contains(&shown));
}

#[tokio::test]
async fn a_tenants_own_tool_comes_before_the_public_one() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let ours = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    let theirs = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "globex"])
        .await;
    assert_eq!(
        register(&gateway, &admin, &manifest("database:listTables"))
            .await
            .status,
        201
    );
    let name = |catalogue: &Reply| {
        names(catalogue)
            .into_iter()
            .find(|(id, _)| id == "database:listTables")
            .unwrap()
            .1
    };
    assert_eq!(name(&gateway.catalogue(&ours).await), "Tables of our shop");
    assert_eq!(
        name(&gateway.catalogue(&theirs).await),
        "List Database Tables"
    );
    let ids = names(&gateway.catalogue(&ours).await);
    assert_eq!(
        ids.iter()
            .filter(|(id, _)| id == "database:listTables")
            .count(),
        1
    );
    gateway
        .invoke(&ours, "database:listTables", &json!({}))
        .send()
        .await
        .ok();
    let list = gateway
        .modern_result(&ours, "tools/list", json!({}), &json!({}))
        .await;
    let shown: Vec<_> = list["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["name"] == "database_listTables")
        .collect();
    assert_eq!(
        (shown.len(), &shown[0]["title"]),
        (1, &json!("Tables of our shop")),
        "{list}"
    );
}

#[tokio::test]
async fn who_may_register_is_a_matter_of_roles_and_tenants() {
    let home = Home::new();
    let gateway = home.start().await;
    let ours = manifest("database:ourTables");
    for role in [
        "agent",
        "data-analyst",
        "finance-write",
        "mcp-admin",
        "fs-writer",
    ] {
        let token = home
            .mint("agent-1", &["--role", role, "--tenant", "acme"])
            .await;
        let error = register(&gateway, &token, &ours)
            .await
            .error(403, "FORBIDDEN");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("Access denied"),
            "{role}: {error}"
        );
    }
    let of_data = home
        .mint("boss", &["--role", "data-admin", "--tenant", "acme"])
        .await;
    assert_eq!(
        register(&gateway, &of_data, &ours).await.status,
        201,
        "its own provider"
    );
    let mut ads = manifest("ads:ourCampaign");
    ads["provider_id"] = json!("ads");
    register(&gateway, &of_data, &ads)
        .await
        .error(403, "FORBIDDEN");
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    assert_eq!(register(&gateway, &admin, &ads).await.status, 201);
    let mut foreign = manifest("database:ourTables");
    foreign["tenant"] = json!("globex");
    register(&gateway, &admin, &foreign)
        .await
        .error(403, "FORBIDDEN");
    let globex = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "globex"])
        .await;
    gateway
        .invoke(&globex, "database:ourTables", &json!({}))
        .send()
        .await
        .error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_manifest_that_cannot_be_used_is_refused_by_name() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let changed = |field: &str, value: Value| {
        let mut manifest = manifest("database:ourTables");
        manifest[field] = value;
        manifest
    };
    let mut nameless = manifest("database:ourTables");
    nameless.as_object_mut().unwrap().remove("name");
    let cases = [
        (changed("toolId", json!("no colon")), "tool id"),
        (changed("toolId", json!("ads:ourTables")), "provider_id"),
        (changed("provider_id", json!("nobody")), "provider_id"),
        (changed("inputs", json!({"type": "array"})), "inputs"),
        (
            changed(
                "inputs",
                json!({"type": "object", "properties": {"a": {"type": "no-such-type"}}}),
            ),
            "inputs",
        ),
        (
            changed(
                "inputs",
                json!({"type": "object", "properties": {"a": {"$ref": "https://evil.test/schema"}}}),
            ),
            "inputs",
        ),
        (changed("inputs", json!(true)), "inputs"),
        (changed("safety_tag", json!(["financial"])), "safety_tag"),
        (changed("read_only", json!("yes")), "read_only"),
        (nameless, "name"),
    ];
    for (manifest, named) in cases {
        let error = register(&gateway, &admin, &manifest)
            .await
            .error(422, "VALIDATION_ERROR");
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{named}: {error}"
        );
    }
    let same_mcp_name = register(&gateway, &admin, &manifest("database:list:Tables")).await;
    assert_eq!(same_mcp_name.status, 201, "{}", same_mcp_name.text());
    let clash = register(&gateway, &admin, &manifest("database:list_Tables")).await;
    clash.error(409, "CONFLICT");
}

#[tokio::test]
async fn a_manifest_cannot_demand_less_than_its_provider_does() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let writer = home
        .mint("writer", &["--role", "data-admin", "--tenant", "acme"])
        .await;
    let query = |field: &str, value: Value| {
        let mut manifest = manifest("database:executeQuery");
        manifest["inputs"] = json!({"type": "object"});
        manifest["required_scopes"] = json!(["database.execute"]);
        manifest["read_only"] = json!(false);
        manifest[field] = value;
        manifest
    };
    for (field, value) in [
        ("read_only", json!(true)),
        ("required_scopes", json!([])),
        ("classification", json!("public")),
    ] {
        let reply = register(&gateway, &admin, &query(field, value)).await;
        let error = reply.error(422, "VALIDATION_ERROR");
        assert!(
            error["message"].as_str().unwrap().contains(field),
            "{error}"
        );
    }
    let mut harmless = manifest("ads:createCampaign");
    harmless["provider_id"] = json!("ads");
    harmless["required_scopes"] = json!(["ads.write"]);
    harmless["read_only"] = json!(false);
    let reply = register(&gateway, &admin, &harmless).await;
    let error = reply.error(422, "VALIDATION_ERROR");
    assert!(
        error["message"].as_str().unwrap().contains("safety_tags"),
        "{error}"
    );

    let more = query("safety_tags", json!(["financial"]));
    assert_eq!(register(&gateway, &admin, &more).await.status, 201);
    let asked = gateway.query(&writer, "SELECT 1").await;
    assert_eq!(asked.status, 202, "more can be demanded: {}", asked.text());
}

#[tokio::test]
async fn a_manifest_that_awaits_review_is_not_called() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    let token = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    let mut waiting = manifest("database:listTables");
    waiting["manual_review_required"] = json!(true);
    assert_eq!(register(&gateway, &admin, &waiting).await.status, 201);
    let error = gateway
        .invoke(&token, "database:listTables", &json!({}))
        .send()
        .await
        .error(403, "FORBIDDEN");
    assert!(
        error["message"].as_str().unwrap().contains("review"),
        "{error}"
    );
    assert_eq!(
        register(&gateway, &admin, &manifest("database:listTables"))
            .await
            .status,
        201
    );
    gateway
        .invoke(&token, "database:listTables", &json!({}))
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn what_a_manifest_says_is_bounded() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--tenant", "acme"])
        .await;
    for (field, value) in [
        ("cost_estimate", json!(-1)),
        ("cost_estimate", json!(1e308)),
        ("latency_estimate_ms", json!(u64::MAX)),
        ("name", json!("x".repeat(257))),
        ("safety_tags", json!(["destructive "])),
    ] {
        let mut manifest = manifest("database:ourTables");
        manifest["tenant"] = json!("acme");
        manifest[field] = value;
        let refused = register(&gateway, &admin, &manifest).await;
        let said = refused.error(422, "VALIDATION_ERROR").to_string();
        assert!(said.contains(&format!("`{field}`")), "{said}");
    }
    gateway.stop().await;
}
