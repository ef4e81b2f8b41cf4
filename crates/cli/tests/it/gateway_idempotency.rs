//! The same key, the same call: done once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Ask, Gateway, Home, until};

const COUNT: &str = "SELECT count(*) AS n FROM orders WHERE ordered_at = 'once'";

fn insert() -> Value {
    json!({"query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (?, 'pending', 'once')", "params": [1]})
}

fn keyed(gateway: &Gateway, token: &str, key: &str, arguments: &Value) -> Ask {
    gateway
        .invoke(token, "database:executeQuery", arguments)
        .header("idempotency-key", key)
}

#[tokio::test]
async fn what_is_kept_of_a_call_is_sealed() {
    const MARK: &str = "in-the-clear-4711";

    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let select = json!({"query": "SELECT ? AS mark", "params": [MARK]});
    let first = keyed(&gateway, &token, "sealed", &select).send().await.ok();
    assert_eq!(first["result"]["rows"][0]["mark"], MARK, "{first}");
    let delete = json!({"query": "DELETE FROM orders WHERE status = ?", "params": [MARK]});
    let asked = keyed(&gateway, &token, "asked", &delete).send().await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let ticket = asked.json()["action_token"].as_str().unwrap().to_owned();
    let holds = |text: &str| {
        let entries = std::fs::read_dir(home.data()).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.to_string_lossy().contains("state"));
        files.any(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    };
    assert!(holds("database:executeQuery"), "this is where it is kept");
    assert!(!holds(MARK), "neither arguments nor results");
    assert!(!holds(&ticket), "nor tickets");
    let again = keyed(&gateway, &token, "sealed", &select).send().await;
    assert_eq!(again.header("x-idempotent-replay"), Some("true"));
    assert_eq!(again.ok(), first);
}

#[tokio::test]
async fn a_repeated_call_is_replayed_and_not_done_again() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let first = keyed(&gateway, &token, "key-1", &insert()).send().await;
    assert_eq!(first.header("x-idempotent-replay"), None);
    let done = first.ok();
    for _ in 0..3 {
        let again = keyed(&gateway, &token, "key-1", &insert()).send().await;
        assert_eq!(
            (again.ok(), again.header("x-idempotent-replay")),
            (done.clone(), Some("true"))
        );
    }
    assert_eq!(gateway.number(&token, COUNT).await, 1);
    let other = keyed(&gateway, &token, "key-2", &insert()).send().await;
    assert_eq!(
        (other.status, other.header("x-idempotent-replay")),
        (200, None)
    );
    assert_eq!(gateway.number(&token, COUNT).await, 2);
    gateway.stop().await;
    let gateway = home.start().await;
    let after = keyed(&gateway, &token, "key-1", &insert()).send().await;
    assert_eq!(
        (after.ok(), after.header("x-idempotent-replay")),
        (done, Some("true")),
        "after a restart"
    );
    assert_eq!(gateway.number(&token, COUNT).await, 2);
}

#[tokio::test]
async fn records_of_what_was_asked_for_before_name_its_operation() {
    let home = Home::new();
    let gateway = home.start().await;
    let roles = ["--role", "data-admin", "--role", "finance-write"];
    let token = home.mint("writer", &roles).await;
    let keyed = async |arguments: Value, corr_id: &str| {
        let ask = keyed(&gateway, &token, "key-1", &arguments);
        ask.header("x-correlation-id", corr_id).send().await.status
    };
    assert_eq!(keyed(insert(), "first").await, 200);
    assert_eq!(keyed(insert(), "replayed").await, 200);
    assert_eq!(keyed(json!({"query": "SELECT 1"}), "other").await, 409);
    let campaign = json!({"name": "Spring", "budget": 1, "startDate": "2027-03-01"});
    let asked = gateway.invoke(&token, "ads:createCampaign", &campaign);
    let asked = asked.header("x-correlation-id", "asked").send().await;
    let mut confirmed = campaign;
    let action_token = asked.json()["action_token"].as_str().unwrap().to_owned();
    confirmed["action_token"] = action_token.into();
    for (corr_id, status) in [("confirmed", 200), ("again", 409)] {
        let ask = gateway.confirm(&token, "ads:createCampaign", &confirmed);
        let reply = ask.header("x-correlation-id", corr_id).send().await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    gateway.stop().await;
    let operation = |corr_id: &str| {
        let last = home.audit_of(corr_id).pop().unwrap();
        let id = last["operation_id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no operation: {last}"))
    };
    for (same, first) in [
        ("replayed", "first"),
        ("other", "first"),
        ("confirmed", "asked"),
        ("again", "asked"),
    ] {
        assert_eq!(operation(same), operation(first), "{same}");
    }
}

