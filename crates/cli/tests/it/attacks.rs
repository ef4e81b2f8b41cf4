//! Attacks that a trusted gateway must survive, each against the running binary. The numbers are those of the table in
//! `docs/attacks.md`.

use std::{fs, io::Write as _};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{Gateway, Home, Reply, accept, can_be_asked, modern, not_at_midnight, until};

const CREATE: &str = "ads:createCampaign";

fn campaign() -> Value {
    json!({"name": "Spring", "budget": 250, "startDate": "2027-03-01"})
}

/// A token as an attacker makes it: signed with a shared secret.
fn forged(secret: &[u8], algorithm: &str) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let head = json!({"alg": algorithm, "typ": "JWT", "kid": "dev-key"}).to_string();
    let claims = json!({
        "iss": "https://idp.local", "aud": "fastmcp", "sub": "root", "tenant": "public",
        "roles": ["admin"], "iat": now, "exp": now + 600,
    });
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = match algorithm {
        "none" => String::new(),
        _ => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()))
        }
    };
    format!("{text}.{signature}")
}

/// How often a tool acted: intents in the log.
fn acted(home: &Home, tool: &str) -> usize {
    let records = home.audit();
    let acted = |r: &&Value| r["phase"] == "intent" && r["toolId"] == tool;
    records.iter().filter(acted).count()
}

async fn ticket(gateway: &Gateway, token: &str) -> Value {
    let asked = gateway.invoke(token, CREATE, &campaign()).send().await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    asked.json()["action_token"].clone()
}

async fn confirm(gateway: &Gateway, token: &str, ticket: &Value, arguments: &Value) -> Reply {
    let mut body = arguments.clone();
    body["action_token"] = ticket.clone();
    gateway.confirm(token, CREATE, &body).send().await
}

#[tokio::test]
async fn attack_02_there_is_no_default_signing_key() {
    let home = Home::new();
    let gateway = home.start_with(&[("AUTH_SECRET", "secret")]).await;
    let samples = [
        "",
        "secret",
        "changeme",
        "your-256-bit-secret",
        "my-test-key-but-now-longer-than-32-bytes",
        "dev-key",
    ];
    for secret in samples {
        let token = forged(secret.as_bytes(), "HS256");
        gateway.catalogue(&token).await.error(401, "UNAUTHORIZED");
        let list = modern("tools/list", json!({}), &json!({}));
        assert_eq!(gateway.modern(&token, &list).send().await.status, 401);
    }
    // Two installations share no key, and those of a developer do not leave the machine.
    let other = Home::new();
    let foreign = other.role("root", "admin").await;
    gateway.catalogue(&foreign).await.error(401, "UNAUTHORIZED");
    let refused = home.run(&["serve", "--bind", "0.0.0.0:0"], &[]).await;
    assert!(!refused.status.success());
    let refused = home
        .run(&["serve", "--bind", "127.0.0.1:0"], &[("JWT_ALG", "HS256")])
        .await;
    assert!(!refused.status.success());
}

