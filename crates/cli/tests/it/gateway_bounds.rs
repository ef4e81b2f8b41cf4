//! How often, how much, and in which form.

use serde_json::json;

use crate::support::Home;

const TABLES: &str = "database:listTables";

#[tokio::test]
async fn after_the_burst_a_caller_waits_and_nobody_else_does() {
    let home = Home::new();
    // One call in 20 seconds: the fourth comes too early, however slow the machine is.
    let gateway = home
        .start_with(&[
            ("RATE_LIMIT_DEFAULT_RPS", "0.05"),
            ("RATE_BUCKET_BURST", "3"),
        ])
        .await;
    // Made first: beside the calls it would take of the time that they count.
    let token = home.role("agent-1", "data-analyst").await;
    let other = home.role("agent-2", "data-analyst").await;
    let tenant = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    for _ in 0..3 {
        gateway.invoke(&token, TABLES, &json!({})).send().await.ok();
    }
    let limited = gateway
        .invoke(&token, TABLES, &json!({}))
        .header("x-correlation-id", "too-often")
        .send()
        .await;
    let error = limited.error(429, "RATE_LIMITED");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Rate limit exceeded"),
        "{error}"
    );
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let record = &home.audit_of("too-often")[0];
    assert_eq!(
        (&record["status"], &record["action"]),
        (&json!("denied"), &json!("tools.invoke")),
        "{record}"
    );

    gateway.query(&token, "SELECT 1").await.ok();
    gateway.invoke(&other, TABLES, &json!({})).send().await.ok();
    gateway
        .invoke(&tenant, TABLES, &json!({}))
        .send()
        .await
        .ok();
    let call = gateway
        .modern_call(&token, "database_listTables", &json!({}), &json!({}))
        .await;
    assert_eq!(
        call["structuredContent"]["error"]["code"], "RATE_LIMITED",
        "the other door has no bucket of its own: {call}"
    );
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_by_name() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home
        .mint(
            "agent-1",
            &["--role", "data-admin", "--role", "finance-write"],
        )
        .await;
    let cases = [
        ("database:executeQuery", r#"{"query": 5}"#, "query"),
        ("database:executeQuery", "{}", "query"),
        (
            "database:executeQuery",
            r#"{"query": "SELECT 1", "limit": 5}"#,
            "limit",
        ),
        (
            "database:executeQuery",
            r#"{"query": "SELECT 1", "query": "DROP TABLE orders"}"#,
            "query",
        ),
        (
            "database:executeQuery",
            r#"{"query": "SELECT 1; DROP TABLE orders"}"#,
            "query",
        ),
        (
            "database:executeQuery",
            r#"{"query": "PRAGMA journal_mode"}"#,
            "query",
        ),
        (
            "database:executeQuery",
            r#"{"query": "SELECT 1", "params": [[1]]}"#,
            "params",
        ),
        ("database:getSchema", r#"{"table_name": ""}"#, "table_name"),
        (
            "ads:createCampaign",
            r#"{"name": "A", "budget": -1, "startDate": "2026-03-01"}"#,
            "budget",
        ),
        (
            "ads:createCampaign",
            r#"{"name": "A", "budget": 1, "startDate": "1 March"}"#,
            "startDate",
        ),
        (
            "ads:createCampaign",
            r#"{"name": "A", "budget": 1, "startDate": "2026-03-01", "end_date": "2026-03-02"}"#,
            "end_date",
        ),
        ("database:listTables", "[]", "object"),
        ("database:listTables", "null", "object"),
        ("database:listTables", "{", "JSON"),
        ("database:listTables", "\u{feff}{}", "JSON"),
    ];
    for (tool, body, named) in cases {
        let reply = gateway
            .ask("POST", &format!("/tools/{tool}/invoke"))
            .bearer(&token)
            .body(body)
            .send()
            .await;
        let error = reply.error(422, "VALIDATION_ERROR");
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{tool} {body}: {error}"
        );
    }
    let deep = format!(
        r#"{{"query": {}1{}}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let reply = gateway
        .ask("POST", "/tools/database:executeQuery/invoke")
        .bearer(&token)
        .body(deep)
        .send()
        .await;
    reply.error(422, "VALIDATION_ERROR");
    let broken = gateway
        .ask("POST", "/tools/database:listTables/invoke")
        .bearer(&token)
        .body(&b"{\"a\": \"\xff\"}"[..])
        .send()
        .await;
    broken.error(422, "VALIDATION_ERROR");
    assert!(
        gateway
            .number(&token, "SELECT count(*) AS n FROM orders")
            .await
            > 0
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let body = format!(r#"{{"query": "{}"}}"#, "x".repeat(4 * 1024 * 1024));
    for path in [
        "/tools/database:executeQuery/invoke",
        "/tools/ads:createCampaign/confirm",
        "/manifests/register",
    ] {
        let reply = gateway
            .ask("POST", path)
            .bearer(&token)
            .body(body.clone())
            .send()
            .await;
        let error = reply.error(413, "PAYLOAD_TOO_LARGE");
        assert!(
            error["message"].as_str().unwrap().contains("4194304"),
            "{error}"
        );
    }
    // Who asks first whether the body is wanted hears it without sending it, on both doors.
    for path in ["/tools/database:executeQuery/invoke", "/mcp"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let answer = gateway.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
    gateway.query(&token, "SELECT 1").await.ok();
}

#[tokio::test]
async fn a_client_that_sends_first_reads_why_its_body_is_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    for path in ["/tools/database:executeQuery/invoke", "/mcp"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n"
        );
        // More than the sockets hold, and without a length: it is too large only once it was read.
        let large = "x".repeat(16 * 1024 * 1024);
        let chunked = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
            large.len()
        );
        let answer = gateway.raw(chunked.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"),
            "{path}: {answer}"
        );
        let broken = format!("{head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n");
        let answer = gateway.raw(broken.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        if path != "/mcp" {
            assert!(
                answer.contains(r#""code":"VALIDATION_ERROR""#)
                    && answer.contains(r#""corr_id":""#),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn both_doors_speak_http_2() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let mut connection = gateway.h2().await;
    for (path, body) in [
        (format!("/tools/{TABLES}/invoke"), json!({})),
        (
            "/mcp".to_owned(),
            crate::support::modern("tools/list", json!({}), &json!({})),
        ),
    ] {
        let request = hyper::Request::post(format!("http://{}{path}", gateway.address()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list")
            .body(http_body_util::Full::from(body.to_string()))
            .unwrap();
        connection.ready().await.unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (200, hyper::Version::HTTP_2),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_look_at_the_mcp_door_has_no_body_over_http_2_either() {
    let home = Home::new();
    let gateway = home.start().await;
    let mut connection = gateway.h2().await;
    for (path, status) in [
        ("/mcp", 401),
        ("/health", 200),
        ("/mcp/", 404),
        ("/%6dcp", 404),
    ] {
        let request = hyper::Request::head(format!("http://{}{path}", gateway.address()))
            .header("x-correlation-id", "look-1")
            .body(http_body_util::Full::from(String::new()))
            .unwrap();
        connection.ready().await.unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["x-correlation-id"], "look-1", "{path}");
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        assert!(body.unwrap().to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_in_the_shape_of_errors() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    for step in ["invoke", "confirm"] {
        let path = format!("/tools/database%ff/{step}");
        let reply = gateway
            .ask("POST", &path)
            .bearer(&token)
            .json(&json!({}))
            .send()
            .await;
        let error = reply.error(422, "VALIDATION_ERROR");
        assert!(
            error["message"].as_str().unwrap().contains("UTF-8"),
            "{error}"
        );
        let stranger = gateway.ask("POST", &path).json(&json!({})).send().await;
        stranger.error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn a_correlation_id_comes_back_and_is_in_errors_and_records() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let ask = |id: &str| {
        gateway
            .invoke(&token, TABLES, &json!({}))
            .header("x-correlation-id", id)
            .send()
    };
    let fine = ask("order-4711/a").await;
    assert_eq!(
        (fine.status, fine.header("x-correlation-id")),
        (200, Some("order-4711/a"))
    );
    assert_eq!(home.audit_of("order-4711/a").len(), 1);
    let log = gateway.stderr();
    let told = |line: &str| {
        line.contains("tool.invoked") && line.contains("order-4711/a") && line.contains("agent-1")
    };
    assert!(
        log.lines().any(told),
        "the log line of the call has it too:\n{log}"
    );
    let missing = gateway
        .invoke(&token, "no:such", &json!({}))
        .header("x-correlation-id", "lost-1")
        .send()
        .await;
    assert_eq!(missing.error(404, "NOT_FOUND")["corr_id"], "lost-1");
    let refused = gateway
        .ask("GET", "/tool-catalog")
        .header("x-correlation-id", "stranger-1")
        .send()
        .await;
    assert_eq!(refused.error(401, "UNAUTHORIZED")["corr_id"], "stranger-1");
    for unfit in ["", "two words", &"x".repeat(129), "caf\u{e9}"] {
        let reply = ask(unfit).await;
        let given = reply.header("x-correlation-id").unwrap();
        assert!(
            given != unfit && given.len() >= 16,
            "one is made instead of `{unfit}`: {given}"
        );
    }
    let first = gateway.invoke(&token, TABLES, &json!({})).send().await;
    let second = gateway.invoke(&token, TABLES, &json!({})).send().await;
    assert_ne!(
        first.header("x-correlation-id").unwrap(),
        second.header("x-correlation-id").unwrap()
    );
}

#[tokio::test]
async fn paths_methods_and_hosts_that_are_none_are_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    gateway
        .ask("GET", "/nothing")
        .bearer(&token)
        .send()
        .await
        .error(404, "NOT_FOUND");
    assert_eq!(
        gateway
            .ask("DELETE", "/tool-catalog")
            .bearer(&token)
            .send()
            .await
            .status,
        405
    );
    assert_eq!(
        gateway
            .ask("GET", "/tools/database:listTables/invoke")
            .bearer(&token)
            .send()
            .await
            .status,
        405
    );
    // A page on the internet must not reach a gateway on this machine through the user's browser.
    for (name, value) in [("host", "evil.test"), ("origin", "https://evil.test")] {
        let mcp = gateway
            .modern(
                &token,
                &crate::support::modern("tools/list", json!({}), &json!({})),
            )
            .header(name, value)
            .send()
            .await;
        assert_eq!(mcp.status, 403, "{name}: {}", mcp.text());
        assert!(mcp.header("x-correlation-id").is_some(), "{name}");
        let rest = gateway
            .ask("GET", "/tool-catalog")
            .bearer(&token)
            .header(name, value)
            .send()
            .await;
        assert_eq!(rest.status, 403, "{name}: {}", rest.text());
    }
}

#[tokio::test]
async fn refusals_cannot_be_had_without_end() {
    let home = Home::new();
    let gateway = home
        .start_with(&[
            ("RATE_LIMIT_DEFAULT_RPS", "0.05"),
            ("RATE_BUCKET_BURST", "3"),
        ])
        .await;
    let token = home.role("agent-1", "data-analyst").await;
    let other = home.role("agent-2", "data-analyst").await;
    for (what, tool, body) in [
        ("unknown", "no:such", json!({})),
        ("unfit", "database:getSchema", json!({})),
    ] {
        let mut limited = None;
        for _ in 0..200 {
            let reply = gateway.invoke(&token, tool, &body).send().await;
            if reply.status == 429 {
                limited = Some(reply);
                break;
            }
        }
        let limited = limited.unwrap_or_else(|| panic!("{what}: 200 refusals in a row"));
        limited.error(429, "RATE_LIMITED");
        assert!(limited.header("retry-after").is_some());
    }
    gateway.invoke(&other, TABLES, &json!({})).send().await.ok();
}
