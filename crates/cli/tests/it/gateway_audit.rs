//! The record: whole, provable, and true after a kill.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{Ask, Gateway, Home, can_be_asked, modern, not_at_midnight, until};

#[tokio::test]
async fn the_log_verifies_and_an_edited_byte_is_found_and_named() {
    // Its records stand in one file.
    not_at_midnight().await;
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    for n in 0..5 {
        gateway.query(&token, &format!("SELECT {n}")).await.ok();
    }
    let (passed, said) = home.verify().await;
    assert!(passed, "while it is written to: {said}");
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");

    let file = home.audit_file("\"outcome\"");
    let whole = fs::read(&file).unwrap();
    let lines: Vec<_> = whole.split_inclusive(|b| *b == b'\n').collect();
    let edited = lines
        .iter()
        .position(|l| String::from_utf8_lossy(l).contains("\"outcome\""))
        .unwrap();
    let begin: usize = lines[..edited].iter().map(|l| l.len()).sum();
    let subject = String::from_utf8_lossy(lines[edited])
        .find("agent-1")
        .unwrap();
    let mut forged = whole.clone();
    forged[begin + subject + 6] = b'2';
    fs::write(&file, &forged).unwrap();
    let (passed, said) = home.verify().await;
    assert!(!passed, "{said}");
    let name = file.file_name().unwrap().to_str().unwrap();
    let seq = serde_json::from_slice::<Value>(lines[edited]).unwrap()["seq"].clone();
    assert!(
        said.contains(name)
            && said.contains(&format!("line {}", edited + 1))
            && said.contains(&seq.to_string()),
        "{said}"
    );

    let mut shorter = whole.clone();
    shorter.truncate(whole.len() - lines.last().unwrap().len());
    fs::write(&file, &shorter).unwrap();
    let (passed, said) = home.verify().await;
    assert!(!passed, "the last record is gone: {said}");
    fs::write(&file, &whole).unwrap();
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
}