#[tokio::test]
async fn attack_03_algorithm_audience_and_issuer_are_not_the_tokens_to_choose() {
    let home = Home::new();
    let gateway = home.start_with(&[("JWT_LEEWAY_SEC", "0")]).await;
    home.role("x", "admin").await;
    let published = fs::read(home.data().join("keys/jwks.json")).unwrap();
    let set: Value = serde_json::from_slice(&published).unwrap();
    let modulus = set["keys"][0]["n"].as_str().unwrap();
    for secret in [
        published.as_slice(),
        modulus.as_bytes(),
        &URL_SAFE_NO_PAD.decode(modulus).unwrap(),
    ] {
        let token = forged(secret, "HS256");
        gateway.catalogue(&token).await.error(401, "UNAUTHORIZED");
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "RS256"] {
        let token = forged(b"", algorithm);
        gateway.catalogue(&token).await.error(401, "UNAUTHORIZED");
    }
    let mint = ["token", "mint", "--sub", "x", "--role", "admin"];
    for vars in [
        ("JWT_AUDIENCE", "another"),
        ("JWT_ISSUER", "https://evil.test"),
    ] {
        let output = home.run(&mint, &[vars]).await;
        let token = String::from_utf8(output.stdout).unwrap();
        let refused = gateway.catalogue(token.trim()).await;
        refused.error(401, "UNAUTHORIZED");
    }
    let short = home.mint("x", &["--role", "admin", "--ttl", "1s"]).await;
    until("expiry", async || {
        (gateway.catalogue(&short).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn attack_04_a_session_is_no_use_to_another_caller() {
    let home = Home::new();
    let gateway = home.start().await;
    let alice = home.role("alice", "data-analyst").await;
    let session = gateway.legacy(&alice, json!({})).await;
    let thieves = [
        home.role("bob", "data-analyst").await,
        home.mint("alice", &["--role", "data-analyst", "--tenant", "acme"])
            .await,
    ];
    for thief in &thieves {
        for method in ["POST", "GET", "DELETE"] {
            let stolen = gateway
                .ask(method, "/mcp")
                .bearer(thief)
                .header("accept", "application/json, text/event-stream")
                .header("mcp-session-id", &session.session)
                .header("mcp-protocol-version", "2025-11-25")
                .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}))
                .send()
                .await;
            assert_eq!(stolen.status, 404, "{method}: {}", stolen.text());
        }
    }
    let still = session.answer("tools/list", json!({})).await;
    assert!(still["result"]["tools"].is_array(), "{still}");
}

#[tokio::test]
async fn attack_05_no_byte_of_a_session_or_state_can_be_forged() {
    let home = Home::new();
    let gateway = home.start().await;
    let alice = home.role("alice", "finance-write").await;
    let session = gateway.legacy(&alice, json!({})).await;
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    for at in 0..session.session.len() {
        let forged = gateway
            .ask("POST", "/mcp")
            .bearer(&alice)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &flip(&session.session, at))
            .header("mcp-protocol-version", "2025-11-25")
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}))
            .send()
            .await;
        assert_eq!(forged.status, 404, "{at}: {}", forged.text());
    }
    let asked = gateway
        .modern_call(&alice, "ads_createCampaign", &campaign(), &json!({}))
        .await;
    let state = asked["requestState"].as_str().unwrap();
    let places = (0..state.len() - 1).step_by(state.len() / 24 + 1);
    for at in places {
        let params = json!({"name": "ads_createCampaign", "arguments": campaign(), "requestState": flip(state, at),
            "inputResponses": {"confirm": accept()}});
        let message = modern("tools/call", params, &can_be_asked());
        let reply = gateway.modern(&alice, &message).send().await;
        assert_eq!(reply.json()["error"]["code"], -32602, "{}", reply.text());
    }
    assert_eq!(acted(&home, CREATE), 0);
}