#[tokio::test]
async fn the_same_key_with_other_arguments_is_a_conflict() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    keyed(&gateway, &token, "key-1", &insert())
        .send()
        .await
        .ok();
    let mut other = insert();
    other["params"] = json!([2]);
    let error = keyed(&gateway, &token, "key-1", &other)
        .send()
        .await
        .error(409, "CONFLICT");
    assert_eq!(
        error["details"]["reason"], "idempotency_conflict",
        "{error}"
    );
    assert_eq!(gateway.number(&token, COUNT).await, 1);
    // The same arguments written otherwise are the same arguments.
    let same = r#" {"params":[1.0], "query":"INSERT INTO orders (customer_id, status, ordered_at) VALUES (?, 'pending', 'once')"} "#;
    let same = gateway
        .ask("POST", "/tools/database:executeQuery/invoke")
        .bearer(&token)
        .header("idempotency-key", "key-1")
        .body(same);
    let reply = same.send().await;
    assert_eq!(
        (reply.status, reply.header("x-idempotent-replay")),
        (200, Some("true")),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_key_means_nothing_to_another_subject_tenant_or_tool() {
    let home = Home::new();
    let gateway = home.start().await;
    let tokens = [
        home.role("writer", "data-admin").await,
        home.role("other", "data-admin").await,
        home.mint("writer", &["--role", "data-admin", "--tenant", "acme"])
            .await,
    ];
    let mut rows = BTreeSet::new();
    for token in &tokens {
        let reply = keyed(&gateway, token, "shared-key", &insert()).send().await;
        assert_eq!(
            reply.header("x-idempotent-replay"),
            None,
            "{}",
            reply.text()
        );
        rows.insert(reply.ok()["result"]["last_insert_rowid"].as_i64().unwrap());
    }
    assert_eq!(rows.len(), 3);
    assert_eq!(gateway.number(&tokens[0], COUNT).await, 3);
    let tables = gateway
        .invoke(&tokens[0], "database:listTables", &json!({}))
        .header("idempotency-key", "shared-key")
        .send()
        .await;
    assert_eq!(tables.header("x-idempotent-replay"), None);
    assert!(tables.ok()["result"]["tables"].is_array());
}

#[tokio::test]
async fn at_once_under_one_key_it_is_done_once() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let arguments = insert();
    let replies = futures_util::future::join_all(
        (0..16).map(|_| keyed(&gateway, &token, "crowd", &arguments).send()),
    )
    .await;
    let mut first = 0;
    for reply in &replies {
        match (reply.status, reply.header("x-idempotent-replay")) {
            (200, None) => first += 1,
            (200, Some("true")) => {}
            _ => {
                let error = reply.error(409, "CONFLICT");
                assert_eq!(error["details"]["reason"], "in_progress", "{error}");
                assert!(
                    reply
                        .header("retry-after")
                        .is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s >= 1)),
                    "{reply:?}"
                );
            }
        }
    }
    assert_eq!(
        first,
        1,
        "{:?}",
        replies.iter().map(|r| r.status).collect::<Vec<_>>()
    );
    assert_eq!(gateway.number(&token, COUNT).await, 1);
}

#[tokio::test]
async fn a_key_waits_with_the_call_that_it_names() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let arguments = json!({"name": "A", "budget": 1, "startDate": "2026-03-01"});
    let invoke = || {
        gateway
            .invoke(&token, "ads:createCampaign", &arguments)
            .header("idempotency-key", "ask-1")
    };
    let (first, second) = (invoke().send().await, invoke().send().await);
    assert_eq!((first.status, second.status), (202, 202));
    assert_eq!(
        first.json()["operation_id"],
        second.json()["operation_id"],
        "one operation, however often it is asked for"
    );
    let mut body = arguments.clone();
    body["action_token"] = second.json()["action_token"].clone();
    let done = gateway
        .confirm(&token, "ads:createCampaign", &body)
        .send()
        .await
        .ok();
    let replay = invoke().send().await;
    assert_eq!(
        (&replay.ok()["result"], replay.header("x-idempotent-replay")),
        (&done["result"], Some("true"))
    );
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let home = Home::new();
    let gateway = home.start_with(&[("IDEMPOTENCY_TTL_SEC", "1")]).await;
    let token = home.role("writer", "data-admin").await;
    keyed(&gateway, &token, "short", &insert())
        .send()
        .await
        .ok();
    until("the key to be forgotten", async || {
        let reply = keyed(&gateway, &token, "short", &insert()).send().await;
        reply.ok();
        reply.header("x-idempotent-replay").is_none().then_some(())
    })
    .await;
    assert_eq!(gateway.number(&token, COUNT).await, 2);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_by_name() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    for key in ["", "with space", &"k".repeat(256)] {
        let error = keyed(&gateway, &token, key, &insert())
            .send()
            .await
            .error(422, "VALIDATION_ERROR");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key"),
            "{error}"
        );
    }
    assert_eq!(gateway.number(&token, COUNT).await, 0);
}