#[tokio::test]
async fn every_answer_leaves_its_records_with_all_fields() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home
        .mint(
            "agent-1",
            &["--role", "data-analyst", "--role", "finance-write"],
        )
        .await;
    let campaign = json!({"name": "A", "budget": 1, "startDate": "2026-03-01"});
    let sent = [
        ("r-read", "database:listTables", json!({}), 200),
        (
            "r-write",
            "database:executeQuery",
            json!({"query": "SELECT 1"}),
            200,
        ),
        ("r-ask", "ads:createCampaign", campaign, 202),
        (
            "r-denied",
            "database:executeQuery",
            json!({"query": "DROP TABLE orders"}),
            403,
        ),
        ("r-lost", "database:noSuch", json!({}), 404),
        ("r-unfit", "database:getSchema", json!({}), 422),
    ];
    for (id, tool, arguments, status) in &sent {
        let reply = gateway
            .invoke(&token, tool, arguments)
            .header("x-correlation-id", id)
            .send()
            .await;
        assert_eq!(reply.status, *status, "{id}: {}", reply.text());
    }
    gateway
        .ask("GET", "/tool-catalog")
        .bearer("x.y.z")
        .header("x-correlation-id", "r-stranger")
        .send()
        .await
        .error(401, "UNAUTHORIZED");
    until("the refusal at the door to be written", async || {
        (!home.audit_of("r-stranger").is_empty()).then_some(())
    })
    .await;
    gateway.stop().await;

    let shape = |id: &str| -> Vec<String> {
        home.audit_of(id)
            .iter()
            .map(|r| {
                format!(
                    "{} {}",
                    r["phase"].as_str().unwrap(),
                    r["status"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(shape("r-read"), ["event success"]);
    assert_eq!(shape("r-write"), ["intent pending", "outcome success"]);
    assert_eq!(shape("r-ask"), ["event pending"]);
    assert_eq!(shape("r-denied"), ["event denied"]);
    assert_eq!(shape("r-lost"), ["event denied"]);
    assert_eq!(shape("r-unfit"), ["event failed"]);
    assert_eq!(shape("r-stranger"), ["event denied"]);
    let records = home.audit();
    for (seq, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], seq, "{record}");
        for field in [
            "ts",
            "phase",
            "action",
            "status",
            "instance",
            "prev_hash",
            "event_hash",
        ] {
            assert!(record[field].is_string(), "{field}: {record}");
        }
    }
    for (before, after) in records.iter().zip(records.iter().skip(1)) {
        assert_eq!(before["event_hash"], after["prev_hash"]);
    }
    let intent = &home.audit_of("r-write")[0];
    let attributes = &intent["details"]["attributes"];
    assert_eq!(
        attributes["provider_id"], "database",
        "what rules read is there for `policy simulate`: {intent}"
    );
    let log = records.iter().map(Value::to_string).collect::<String>();
    assert!(
        !log.contains("SELECT 1") && !log.contains("DROP TABLE"),
        "values of arguments are not in the log"
    );
}

/// Writes rows named `w-N`, one after the other, until the gateway is gone; gives the acknowledged ones.
async fn write_on(gateway: &Gateway, token: &str, next: &AtomicUsize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let id = format!("w-{}", next.fetch_add(1, Ordering::Relaxed));
        let arguments = json!({
            "query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', ?)",
            "params": [id],
        });
        let ask = gateway.invoke(token, "database:executeQuery", &arguments);
        match ask
            .header("x-correlation-id", &id)
            .header("idempotency-key", &id)
            .attempt()
            .await
        {
            Ok(reply) => {
                assert_eq!(reply.status, 200, "{}", reply.text());
                acknowledged.push(id);
            }
            Err(_) => return acknowledged,
        }
    }
}

#[tokio::test]
async fn after_a_kill_under_load_every_write_that_happened_has_its_intent() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let next = AtomicUsize::new(0);
    let load = futures_util::future::join_all((0..6).map(|_| write_on(&gateway, &token, &next)));
    let kill = async {
        until("some writes", async || {
            (next.load(Ordering::Relaxed) > 40).then_some(())
        })
        .await;
        gateway.signal(rustix::process::Signal::KILL);
    };
    let (acknowledged, ()) = futures_util::future::join(load, kill).await;
    let acknowledged: BTreeSet<String> = acknowledged.into_iter().flatten().collect();
    gateway.kill().await;

    let gateway = home.start().await;
    let rows = gateway
        .query(
            &token,
            "SELECT ordered_at AS id FROM orders WHERE ordered_at LIKE 'w-%'",
        )
        .await
        .ok();
    let ids: Vec<_> = rows["result"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap().to_owned())
        .collect();
    let done: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(ids.len(), done.len(), "none happened twice");
    assert!(
        acknowledged.len() > 10 && acknowledged.is_subset(&done),
        "what was acknowledged happened"
    );
    let records = home.audit();
    let with = |phase: &str| -> BTreeSet<String> {
        records
            .iter()
            .filter(|r| r["phase"] == phase)
            .filter_map(|r| r["corr_id"].as_str().map(str::to_owned))
            .collect()
    };
    let (intents, outcomes) = (with("intent"), with("outcome"));
    assert!(
        done.is_subset(&intents),
        "written without an intent: {:?}",
        done.difference(&intents)
    );
    assert!(
        acknowledged.is_subset(&outcomes),
        "acknowledged without an outcome: {:?}",
        acknowledged.difference(&outcomes)
    );

    // Repeating under its key does nothing twice, whether the answer had come or not.
    for id in &done {
        let arguments = json!({
            "query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', ?)",
            "params": [id],
        });
        let reply = gateway
            .invoke(&token, "database:executeQuery", &arguments)
            .header("idempotency-key", id)
            .send()
            .await;
        if acknowledged.contains(id) {
            assert_eq!(
                (reply.status, reply.header("x-idempotent-replay")),
                (200, Some("true")),
                "{}",
                reply.text()
            );
        } else {
            assert!(matches!(reply.status, 200 | 409), "{}", reply.text());
        }
    }
    let count = gateway
        .number(
            &token,
            "SELECT count(*) AS n FROM orders WHERE ordered_at LIKE 'w-%'",
        )
        .await;
    assert_eq!(usize::try_from(count).unwrap(), done.len());
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
}

#[tokio::test]
async fn a_log_that_was_edited_stops_the_next_start() {
    // Its records stand in one file.
    not_at_midnight().await;
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    gateway.query(&token, "SELECT 1").await.ok();
    gateway.stop().await;
    let file = home.audit_file("agent-1");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("agent-1", "agent-2", 1)).unwrap();
    let output = home.run(&["serve", "--bind", "127.0.0.1:0"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("audit verify"), "{said}");
}