#[tokio::test]
async fn attack_06_pages_of_other_sites_and_rebound_names_are_turned_away() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("alice", "data-analyst").await;
    let own = gateway.address().to_string();
    let lines = [
        "host: evil.test\r\n".to_owned(),
        format!("host: {own}\r\norigin: https://evil.test\r\n"),
        format!("host: {own}\r\norigin: null\r\n"),
        format!("host: {own}\r\norigin: http://{own}\r\norigin: https://evil.test\r\n"),
        format!("host: {own}\r\nhost: evil.test\r\n"),
    ];
    for line in &lines {
        for path in ["/tool-catalog", "/mcp", "/approvals", "/health"] {
            let (method, body) = match path {
                "/mcp" => ("POST", "{}"),
                _ => ("GET", ""),
            };
            let request = format!(
                "{method} {path} HTTP/1.1\r\n{line}authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = gateway.raw(request.as_bytes()).await;
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(["403", "400"].contains(&status), "{line} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn attack_07_headers_and_body_say_the_same() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("alice", "data-analyst").await;
    let call = |name: &str| {
        let params = json!({"name": name, "arguments": {}});
        modern("tools/call", params, &json!({}))
    };
    let send = async |headers: &[(&str, &str)], message: &Value| {
        let ask = gateway
            .ask("POST", "/mcp")
            .bearer(&token)
            .header("accept", "application/json, text/event-stream");
        let ask = headers
            .iter()
            .fold(ask, |ask, (name, value)| ask.header(name, value));
        ask.json(message).send().await
    };
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let honest = ("mcp-name", "database_listTables");
    let message = call("database_listTables");
    let passed = send(&[version, method, honest], &message).await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    for (headers, code) in [
        (
            vec![version, method, ("mcp-name", "database_executeQuery")],
            -32020,
        ),
        (vec![version, ("mcp-method", "tools/list"), honest], -32020),
        (vec![version, method], -32020),
        (vec![version, honest], -32020),
    ] {
        let refused = send(&headers, &message).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (400, &json!(code)),
            "{headers:?}: {}",
            refused.text()
        );
    }
    assert_eq!(
        home.audit()
            .iter()
            .filter(|r| r["action"] == "tools.invoke")
            .count(),
        1
    );
}

#[tokio::test]
async fn attack_08_no_two_parsers_read_two_things() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("alice", "data-analyst").await;
    let deep = format!("{{\"query\": {}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    for body in [
        "{\"query\": \"SELECT 1\", \"query\": \"SELECT 2\"}",
        "{\"query\": \"SELECT 1\", \"qu\\u0065ry\": \"SELECT 2\"}",
        "{\"Query\": \"SELECT 1\"}",
        "\u{feff}{\"query\": \"SELECT 1\"}",
        "{\"query\": \"SELECT 1\"}\u{0}",
        "{\"query\": \"SELECT '\\ud800'\"}",
        "{\"query\": \"SELECT 1\", \"params\": {\"n\": 1e999}}",
        "{\"query\": \"SELECT 1\"} {}",
        deep.as_str(),
    ] {
        let reply = gateway
            .ask("POST", "/tools/database:executeQuery/invoke")
            .bearer(&token)
            .body(body.to_owned())
            .send()
            .await;
        let shown: String = body.chars().take(60).collect();
        assert!(
            [400, 413, 422].contains(&reply.status),
            "{shown}: {} {}",
            reply.status,
            reply.text()
        );
    }
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"Method":"tools/list","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{}}"#,
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}]",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}",
    ] {
        let reply = gateway
            .ask("POST", "/mcp")
            .bearer(&token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list")
            .body(body.to_owned())
            .send()
            .await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
}

#[tokio::test]
async fn attack_22_an_approval_is_for_one_call_of_one_caller_once() {
    let home = Home::new();
    let gateway = home.start().await;
    let alice = home.role("alice", "finance-write").await;
    let ticket_of = ticket(&gateway, &alice).await;
    let mut changed = campaign();
    changed["budget"] = json!(251);
    let changed = confirm(&gateway, &alice, &ticket_of, &changed).await;
    changed.error(401, "UNAUTHORIZED");
    for other in [
        home.role("bob", "finance-write").await,
        home.mint("alice", &["--role", "finance-write", "--tenant", "acme"])
            .await,
    ] {
        let stolen = confirm(&gateway, &other, &ticket_of, &campaign()).await;
        assert!([401, 403].contains(&stolen.status), "{}", stolen.text());
    }
    assert_eq!(acted(&home, CREATE), 0);
    // A race of a thousand; as many as a machine holds open at once.
    let statuses: Vec<u16> = stream::iter(0..1_000)
        .map(|_| async {
            confirm(&gateway, &alice, &ticket_of, &campaign())
                .await
                .status
        })
        .buffer_unordered(64)
        .collect()
        .await;
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1);
    assert!(statuses.iter().all(|s| [200, 409].contains(s)));
    assert_eq!(acted(&home, CREATE), 1);
    let again = confirm(&gateway, &alice, &ticket_of, &campaign()).await;
    again.error(409, "CONFLICT");
    gateway.stop().await;

    let brief = home.start_with(&[("CONFIRM_TTL_SEC", "1")]).await;
    let late = ticket(&brief, &alice).await;
    until("expiry", async || {
        let output = home.run(&["operations", "list", "--json"], &[]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.contains("expired").then_some(())
    })
    .await;
    let late = confirm(&brief, &alice, &late, &campaign()).await;
    late.error(409, "CONFLICT");
    assert_eq!(acted(&home, CREATE), 1);
}

#[tokio::test]
async fn attack_23_a_state_is_of_one_caller_one_tool_and_one_time() {
    let home = Home::new();
    let gateway = home.start_with(&[("CONFIRM_TTL_SEC", "2")]).await;
    let alice = home
        .mint(
            "alice",
            &["--role", "finance-write", "--role", "data-admin"],
        )
        .await;
    let asked = gateway
        .modern_call(&alice, "ads_createCampaign", &campaign(), &json!({}))
        .await;
    let state = asked["requestState"].clone();
    let call = |tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments, "requestState": state, "inputResponses": {"confirm": accept()}});
        modern("tools/call", params, &can_be_asked())
    };
    let bob = home.role("bob", "finance-write").await;
    for (token, message) in [
        (&bob, call("ads_createCampaign", campaign())),
        (
            &alice,
            call("database_executeQuery", json!({"query": "SELECT 1"})),
        ),
    ] {
        let reply = gateway.modern(token, &message).send().await;
        assert_eq!(reply.json()["error"]["code"], -32602, "{}", reply.text());
    }
    // Its ticket has a time; the operation says when it is over, and then the state is worth nothing.
    until("expiry", async || {
        let output = home.run(&["operations", "list", "--json"], &[]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.contains("expired").then_some(())
    })
    .await;
    let own = call("ads_createCampaign", campaign());
    let late = gateway.modern(&alice, &own).send().await.json();
    let refused = late["result"]["isError"] == true || late["error"].is_object();
    assert!(refused, "{late}");
    assert_eq!(acted(&home, CREATE), 0);
}

