//! What is refused: by roles and scopes, by tenant, and at the door.

use fastmcp_auth::{Algorithm, testing::SigningKey};
use serde_json::{Value, json};

use crate::support::{Gateway, Home, modern, until};

const INSERT: &str =
    "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', '2026-11-20')";
const COUNT: &str = "SELECT count(*) AS n FROM orders";

#[tokio::test]
async fn a_write_is_denied_to_a_reader_and_allowed_to_an_admin_of_data() {
    let home = Home::new();
    let gateway = home.start().await;
    let reader = home.role("reader", "data-analyst").await;
    let admin = home.role("writer", "data-admin").await;
    let before = gateway.number(&reader, COUNT).await;

    let arguments = json!({"query": INSERT});
    let denied = gateway
        .invoke(&reader, "database:executeQuery", &arguments)
        .header("x-correlation-id", "denied-write")
        .send()
        .await;
    let error = denied.error(403, "FORBIDDEN");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Access denied") && message.contains("database.write"),
        "{error}"
    );
    assert_eq!(gateway.number(&reader, COUNT).await, before);
    let records = home.audit_of("denied-write");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (&records[0]["phase"], &records[0]["status"]),
        (&json!("event"), &json!("denied")),
        "{}",
        records[0]
    );
    assert_eq!(
        (&records[0]["policy_decision"], &records[0]["sub"]),
        (&json!("deny"), &json!("reader")),
        "{}",
        records[0]
    );

    let done = gateway.query(&admin, INSERT).await.ok();
    assert_eq!(done["result"]["rows_affected"], 1, "{done}");
    assert_eq!(gateway.number(&reader, COUNT).await, before + 1);
}

#[tokio::test]
async fn where_a_call_comes_from_and_when_and_what_it_is_about_decide() {
    let built_in = include_str!("../../../policy/policies.yml");
    let corr_id = "from-here";
    for (condition, is_denied) in [
        ("context.ip: [\"127.0.0.0/8\"]", true),
        ("context.ip: [\"10.0.0.0/8\"]", false),
        (
            "context.weekday: [monday, tuesday, wednesday, thursday, friday, saturday, sunday]",
            true,
        ),
        ("context.time_after: \"2026-01-01T00:00:00Z\"", true),
        ("context.time_before: \"2026-01-01T00:00:00Z\"", false),
        (
            "resource.classification: [public, internal, confidential, secret]",
            true,
        ),
        ("context.corr_id: from-here", true),
        ("context.corr_id: from-elsewhere", false),
        ("resource.provider_id: database", true),
        ("resource.read_only: false", false),
    ] {
        let home = Home::new();
        std::fs::create_dir(home.data()).unwrap();
        let rule = format!(
            "\n  - id: tried\n    effect: deny\n    when: {{action: tools.invoke, {condition}}}\n"
        );
        std::fs::write(home.policies(), format!("{built_in}{rule}")).unwrap();
        let gateway = home.start().await;
        let token = home.role("reader", "data-analyst").await;
        let call = gateway.invoke(&token, "database:listTables", &json!({}));
        let reply = call.header("x-correlation-id", corr_id).send().await;
        let status = if is_denied { 403 } else { 200 };
        assert_eq!(reply.status, status, "{condition}: {}", reply.text());
        let record = &home.audit_of(corr_id)[0];
        let named = record["policy_ids"].to_string().contains("tried");
        assert_eq!(named, is_denied, "{condition}: {record}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_role_does_not_reach_other_tools() {
    let home = Home::new();
    let gateway = home.start().await;
    let campaign = json!({"name": "A", "budget": 1, "startDate": "2026-03-01"});
    let cases = [
        ("agent", "database:listTables", json!({})),
        ("finance-write", "database:listTables", json!({})),
        ("data-admin", "ads:createCampaign", campaign.clone()),
        (
            "fs-reader",
            "filesystem:writeFile",
            json!({"path": "a", "content": "b"}),
        ),
        (
            "admin",
            "database:executeQuery",
            json!({"query": "SELECT 1"}),
        ),
    ];
    for (role, tool, arguments) in cases {
        let token = home.role("agent-1", role).await;
        let error = gateway
            .invoke(&token, tool, &arguments)
            .send()
            .await
            .error(403, "FORBIDDEN");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("Access denied"),
            "{role} {tool}: {error}"
        );
    }
    let nobody = home.mint("agent-1", &[]).await;
    // What the arguments should have been is not for who may not see the tool.
    for arguments in [&campaign, &json!({}), &json!({"name": 7})] {
        gateway
            .invoke(&nobody, "ads:createCampaign", arguments)
            .send()
            .await
            .error(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn scopes_of_a_token_narrow_its_roles_and_never_widen_them() {
    let home = Home::new();
    let gateway = home.start().await;
    let scoped = |scopes: &'static [&'static str], role: &'static str| {
        let mut rest = vec!["--role", role];
        rest.extend(scopes.iter().flat_map(|s| ["--scope", s]));
        rest
    };
    let narrow = home
        .mint(
            "agent-1",
            &scoped(&["database.read", "tools.invoke:read"], "data-admin"),
        )
        .await;
    gateway
        .invoke(&narrow, "database:listTables", &json!({}))
        .send()
        .await
        .ok();
    let error = gateway
        .query(&narrow, "SELECT 1")
        .await
        .error(403, "FORBIDDEN");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Access denied"),
        "{error}"
    );
    let reading = home
        .mint(
            "agent-1",
            &scoped(
                &["database.read", "database.execute", "tools.invoke:write"],
                "data-admin",
            ),
        )
        .await;
    gateway.query(&reading, "SELECT 1").await.ok();
    gateway
        .query(&reading, INSERT)
        .await
        .error(403, "FORBIDDEN");
    let claimed = home
        .mint(
            "agent-1",
            &scoped(
                &[
                    "database.read",
                    "database.execute",
                    "database.write",
                    "tools.invoke:write",
                ],
                "data-analyst",
            ),
        )
        .await;
    gateway
        .query(&claimed, INSERT)
        .await
        .error(403, "FORBIDDEN");
    let tools = gateway.catalogue(&narrow).await.ok();
    let ids: Vec<_> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["toolId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["database:getSchema", "database:listTables"]);
}

#[tokio::test]
async fn an_unknown_tool_is_not_found_and_is_recorded() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-admin").await;
    for tool in [
        "database:noSuch",
        "nobody:listTables",
        "listTables",
        "%20",
        "database%3AnoSuch",
    ] {
        let reply = gateway
            .invoke(&token, tool, &json!({}))
            .header("x-correlation-id", "unknown-tool")
            .send()
            .await;
        let error = reply.error(404, "NOT_FOUND");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("Tool manifest not found"),
            "{tool}: {error}"
        );
        gateway
            .confirm(&token, tool, &json!({"action_token": "x"}))
            .send()
            .await
            .error(404, "NOT_FOUND");
    }
    let records = home.audit_of("unknown-tool");
    assert_eq!(records.len(), 5, "{records:?}");
    assert!(
        records
            .iter()
            .all(|r| r["status"] == "denied" && r["sub"] == "agent-1"),
        "{records:?}"
    );
    let metrics = gateway.get("/metrics").await;
    assert!(
        !metrics.text().contains("noSuch"),
        "names that anybody invents are no labels"
    );
}