#[tokio::test]
async fn what_has_begun_is_finished_and_recorded_when_its_client_is_gone() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let slow = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'gone' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) FROM c)",
    });
    let ask = gateway
        .invoke(&token, "database:executeQuery", &slow)
        .header("x-correlation-id", "gone-1");
    let begun = until("the call to run", async || {
        (!home.audit_of("gone-1").is_empty()).then_some(())
    });
    // Once it runs, nobody polls the request any more: its connection closes.
    futures_util::future::select(Box::pin(ask.send()), Box::pin(begun)).await;
    let outcome = until("its outcome", async || {
        home.audit_of("gone-1")
            .into_iter()
            .find(|r| r["phase"] == "outcome")
    })
    .await;
    assert_eq!(outcome["status"], "success", "{outcome}");
    assert_eq!(
        gateway
            .number(
                &token,
                "SELECT count(*) AS n FROM orders WHERE ordered_at = 'gone'"
            )
            .await,
        1
    );
}

#[tokio::test]
async fn what_the_mcp_door_refuses_before_it_is_a_call_is_recorded() {
    let home = Home::new();
    let gateway = home.start().await;
    let (token, other) = (
        home.role("eve", "data-analyst").await,
        home.role("al", "data-analyst").await,
    );
    let session = gateway.legacy(&other, json!({})).await.session;
    let asked = json!({"name": "database_listTables", "arguments": {}});
    let call = modern("tools/call", asked, &json!({}));
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    let ask = |corr_id: &str| {
        gateway
            .ask("POST", "/mcp")
            .bearer(&token)
            .header("x-correlation-id", corr_id)
    };
    let usual = |ask: Ask| ask.header("accept", "application/json, text/event-stream");
    let newest = |ask: Ask| {
        ask.header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
    };
    let refused = [
        (
            "name",
            newest(usual(ask("name")))
                .header("mcp-name", "ads_createCampaign")
                .json(&call),
            400,
        ),
        (
            "names",
            newest(usual(ask("names")))
                .header("mcp-name", "database_listTables")
                .header("mcp-name", "database_listTables")
                .json(&call),
            400,
        ),
        (
            "session",
            usual(ask("session"))
                .header("mcp-session-id", &session)
                .json(&list),
            404,
        ),
        ("text", usual(ask("text")).body("{"), 400),
        (
            "accept",
            ask("accept").header("accept", "image/png").json(&call),
            406,
        ),
        (
            "origin",
            usual(ask("origin"))
                .header("origin", "https://evil.example")
                .json(&call),
            403,
        ),
    ];
    for (corr_id, request, status) in refused {
        let reply = request.send().await;
        assert_eq!(reply.status, status, "{corr_id}: {}", reply.text());
        let record = until(corr_id, async || home.audit_of(corr_id).pop()).await;
        let shown = (&record["action"], &record["status"]);
        assert_eq!(shown, (&json!("door.refused"), &json!("denied")));
        let sender = if corr_id == "origin" {
            Value::Null
        } else {
            json!("eve")
        };
        assert_eq!(record["sub"], sender, "{record}");
        let reason = record["reason"].as_str().unwrap();
        assert!(!reason.contains(&session), "{reason}");
    }
    let metrics = gateway.get("/metrics").await;
    for line in ["headers\"} 3", "body\"} 1", "session\"} 1", "host\"} 1"] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
    gateway.stop().await;
    assert!(home.verify().await.0);
}