#[tokio::test]
async fn attack_24_a_key_replays_nobody_elses_result() {
    let home = Home::new();
    let gateway = home.start().await;
    let alice = home.role("alice", "fs-writer").await;
    let write = async |token: &str, content: &str| {
        let arguments = json!({"path": "a.txt", "content": content, "overwrite": false});
        let ask = gateway.invoke(token, "filesystem:writeFile", &arguments);
        ask.header("idempotency-key", "k-1").send().await
    };
    assert_eq!(write(&alice, "alice's").await.status, 200);
    let replay = write(&alice, "alice's").await;
    assert_eq!(replay.header("x-idempotent-replay"), Some("true"));
    let other = write(&alice, "other").await.error(409, "CONFLICT");
    assert_eq!(other["details"]["reason"], "idempotency_conflict");
    for token in [
        home.role("bob", "fs-writer").await,
        home.mint("alice", &["--role", "fs-writer", "--tenant", "acme"])
            .await,
    ] {
        let reply = write(&token, "alice's").await;
        assert_eq!(
            reply.header("x-idempotent-replay"),
            None,
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn attack_25_a_broken_stream_does_nothing_twice() {
    let home = Home::new();
    let gateway = home.start().await;
    let alice = home.role("alice", "finance-write").await;
    let asked = gateway
        .modern_call(&alice, "ads_createCampaign", &campaign(), &json!({}))
        .await;
    let params = json!({"name": "ads_createCampaign", "arguments": campaign(), "requestState": asked["requestState"],
        "inputResponses": {"confirm": accept()}});
    let body = modern("tools/call", params.clone(), &can_be_asked()).to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {alice}\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n\
         mcp-name: ads_createCampaign\r\ncontent-length: {}\r\n\r\n{body}",
        gateway.address(),
        body.len()
    );
    // The client is gone before it reads a byte of the answer.
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the effect", async || {
        (acted(&home, CREATE) == 1).then_some(())
    })
    .await;
    drop(stream);
    let done = gateway
        .modern_result(&alice, "tools/call", params, &can_be_asked())
        .await;
    assert!(
        done["structuredContent"]["campaignId"].is_string(),
        "{done}"
    );
    assert_eq!(acted(&home, CREATE), 1);
}

#[tokio::test]
async fn attack_26_nothing_is_written_without_its_record() {
    let home = Home::new();
    home.start().await.stop().await;
    let gateway = home.start_on_a_small_disk(300).await;
    let token = home.role("writer", "fs-writer").await;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    // More than the disk holds, of log lines too.
    for n in 0..300 {
        let arguments = json!({"path": format!("f-{n}"), "content": "x"});
        let ask = gateway.invoke(&token, "filesystem:writeFile", &arguments);
        let ask = ask.header("x-correlation-id", &format!("disk-{n}"));
        let reply = ask.send().await;
        if reply.status == 200 {
            done.push(n);
        } else {
            reply.error(503, "UNAVAILABLE");
            refused.push(n);
        }
    }
    assert!(
        !refused.is_empty() || gateway.stderr().contains("record was not written"),
        "the disk is never full"
    );
    let records = home.audit();
    let intended = |n: &i32| {
        let id = format!("disk-{n}");
        let of = |r: &Value| r["phase"] == "intent" && r["corr_id"] == *id;
        records.iter().any(of)
    };
    assert!(done.iter().all(intended));
    let exists = |n: &i32| {
        let tenants = fs::read_dir(home.data().join("files")).unwrap().flatten();
        let name = format!("f-{n}");
        tenants
            .into_iter()
            .any(|tenant| tenant.path().join(&name).exists())
    };
    assert!(done.iter().all(exists) && !refused.iter().any(exists));
}