#[tokio::test]
async fn while_it_runs_a_second_call_is_told_to_come_back() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("writer", "data-admin").await;
    let slow = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'once' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT count(*) FROM c)",
    });
    let first = keyed(&gateway, &token, "slow", &slow)
        .header("x-correlation-id", "slow-1")
        .send();
    let meanwhile = async {
        until("the first call to run", async || {
            (!home.audit_of("slow-1").is_empty()).then_some(())
        })
        .await;
        keyed(&gateway, &token, "slow", &slow).send().await
    };
    let (first, second) = futures_util::future::join(first, meanwhile).await;
    assert_eq!(first.ok()["result"]["rows_affected"], 1);
    let error = second.error(409, "CONFLICT");
    assert_eq!(error["details"]["reason"], "in_progress", "{error}");
    assert!(
        second
            .header("retry-after")
            .is_some_and(|s| s.parse::<u64>().is_ok_and(|s| s >= 1)),
        "{second:?}"
    );
    let third = keyed(&gateway, &token, "slow", &slow).send().await;
    assert_eq!(
        (third.ok(), third.header("x-idempotent-replay")),
        (first.json(), Some("true"))
    );
    assert_eq!(gateway.number(&token, COUNT).await, 1);
}

#[tokio::test]
async fn where_it_is_set_a_second_call_waits_for_the_first() {
    let home = Home::new();
    let gateway = home.start_with(&[("IDEMPOTENCY_WAIT_SEC", "60")]).await;
    let token = home.role("writer", "data-admin").await;
    let slow = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'once' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) FROM c)",
    });
    let replies = futures_util::future::join_all(
        (0..6).map(|_| keyed(&gateway, &token, "slow", &slow).send()),
    )
    .await;
    let done: BTreeSet<String> = replies
        .iter()
        .map(|reply| reply.ok()["result"].to_string())
        .collect();
    assert_eq!(done.len(), 1, "all of them hear of the same call");
    let replayed = replies
        .iter()
        .filter(|reply| reply.header("x-idempotent-replay") == Some("true"));
    assert_eq!(replayed.count(), 5);
    assert_eq!(gateway.number(&token, COUNT).await, 1);
}

#[tokio::test]
async fn where_the_first_fails_those_who_wait_go_on_waiting() {
    let home = Home::new();
    let gateway = home.start_with(&[("IDEMPOTENCY_WAIT_SEC", "60")]).await;
    let token = home.role("writer", "data-admin").await;
    let failing = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT NULL, 'pending', 'once' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c)",
    });
    let replies = futures_util::future::join_all(
        (0..4).map(|_| keyed(&gateway, &token, "failing", &failing).send()),
    )
    .await;
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(
        statuses, [422; 4],
        "each heard of its own failure: {replies:?}"
    );
}

#[tokio::test]
async fn what_a_kill_interrupts_is_unknown_and_is_never_done_twice() {
    let home = Home::new();
    // A claim outlives its call by 15 seconds: then the gateway says what it knows.
    let vars = [("REQUEST_TIMEOUT", "10")];
    let gateway = home.start_with(&vars).await;
    let token = home.role("writer", "data-admin").await;
    let slow = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'once' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000000) SELECT count(*) FROM c)",
    });
    let call = keyed(&gateway, &token, "killed", &slow).attempt();
    let kill = async {
        // From here on it may have acted; a kill before would leave a call that certainly did not.
        let acting = ["operations", "list", "--status", "intended", "--json"];
        until("the call to act", async || {
            (!home.run(&acting, &vars).await.stdout.is_empty()).then_some(())
        })
        .await;
        gateway.signal(rustix::process::Signal::KILL);
    };
    let (answer, ()) = futures_util::future::join(call, kill).await;
    assert!(answer.is_err(), "{answer:?}");
    gateway.kill().await;

    let gateway = home.start_with(&vars).await;
    let before = gateway.number(&token, COUNT).await;
    let unknown = until("the claim to end", async || {
        let reply = keyed(&gateway, &token, "killed", &slow).send().await;
        let error = reply.error(409, "CONFLICT");
        let reason = error["details"]["reason"].as_str().unwrap().to_owned();
        assert!(
            ["in_progress", "unknown_outcome"].contains(&reason.as_str()),
            "{error}"
        );
        (reason == "unknown_outcome").then_some(error)
    })
    .await;
    assert_eq!(unknown["details"]["status"], "unknown", "{unknown}");
    assert_eq!(
        gateway.number(&token, COUNT).await,
        before,
        "asking did nothing"
    );
    let mut other = slow.clone();
    other["params"] = json!([]);
    let error = keyed(&gateway, &token, "killed", &other)
        .send()
        .await
        .error(409, "CONFLICT");
    assert_eq!(
        error["details"]["reason"], "idempotency_conflict",
        "{error}"
    );
}