#[tokio::test]
async fn names_that_are_set_are_in_no_record() {
    let home = Home::new();
    let call = async |gateway: &Gateway, corr_id: &str| {
        let token = home.role("ada", "data-analyst").await;
        let call = gateway.invoke(&token, "database:listTables", &json!({}));
        call.header("x-correlation-id", corr_id).send().await.ok();
        home.audit_of(corr_id)[0]["provider_call_meta"].clone()
    };
    let gateway = home.start_with(&[("AUDIT_REDACT", "audience")]).await;
    let told = call(&gateway, "redacted").await;
    assert_eq!(told["audience"], "[REDACTED]", "{told}");
    assert_eq!(told["token_type"], "Bearer", "{told}");
    gateway.stop().await;
    let gateway = home.start().await;
    let told = call(&gateway, "plain").await;
    assert_eq!(told["audience"], "fastmcp:database", "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn buffered_records_are_all_there_at_the_end() {
    let home = Home::new();
    let gateway = home.start_with(&[("AUDIT_MODE", "buffered")]).await;
    let token = home.role("ada", "data-analyst").await;
    for n in 0..20 {
        let call = gateway.invoke(&token, "database:listTables", &json!({}));
        let corr_id = format!("buffered-{n}");
        call.header("x-correlation-id", &corr_id).send().await.ok();
    }
    gateway.stop().await;
    for n in 0..20 {
        let records = home.audit_of(&format!("buffered-{n}"));
        assert_eq!(records.len(), 1, "{records:?}");
    }
    assert!(home.verify().await.0);
}

#[tokio::test]
async fn what_cannot_be_read_of_a_call_is_recorded() {
    const TOOL: &str = "ads:createCampaign";
    const NAME: &str = "ads_createCampaign";

    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let campaign = json!({"name": "Spring sale", "budget": 250, "startDate": "2026-03-01"});
    let asked = gateway
        .modern_call(&token, NAME, &campaign, &json!({}))
        .await;
    let mut records = home.audit().into_iter();
    let operation = records.find(|r| r["status"] == "pending").unwrap()["operation_id"].clone();
    let mcp = |more: Value| {
        let mut params = json!({"name": NAME, "arguments": campaign});
        let members = more.as_object().unwrap().clone();
        params.as_object_mut().unwrap().extend(members);
        gateway.modern(&token, &modern("tools/call", params, &can_be_asked()))
    };
    let rest = |method: &str, path: &str| gateway.ask(method, path).bearer(&token);
    let named = |ask: Ask| ask.header("idempotency-key", "two words");
    let key = json!({"_meta": {"dev.fastmcp/idempotencyKey": "two words"}});
    let perhaps = json!({"inputResponses": {"confirm": {"action": "perhaps"}}, "requestState": asked["requestState"]});
    let shown = format!("/approvals/{}", operation.as_str().unwrap());
    let (tool, catalog, none) = (json!(TOOL), json!("catalog"), Value::Null);
    let unread = [
        (mcp(key), "tools.invoke", &tool, &none),
        (mcp(perhaps), "tools.confirm", &tool, &operation),
        (
            named(rest("GET", "/tool-catalog")),
            "catalog:list",
            &catalog,
            &none,
        ),
        (
            rest("POST", "/manifests/register").body("{"),
            "manifests.register",
            &json!("manifest"),
            &none,
        ),
        (
            named(rest("GET", "/approvals")),
            "approvals.list",
            &catalog,
            &none,
        ),
        (
            rest("GET", "/approvals/x"),
            "approvals.show",
            &json!("x"),
            &none,
        ),
        (
            rest("POST", &shown).body("{"),
            "approvals.decide",
            &operation,
            &none,
        ),
    ];
    for (n, (ask, action, about, of)) in unread.into_iter().enumerate() {
        let id = format!("unread-{n}");
        let reply = ask.header("x-correlation-id", &id).send().await;
        let records = home.audit_of(&id);
        assert_eq!(records.len(), 1, "{action}: {}", reply.text());
        let record = &records[0];
        let kind = match record["resource_id"].as_str() {
            Some(_) => &record["resource_id"],
            None => &record["resource_type"],
        };
        assert_eq!(
            (
                &record["action"],
                kind,
                &record["operation_id"],
                &record["sub"]
            ),
            (&json!(action), about, of, &json!("agent-1")),
            "{record}"
        );
    }
    gateway.stop().await;
    assert!(home.verify().await.0);
}

#[tokio::test]
async fn what_cannot_be_read_of_a_call_counts_as_a_request() {
    let home = Home::new();
    let gateway = home
        .start_with(&[("RATE_LIMIT_DEFAULT_RPS", "1"), ("RATE_BUCKET_BURST", "1")])
        .await;
    let token = home.role("agent-1", "data-analyst").await;
    let key = json!({"_meta": {"dev.fastmcp/idempotencyKey": "two words"}});
    until("the limit", async || {
        let crowd = (0..100).map(async |_| {
            let refused = gateway
                .modern_call(&token, "database_listTables", &json!({}), &key)
                .await;
            refused["structuredContent"]["error"]["code"] == "RATE_LIMITED"
        });
        let limited = futures_util::future::join_all(crowd).await;
        limited.contains(&true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_provider_is_told_and_recorded() {
    let home = Home::new();
    let gateway = home.start_with(&[("REQUEST_TIMEOUT", "5")]).await;
    let token = home.role("agent-1", "data-analyst").await;
    let endless = json!({"query": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"});
    let reply = gateway
        .invoke(&token, "database:executeQuery", &endless)
        .header("x-correlation-id", "late")
        .send()
        .await;
    let error = reply.error(502, "FAILED_DEPENDENCY");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Provider invocation failed"),
        "{error}"
    );
    let records = home.audit_of("late");
    assert_eq!(
        (records.len(), &records[1]["phase"], &records[1]["status"]),
        (2, &json!("outcome"), &json!("failed")),
        "{records:?}"
    );
    gateway.query(&token, "SELECT 1").await.ok();
}

#[tokio::test]
async fn the_address_of_a_client_is_a_proxys_word_only_where_the_proxy_is_trusted() {
    let home = Home::new();
    let address = async |gateway: &Gateway, id: &str| {
        let token = home.role("agent-1", "data-analyst").await;
        let ask = gateway
            .invoke(&token, "database:listTables", &json!({}))
            .header("x-correlation-id", id);
        ask.header("x-forwarded-for", "203.0.113.9, 198.51.100.7")
            .send()
            .await
            .ok();
        home.audit_of(id)[0]["ip_address"].clone()
    };
    let gateway = home.start().await;
    assert_eq!(address(&gateway, "untrusted").await, "127.0.0.1");
    gateway.stop().await;
    let gateway = home
        .start_with(&[("FASTMCP_TRUSTED_PROXIES", "127.0.0.0/8,198.51.100.0/24")])
        .await;
    assert_eq!(address(&gateway, "trusted").await, "203.0.113.9");
}

#[tokio::test]
async fn without_a_record_nothing_is_done() {
    let home = Home::new();
    home.start().await.stop().await;
    let gateway = home.start_on_a_small_disk(300).await;
    let token = home.role("writer", "fs-writer").await;
    let write = async |n: usize| {
        let arguments = json!({"path": format!("f-{n}"), "content": "x"});
        let ask = gateway.invoke(&token, "filesystem:writeFile", &arguments);
        // Records of many lengths: now and then it is an intent that finds no place.
        ask.header("x-correlation-id", &format!("disk-{n}"))
            .header("user-agent", &format!("a{}", "b".repeat(n % 13 * 37)))
            .send()
            .await
    };
    let mut done = Vec::new();
    let refused = loop {
        let n = done.len();
        let reply = write(n).await;
        if reply.status != 200 {
            let error = reply.error(503, "UNAVAILABLE");
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .contains("nothing was done"),
                "{error}"
            );
            break n;
        }
        done.push(n);
        assert!(n < 1_000, "the disk is never full");
    };
    let files = walk(&home.data().join("files"));
    let exists = |n: &usize| files.contains(&format!("f-{n}"));
    assert!(done.iter().all(exists) && !exists(&refused), "{files:?}");
    // The log goes on in a new file, which begins with what it knows of the old one.
    let again = refused + 1;
    until("the log to recover", async || {
        (write(again).await.status == 200).then_some(())
    })
    .await;
    done.push(again);
    assert!(
        home.audit()
            .iter()
            .any(|r| r["action"] == "audit.recovered")
    );
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
    let audit = home.audit();
    let of_phase = |phase: &str| -> BTreeSet<&str> {
        let records = audit.iter().filter(|r| r["phase"] == phase);
        records.filter_map(|r| r["corr_id"].as_str()).collect()
    };
    let (intents, outcomes) = (of_phase("intent"), of_phase("outcome"));
    let all_in = |names: &BTreeSet<&str>| {
        let mut done = done.iter();
        done.all(|n| names.contains(format!("disk-{n}").as_str()))
    };
    assert!(all_in(&intents), "{intents:?}");
    // What the log did not take was kept until it did: how the calls before ended, and that one was refused.
    assert!(all_in(&outcomes), "{outcomes:?}");
    let refused = home.audit_of(&format!("disk-{refused}"));
    assert!(
        refused.iter().any(|r| r["status"] == "failed"),
        "{refused:?}"
    );
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names
}