#[tokio::test]
async fn attack_27_a_log_that_was_touched_does_not_verify() {
    // Its records stand in one file.
    not_at_midnight().await;
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("alice", "data-analyst").await;
    for _ in 0..5 {
        gateway.query(&token, "SELECT 1").await.ok();
    }
    gateway.stop().await;
    assert!(home.verify().await.0);
    let path = home.audit_file("alice");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let edited = whole.replacen("alice", "alicf", 1);
    let deleted = [&lines[..2], &lines[3..]].concat().concat();
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let cut = lines[..lines.len() - 2].concat();
    for (what, text) in [
        ("edited", edited),
        ("deleted", deleted),
        ("reordered", swapped.concat()),
        ("cut short", cut),
    ] {
        fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let (passed, said) = home.verify().await;
        assert!(!passed, "{what}: {said}");
        assert!(said.contains("audit-"), "{what}: {said}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(home.verify().await.0);
}

#[tokio::test]
async fn attack_29_what_cannot_be_checked_is_refused() {
    let home = Home::new();
    // Nobody answers there any more.
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}/jwks.json");
    let vars = [("JWT_JWKS_URL", url.as_str())];
    let gateway = home.start_with(&vars).await;
    let token = home.role("alice", "data-analyst").await;
    let reply = gateway.catalogue(&token).await;
    assert!([401, 503].contains(&reply.status), "{}", reply.text());
    let metrics = gateway.get("/metrics").await;
    assert!(
        metrics.text().contains("fastmcp_door_refusals_total"),
        "{}",
        metrics.text()
    );
    until("its record", async || {
        let turned_away = |r: &Value| r["action"] == "door.refused";
        home.audit().iter().any(turned_away).then_some(())
    })
    .await;
}

#[tokio::test]
async fn attack_30_what_was_read_does_not_leave_by_another_way() {
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    fs::write(home.policies(), crate::gateway_labels::POLICY).unwrap();
    let gateway = home.start().await;
    let admin = home
        .mint("boss", &["--role", "admin", "--role", "agent"])
        .await;
    let labelled = json!({"labels": ["pii"]});
    let tables = "database:listTables";
    let reply = crate::gateway_labels::register(&gateway, &admin, tables, &labelled).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    // What a poisoned document tells an agent to do: read what is private, then send it away, by whatever way is open.
    let agent = home.role("agent-1", "agent").await;
    let waiting = gateway
        .modern_call(
            &agent,
            "filesystem_writeFile",
            &json!({"path": "a.txt", "content": "x"}),
            &json!({}),
        )
        .await;
    let session = gateway.legacy(&agent, can_be_asked()).await;
    let read = json!({"name": "database_listTables", "arguments": {}});
    let read = session.answer("tools/call", read).await;
    assert_ne!(read["result"]["isError"], true, "{read}");

    let refused = |what: &str, result: &Value| {
        assert_eq!(result["isError"], true, "{what}: {result}");
        assert_eq!(
            result["structuredContent"]["error"]["code"], "FORBIDDEN",
            "{what}: {result}"
        );
    };
    let create = json!({"name": "ads_createCampaign", "arguments": campaign()});
    let same = session.answer("tools/call", create.clone()).await;
    refused("the same session", &same["result"]);
    let fresh = gateway.legacy(&agent, can_be_asked()).await;
    let new = fresh.answer("tools/call", create).await;
    refused("a new session", &new["result"]);
    let modern = gateway
        .modern_call(&agent, "ads_createCampaign", &campaign(), &json!({}))
        .await;
    refused("the newer protocol", &modern);
    let token = home.role("agent-1", "agent").await;
    let rest = gateway.invoke(&token, CREATE, &campaign()).send().await;
    rest.error(403, "FORBIDDEN");
    let keyed = gateway
        .invoke(&token, CREATE, &campaign())
        .header("idempotency-key", "k-1");
    keyed.send().await.error(403, "FORBIDDEN");
    // What was asked for before reading, and is answered after it.
    let more =
        json!({"requestState": waiting["requestState"], "inputResponses": {"confirm": accept()}});
    let arguments = json!({"path": "a.txt", "content": "x"});
    let answered = gateway
        .modern_call(&agent, "filesystem_writeFile", &arguments, &more)
        .await;
    refused("an earlier question", &answered);
    assert_eq!(
        acted(&home, CREATE) + acted(&home, "filesystem:writeFile"),
        0
    );
}
