//! The record beyond the log: other systems are told, replicas vouch for each other, the MCP door leaves what REST's does.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::net::{TcpSocket, UdpSocket};

use crate::support::{Gateway, Home, accept, decline, modern, until, within};

#[tokio::test]
async fn syslog_hears_of_calls_and_a_dead_collector_holds_none_up() {
    let home = Home::new();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let syslog = format!("udp://{}", socket.local_addr().unwrap());
    // Nobody listens there, nor gets it meanwhile.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = format!("http://{}/in", port.local_addr().unwrap());
    let gateway = home
        .start_with(&[
            ("AUDIT_SYSLOG_URL", syslog.as_str()),
            ("AUDIT_HTTP_URL", dead.as_str()),
        ])
        .await;
    let token = home.role("agent-1", "data-analyst").await;
    let ask = gateway.invoke(&token, "database:listTables", &json!({}));
    ask.header("x-correlation-id", "told-1").send().await.ok();
    let mut buffer = vec![0; 65_536];
    let message = within("the record", async {
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if text.contains("told-1") {
                return text;
            }
        }
    })
    .await;
    let line = message.split_once(" - tools.invoke - ").unwrap().1;
    let recorded = home.audit_of("told-1");
    assert_eq!(serde_json::from_str::<Value>(line).unwrap(), recorded[0]);

    let ready = until("the dead one to be noticed", async || {
        let ready = gateway.get("/ready").await.ok();
        (ready["degraded"].get("audit.http").is_some()).then_some(ready)
    })
    .await;
    assert_eq!(ready["ready"], true);
    let exports = &ready["dependencies"]["audit"]["exports"];
    assert_eq!(
        (&exports["syslog"]["ready"], &exports["http"]["ready"]),
        (&json!(true), &json!(false)),
        "{ready}"
    );
    assert!(exports["http"]["waiting"].as_u64().unwrap() > 0, "{ready}");
    let metrics = gateway.get("/metrics").await;
    let sent = "fastmcp_audit_exported_records_total{sink=\"syslog\",outcome=\"sent\"}";
    assert!(metrics.text().contains(sent), "{}", metrics.text());
    for gauge in [
        "records",
        "unsigned_records",
        "waiting_records",
        "lost_records",
    ] {
        let line = format!("fastmcp_audit_{gauge} ");
        assert!(
            metrics.text().lines().any(|l| l.starts_with(&line)),
            "{gauge}: {}",
            metrics.text()
        );
    }
    gateway.query(&token, "SELECT 1").await.ok();
    gateway.stop().await;
}