/// A gateway that trusts a key of the test, so that tokens can be wrong in every way.
async fn trusting(home: &Home, key: &SigningKey) -> Gateway {
    let path = home.folder().join("jwks.json");
    std::fs::write(&path, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    home.start_with(&[("JWT_JWKS_FILE", path.to_str().unwrap())])
        .await
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> Value {
    let now = now();
    json!({
        "iss": "https://idp.local", "aud": "fastmcp", "sub": "agent-1", "tenant": "acme",
        "roles": ["data-analyst"], "iat": now, "exp": now + 600,
    })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_is_turned_away_with_a_challenge() {
    let home = Home::new();
    let (key, stranger) = (SigningKey::ec("k1"), SigningKey::ec("k1"));
    let gateway = trusting(&home, &key).await;
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
    let sign = |claims: &Value| key.sign_as(Algorithm::Es256, &header, claims);
    let good = sign(&claims());
    let catalogue = gateway.catalogue(&good).await.ok();
    assert_eq!(catalogue["tenant"], "acme");
    for also in [without("tenant")
        .as_object_mut()
        .map(|c| (c.insert("tenant_id".into(), json!("acme")), c.clone()).1)
        .unwrap()]
    {
        assert_eq!(
            gateway.catalogue(&sign(&Value::Object(also))).await.ok()["tenant"],
            "acme"
        );
    }
    // A clock may be five minutes off.
    gateway
        .catalogue(&sign(&with("exp", now() - 120)))
        .await
        .ok();

    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = json!({"alg": "none"}).to_string();
    let hmac = json!({"alg": "HS256", "kid": "k1"}).to_string();
    let encode = |text: &str| {
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text)
    };
    let cases = [
        ("garbage", "garbage".to_owned()),
        ("two parts", format!("{head}.{payload}")),
        ("no signature", format!("{head}.{payload}.")),
        ("alg none", format!("{}.{payload}.", encode(&none))),
        (
            "an algorithm with a shared secret",
            format!("{}.{payload}.{signature}", encode(&hmac)),
        ),
        (
            "another's key under the same id",
            stranger.sign_as(Algorithm::Es256, &header, &claims()),
        ),
        (
            "an unknown key id",
            key.sign_as(
                Algorithm::Es256,
                &json!({"alg": "ES256", "kid": "k2"}),
                &claims(),
            ),
        ),
        ("expired", sign(&with("exp", now() - 3_600))),
        ("no expiry", sign(&without("exp"))),
        ("not yet", sign(&with("nbf", now() + 3_600))),
        ("issued in the future", sign(&with("iat", now() + 3_600))),
        ("another issuer", sign(&with("iss", "https://evil.test"))),
        ("no issuer", sign(&without("iss"))),
        ("another audience", sign(&with("aud", "somebody-else"))),
        ("no audience", sign(&without("aud"))),
        ("no tenant", sign(&without("tenant"))),
        ("an empty tenant", sign(&with("tenant", ""))),
        ("no subject", sign(&without("sub"))),
    ];
    for (what, token) in &cases {
        let reply = gateway.catalogue(token).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text());
        let error = reply.error(401, "UNAUTHORIZED");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("Invalid token"),
            "{what}: {error}"
        );
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
        assert!(
            !reply.text().contains(token.as_str()),
            "{what}: the token comes back"
        );
    }
    until("refusals at the door to be recorded", async || {
        let turned_away = |r: &Value| r["action"] == "door.refused";
        home.audit().iter().any(turned_away).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_token_is_asked_for_on_every_door() {
    let home = Home::new();
    let gateway = home.start().await;
    let doors = [
        ("GET", "/tool-catalog"),
        ("POST", "/tools/database:listTables/invoke"),
        ("POST", "/tools/ads:createCampaign/confirm"),
        ("POST", "/manifests/register"),
        ("POST", "/mcp"),
    ];
    for (method, path) in doors {
        let reply = gateway.ask(method, path).body("{}").send().await;
        assert_eq!(reply.status, 401, "{path}: {}", reply.text());
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.starts_with("Bearer") && !challenge.contains("error="),
            "{path}: {challenge}"
        );
        if path != "/mcp" {
            reply.error(401, "UNAUTHORIZED");
        }
        let basic = gateway
            .ask(method, path)
            .header("authorization", "Basic YTpi")
            .body("{}")
            .send()
            .await;
        assert_eq!(basic.status, 401, "{path}: {}", basic.text());
    }
    // A token in the address would end up in logs: it is not looked at.
    let token = home.role("agent-1", "data-analyst").await;
    let reply = gateway
        .get(&format!("/tool-catalog?access_token={token}"))
        .await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_token_that_is_too_narrow_is_told_how_wide_it_must_be() {
    let home = Home::new();
    let gateway = home.start().await;
    let read = ["database.read", "tools.invoke:read"];
    let narrow: Vec<&str> = ["--role", "data-admin"]
        .into_iter()
        .chain(read.iter().flat_map(|scope| ["--scope", *scope]))
        .collect();
    let token = home.mint("agent-1", &narrow).await;
    let params = json!({"name": "database_executeQuery", "arguments": {"query": "SELECT 1"}});
    let call = modern("tools/call", params, &json!({}));
    let refused = gateway.modern(&token, &call).send().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let challenge = refused.header("www-authenticate").unwrap().to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\"")
            && challenge.contains("resource_metadata="),
        "{challenge}"
    );
    // A client asks for what it had and what it is told, and comes back.
    let (_, told) = challenge.rsplit_once(",scope=\"").unwrap();
    let told = told.split('"').next().unwrap();
    assert!(told.contains("tools.invoke:write"), "{challenge}");
    let wide: Vec<&str> = ["--role", "data-admin"]
        .into_iter()
        .chain(
            read.into_iter()
                .chain(told.split(' '))
                .flat_map(|scope| ["--scope", scope]),
        )
        .collect();
    let token = home.mint("agent-1", &wide).await;
    let done = gateway.modern(&token, &call).send().await.ok();
    assert!(
        done["result"]["structuredContent"]["rows"].is_array(),
        "{done}"
    );
    // What the roles do not give, no token would: that is a result, as every refusal.
    let analyst = home.role("agent-2", "data-analyst").await;
    let params =
        json!({"name": "database_executeQuery", "arguments": {"query": "DELETE FROM orders"}});
    let write = modern("tools/call", params, &json!({}));
    let refused = gateway.modern(&analyst, &write).send().await.ok();
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let records = home.audit();
    let denied = |r: &&serde_json::Value| r["action"] == "tools.invoke" && r["status"] == "denied";
    assert_eq!(records.iter().filter(denied).count(), 2, "{records:?}");
}
