//! API keys: made once, kept as hashes, good on both doors for one tenant, refused alike.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, modern, until};

const FILE: &str = "api-keys.jsonl";

async fn create(home: &Home, subject: &str, rest: &[&str]) -> String {
    let arguments = [&["token", "key", "create", "--sub", subject], rest].concat();
    let output = home.run(&arguments, &[]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let key = said.trim_end().to_owned();
    assert!(key.starts_with("fmk_") && key.len() == 93, "{said}");
    key
}

fn id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

async fn list(home: &Home) -> Value {
    let output = home.run(&["token", "key", "list", "--json"], &[]).await;
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn with_header(gateway: &Gateway, key: &str) -> Reply {
    gateway
        .ask("GET", "/tool-catalog")
        .header("x-api-key", key)
        .send()
        .await
}

#[tokio::test]
async fn a_key_speaks_on_both_doors_for_one_tenant() {
    let home = Home::new();
    let roles = ["--tenant", "acme", "--role", "data-analyst"];
    let key = create(&home, "ci", &roles).await;
    let stored = fs::read_to_string(home.data().join(FILE)).unwrap();
    assert!(!stored.contains(&key[21..]), "its hash alone is kept");
    let gateway = home.start().await;

    for reply in [
        gateway.catalogue(&key).await,
        with_header(&gateway, &key).await,
    ] {
        assert_eq!(reply.ok()["tenant"], "acme");
    }
    let done = gateway
        .ask("POST", "/tools/database:listTables/invoke")
        .header("x-api-key", &key)
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let list = modern("tools/list", json!({}), &json!({}));
    let result = gateway.modern(&key, &list).send().await.ok();
    assert!(!result["result"]["tools"].as_array().unwrap().is_empty());
    let by_header = gateway
        .ask("POST", "/mcp")
        .header("x-api-key", &key)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list")
        .json(&list)
        .send()
        .await
        .ok();
    assert_eq!(by_header["result"]["tools"], result["result"]["tools"]);
    let records = home.audit();
    assert!(
        records
            .iter()
            .any(|r| r["sub"] == "ci" && r["tenant"] == "acme" && r["action"] == "tools.invoke"),
        "{records:?}"
    );
    assert!(!records.iter().any(|r| r.to_string().contains(&key[21..])));

    // Scopes of a key narrow its roles, as those of a token do.
    let narrow = create(
        &home,
        "narrow",
        &["--role", "data-analyst", "--scope", "ads.write"],
    )
    .await;
    let refused = until("the new key", async || {
        let reply = gateway
            .invoke(&narrow, "database:listTables", &json!({}))
            .send()
            .await;
        (reply.status != 401).then_some(reply)
    })
    .await;
    refused.error(403, "FORBIDDEN");
    gateway.stop().await;
}

#[tokio::test]
async fn metrics_beyond_loopback_are_for_those_who_may_read_them() {
    let home = Home::new();
    let file = home.data().join(FILE);
    let tenant = ["--tenant", "globex", "--role", "data-analyst"];
    let other = create(&home, "ci", &tenant).await;
    let admin = create(&home, "boss", &["--tenant", "acme", "--role", "admin"]).await;
    let vars = [
        ("API_KEYS_FILE", file.to_str().unwrap()),
        ("FASTMCP_ALLOWED_HOSTS", "127.0.0.1"),
    ];
    let gateway = home.start_beyond_loopback(&vars).await;
    assert_eq!(gateway.get("/metrics").await.status, 401);
    let metrics = async |key: &str| gateway.ask("GET", "/metrics").bearer(key).send().await;
    let refused = metrics(&other).await;
    let error = refused.error(403, "FORBIDDEN");
    assert!(error.to_string().contains("metrics.read"), "{error}");
    let read = metrics(&admin).await;
    assert_eq!(read.status, 200, "{}", read.text());
    assert!(read.text().contains("tools_count"));
}

#[tokio::test]
async fn unknown_revoked_and_expired_keys_are_refused_alike() {
    let home = Home::new();
    let good = create(&home, "good", &["--role", "data-analyst"]).await;
    let revoked = create(&home, "gone", &["--role", "data-analyst"]).await;
    let expired = create(&home, "late", &["--expires-in", "1s"]).await;
    let gateway = home.start().await;
    assert_eq!(gateway.catalogue(&revoked).await.status, 200);
    let output = home
        .run(&["token", "key", "revoke", id(&revoked)], &[])
        .await;
    assert!(output.status.success());

    let unknown = format!("fmk_{}_{}", "0".repeat(16), "0".repeat(72));
    let mut texts = Vec::new();
    for key in [&revoked, &expired, &unknown] {
        let refused = until("refusal", async || {
            let reply = gateway.catalogue(key).await;
            (reply.status == 401).then_some(reply)
        })
        .await;
        assert!(refused.header("www-authenticate").is_some());
        let error = refused.error(401, "UNAUTHORIZED");
        texts.push(error["message"].as_str().unwrap().to_owned());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert_eq!(gateway.catalogue(&good).await.status, 200);

    // Two credentials are one too many, and the header carries keys alone.
    let both = gateway
        .ask("GET", "/tool-catalog")
        .bearer(&good)
        .header("x-api-key", &good)
        .send()
        .await;
    both.error(401, "UNAUTHORIZED");
    let token = home.role("ada", "data-analyst").await;
    let jwt = with_header(&gateway, &token).await;
    jwt.error(401, "UNAUTHORIZED");

    let states: Vec<_> = list(&home)
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["subject"].clone(), key["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [
            (json!("good"), json!("good")),
            (json!("gone"), json!("revoked")),
            (json!("late"), json!("expired"))
        ]
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_changed_file_takes_effect_and_a_bad_one_changes_nothing() {
    let home = Home::new();
    let gateway = home.start().await;
    let key = create(&home, "ci", &["--role", "data-analyst"]).await;
    until("the key", async || {
        (gateway.catalogue(&key).await.status == 200).then_some(())
    })
    .await;
    let path = home.data().join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}nonsense\n")).unwrap();
    until("the complaint", async || {
        let told = |r: &Value| r["action"] == "api_keys.reloaded" && r["status"] == "failed";
        home.audit().iter().any(told).then_some(())
    })
    .await;
    assert_eq!(gateway.catalogue(&key).await.status, 200);
    // Where the file goes, all keys go.
    fs::remove_file(&path).unwrap();
    until("no keys", async || {
        (gateway.catalogue(&key).await.status == 401).then_some(())
    })
    .await;
    gateway.stop().await;

    fs::write(&path, "nonsense\n").unwrap();
    let output = home.run(&["serve", "--bind", "127.0.0.1:0"], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("line 1"),
        "{said}"
    );
}

#[tokio::test]
async fn keys_are_told_from_their_ids_on_the_command_line() {
    let home = Home::new();
    let key = create(&home, "ci", &[]).await;
    for (named, expected) in [(key.as_str(), "not its id"), ("0123", "no key of the id")] {
        let output = home.run(&["token", "key", "revoke", named], &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains(expected),
            "{said}"
        );
    }
    let output = home.run(&["token", "key", "list"], &[]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(id(&key)) && !said.contains(&key), "{said}");
    let output = home
        .run(&["token", "key", "create", "--sub", "two\nlines"], &[])
        .await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(list(&home).await.as_array().unwrap().len(), 1);
}