#[tokio::test]
async fn a_replica_whose_log_went_back_is_found_by_its_peer() {
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path().to_str().unwrap();
    let (one, two) = (Home::new(), Home::new());
    let vars = |instance: &'static str| {
        [
            ("FASTMCP_INSTANCE", instance),
            ("AUDIT_PEERS_DIR", folder),
            ("AUDIT_PEERS_INTERVAL_SEC", "1"),
        ]
    };
    one.start_with(&vars("gw-1")).await.stop().await;
    let older = one.folder().join("older");
    copy(&one.data().join("audit"), &older);

    let (first, second) = (
        one.start_with(&vars("gw-1")).await,
        two.start_with(&vars("gw-2")).await,
    );
    let token = one.role("agent-1", "data-analyst").await;
    first.query(&token, "SELECT 1").await.ok();
    let size = one.audit().len() as u64;
    until("the peer to write it down", async || {
        two.audit()
            .iter()
            .any(|r| {
                r["resource_id"] == "gw-1/audit" && r["details"]["size"].as_u64() >= Some(size)
            })
            .then_some(())
    })
    .await;
    until("it to write the peer down", async || {
        one.audit()
            .iter()
            .any(|r| r["resource_id"] == "gw-2/audit")
            .then_some(())
    })
    .await;
    first.stop().await;
    let logs = [one.data().join("audit"), two.data().join("audit")];
    let keys = [one.data().join("audit.vkey"), two.data().join("audit.vkey")];
    let verify = [
        "audit",
        "verify",
        "--json",
        logs[0].to_str().unwrap(),
        logs[1].to_str().unwrap(),
        "--vkey",
        keys[0].to_str().unwrap(),
        "--vkey",
        keys[1].to_str().unwrap(),
    ];
    let whole = one.run(&verify, &[]).await;
    let report: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(
        (&report["ok"], whole.status.code()),
        (&json!(true), Some(0)),
        "{report}"
    );
    assert!(
        report["logs"][0]["held_against"].as_u64().unwrap() > 0,
        "{report}"
    );

    fs::remove_dir_all(&logs[0]).unwrap();
    copy(&older, &logs[0]);
    let first = one.start_with(&vars("gw-1")).await;
    until("the peer to say so", async || {
        two.audit()
            .iter()
            .any(|r| r["resource_id"] == "gw-1/audit" && r["status"] == "failed")
            .then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;
    let (passed, said) = one.verify().await;
    assert!(passed, "by itself it is whole: {said}");
    let found = one.run(&verify, &[]).await;
    assert_eq!(found.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let error = report["logs"][0]["error"].as_str().unwrap();
    assert!(error.contains("`gw-2/audit` wrote down"), "{report}");
    assert_eq!(report["logs"][1]["ok"], true, "{report}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn the_mcp_door_records_listings_and_unknown_tools_in_both_eras() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let list = gateway.modern(&token, &modern("tools/list", json!({}), &json!({})));
    list.header("x-correlation-id", "m-list").send().await.ok();
    let call = modern(
        "tools/call",
        json!({"name": "no_such", "arguments": {}}),
        &json!({}),
    );
    let unknown = gateway
        .modern(&token, &call)
        .header("x-correlation-id", "m-lost");
    let unknown: Value = unknown.send().await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let session = gateway.legacy(&token, json!({})).await;
    let shown = session.answer("tools/list", json!({})).await;
    assert_eq!(
        shown["result"]["tools"].as_array().unwrap().len(),
        3,
        "{shown}"
    );
    let lost = json!({"name": "no_such_either", "arguments": {}});
    let unknown = session.answer("tools/call", lost).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    let listed = &home.audit_of("m-list")[0];
    assert_eq!(
        (&listed["action"], &listed["status"]),
        (&json!("catalog:list"), &json!("success"))
    );
    assert!(listed["policy_ids"][0].is_string(), "{listed}");
    let lost = home.audit_of("m-lost");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(
        (&lost[0]["action"], &lost[0]["status"], &lost[0]["toolId"]),
        (&json!("tools.invoke"), &json!("denied"), &json!("no_such"))
    );
    let all = home.audit();
    let of = |action: &str| all.iter().filter(|r| r["action"] == action).count();
    assert_eq!((of("catalog:list"), of("tools.invoke")), (2, 2));
    assert!(all.iter().any(|r| r["toolId"] == "no_such_either"));
}

#[tokio::test]
async fn who_may_not_list_is_told_so_at_both_doors() {
    let home = Home::new();
    home.start().await.stop().await;
    let text = fs::read_to_string(home.policies()).unwrap();
    let closed = text.replacen(
        "      action: catalog:list\n",
        "      action: catalog:list\n      subject.roles: [\"agent\"]\n",
        1,
    );
    assert_ne!(text, closed);
    fs::write(home.policies(), closed).unwrap();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    gateway.catalogue(&token).await.error(403, "FORBIDDEN");
    let list = gateway.modern(&token, &modern("tools/list", json!({}), &json!({})));
    let refused = list
        .header("x-correlation-id", "m-denied")
        .send()
        .await
        .json();
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Access denied"),
        "{refused}"
    );
    let record = &home.audit_of("m-denied")[0];
    assert_eq!(
        (&record["action"], &record["status"]),
        (&json!("catalog:list"), &json!("denied")),
        "{record}"
    );
    // Calling is another matter.
    gateway.query(&token, "SELECT 1").await.ok();
}

#[tokio::test]
async fn secrets_do_not_get_into_the_record() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let secret = "hunter2-correct-horse";
    let calls = [
        (
            "database:getSchema",
            json!({"table": secret, "password": secret}),
        ),
        (
            "database:executeQuery",
            json!({"query": format!("SELECT '{secret}' AS a, '{token}' AS b")}),
        ),
        (
            "database:executeQuery",
            json!({"query": format!("SELECT FROM '{token}' WHERE '{secret}'")}),
        ),
        ("ads:createCampaign", json!({"name": secret})),
    ];
    for (tool, arguments) in &calls {
        let ask = gateway.invoke(&token, tool, arguments);
        ask.header("user-agent", &format!("probe {token}"))
            .send()
            .await;
    }
    gateway
        .ask("GET", "/tool-catalog")
        .bearer("not.a.token")
        .send()
        .await
        .error(401, "UNAUTHORIZED");
    gateway.stop().await;
    let log: String = home
        .audit_files()
        .iter()
        .map(|f| fs::read_to_string(f).unwrap())
        .collect();
    assert!(!log.contains(&token), "the token that was sent");
    assert!(!log.contains(secret), "values of arguments");
    assert!(log.contains("probe [REDACTED]"), "{log}");
    assert!(home.audit().iter().any(|r| {
        r["request_hash"]
            .as_str()
            .is_some_and(|h| h.starts_with("hmac-sha256:"))
    }));
}

/// The whole disk is full, not one file: nothing can be written at all.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_refuses_writes_and_says_so_on_ready() {
    let home = Home::new();
    home.start().await.stop().await;
    let blocks = 1_u32 << 20;
    let gateway = home.start_on_a_small_disk(blocks).await;
    let token = home.role("writer", "fs-writer").await;
    let limit = |bytes: u64| limit_files(&gateway, bytes, u64::from(blocks) * 512);
    let write = async |path: &str| {
        let arguments = json!({"path": path, "content": "x"});
        gateway
            .invoke(&token, "filesystem:writeFile", &arguments)
            .send()
            .await
    };
    write("before").await.ok();
    limit(0);
    write("during").await.error(503, "UNAVAILABLE");
    let ready = gateway.get("/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    let audit = ready.json()["dependencies"]["audit"].clone();
    assert_eq!(audit["ready"], false, "{audit}");
    assert!(audit["reason"].is_string(), "{audit}");
    limit(u64::from(blocks) * 512);
    until("the log to recover", async || {
        (write("after").await.status == 200).then_some(())
    })
    .await;
    until("it to be ready", async || {
        (gateway.get("/ready").await.status == 200).then_some(())
    })
    .await;
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
    let files = home.data().join("files");
    assert!(!exists(&files, "during") && exists(&files, "after"));
}

/// What the log may not record does not become of an operation either: it waits still.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_no_that_cannot_be_recorded_is_not_taken() {
    const TOOL: &str = "ads:createCampaign";
    const NAME: &str = "ads_createCampaign";

    let campaign = json!({"name": "Spring sale", "budget": 250, "startDate": "2026-03-01"});
    for over_mcp in [false, true] {
        let home = Home::new();
        home.start().await.stop().await;
        let blocks = 1_u32 << 20;
        let gateway = home.start_on_a_small_disk(blocks).await;
        let token = home.role("agent-1", "finance-write").await;
        let rest = gateway.invoke(&token, TOOL, &campaign).send().await.json();
        let asked = gateway
            .modern_call(&token, NAME, &campaign, &json!({}))
            .await;
        let answer = async |said: Value| {
            let more =
                json!({"inputResponses": {"confirm": said}, "requestState": asked["requestState"]});
            gateway.modern_call(&token, NAME, &campaign, &more).await
        };
        // The log becomes longer than what the state is written to, and then than any file may be.
        let state = fs::metadata(home.data().join("state.db-wal")).unwrap();
        let most = state.len() + (64 << 10);
        while fs::metadata(home.audit_files().pop().unwrap())
            .unwrap()
            .len()
            < most + (128 << 10)
        {
            gateway.catalogue(&token).await.ok();
        }
        limit_files(&gateway, most, u64::from(blocks) * 512);
        let said = if over_mcp {
            answer(decline()).await["structuredContent"]["error"].clone()
        } else {
            let ask = gateway.ask("POST", &format!("/tools/{TOOL}/decline"));
            let body = json!({"action_token": rest["action_token"]});
            let reply = ask.bearer(&token).json(&body).send().await;
            reply.json()["error"].clone()
        };
        assert_eq!(said["code"], "UNAVAILABLE", "{said}");
        let message = said["message"].as_str().unwrap();
        assert!(message.contains("nothing was done"), "{said}");
        limit_files(&gateway, u64::from(blocks) * 512, u64::from(blocks) * 512);
        until("the log to recover", async || {
            let done = answer(accept()).await["structuredContent"].clone();
            let away = done["error"]["code"] == "UNAVAILABLE";
            assert!(away || done["campaignId"].is_string(), "{done}");
            (!away).then_some(())
        })
        .await;
    }
}

/// No file of the gateway can grow beyond `bytes` any more; at `most` it can be taken back.
#[cfg(target_os = "linux")]
fn limit_files(gateway: &Gateway, bytes: u64, most: u64) {
    use rustix::process::{Resource, Rlimit, prlimit};

    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(most),
    };
    prlimit(Some(gateway.pid()), Resource::Fsize, limit).unwrap();
}

#[cfg(target_os = "linux")]
fn exists(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => exists(&entry.path(), name),
            false => entry.file_name() == name,
        }
    })
}

#[tokio::test]
async fn a_call_that_no_record_can_hold_is_not_done_and_its_caller_is_told_why() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    let built_in = include_str!("../../../policy/policies.yml");
    let role = "roles:\n  wide: [database.read, database.execute, database.write, \"tools.invoke:write\"]\n";
    let rule = |n| {
        format!(
            "\n  - {{id: wide-{n}, effect: allow, when: {{action: tools.invoke, subject.roles: [wide]}}}}"
        )
    };
    let rules: String = (0..300).map(rule).collect();
    let policies = built_in.replacen("roles:\n", role, 1);
    std::fs::write(home.policies(), format!("{policies}{rules}\n")).unwrap();
    let gateway = home.start().await;
    let (wide, admin) = (
        home.role("agent-1", "wide").await,
        home.role("agent-2", "data-admin").await,
    );
    let count = "SELECT count(*) FROM orders";
    let before = gateway.number(&admin, count).await;
    let insert =
        "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', 'trail')";
    let ask = gateway.invoke(&wide, "database:executeQuery", &json!({"query": insert}));
    let refused = ask.header("x-correlation-id", "wide-1").send().await;
    let error = refused.error(422, "VALIDATION_ERROR");
    assert_eq!(error["details"]["field"], "policy_ids", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("has 300 entries, at most 256"), "{error}");
    assert_eq!(gateway.number(&admin, count).await, before);
    let recorded = home.audit_of("wide-1");
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(
        (&recorded[0]["phase"], &recorded[0]["status"]),
        (&json!("event"), &json!("failed"))
    );
    let left_out = recorded[0]["details"]["left_out"].as_array().unwrap();
    assert!(left_out.contains(&json!("policy_ids")), "{recorded:?}");
    let ready = gateway.get("/ready").await.ok();
    assert_eq!(ready["degraded"], json!({}), "{ready}");
}
