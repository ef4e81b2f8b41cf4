//! Limits of a file, and limits that replicas share.

use std::fs;

use fastmcp_services::Redis;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, not_at_midnight, until};

const TABLES: &str = "database:listTables";
const CAMPAIGN: &str = "ads:createCampaign";

/// A place whose limits are `rules` alone.
fn home_with(rules: &str) -> Home {
    let home = Home::new();
    write(&home, rules);
    home
}

fn write(home: &Home, rules: &str) {
    let text = format!("default: false\nrules:\n{rules}");
    fs::write(home.folder().join("limits.yml"), text).unwrap();
}

/// Starts a gateway over those limits. No day ends while they count.
async fn start(home: &Home, vars: &[(&str, &str)]) -> Gateway {
    not_at_midnight().await;
    let file = [("RATE_LIMIT_FILE", "limits.yml")];
    home.start_with(&[&file, vars].concat()).await
}

async fn tables(gateway: &Gateway, token: &str) -> Reply {
    gateway.invoke(token, TABLES, &json!({})).send().await
}

fn campaign() -> Value {
    json!({"name": "Spring sale", "budget": 250.5, "startDate": "2026-03-01"})
}

fn insert(id: u32) -> Value {
    json!({"query": "INSERT INTO orders (customer_id, status, ordered_at) VALUES (?, 'pending', 'once')", "params": [id]})
}

async fn keyed(gateway: &Gateway, token: &str, id: u32) -> Reply {
    gateway
        .invoke(token, "database:executeQuery", &insert(id))
        .header("idempotency-key", &format!("key-{id}"))
        .send()
        .await
}

#[tokio::test]
async fn a_rule_of_the_file_holds_on_both_doors_and_is_named_in_answer_record_and_metric() {
    let home = home_with(
        "  - {name: daily, key: [tenant], match: {tools: \"database:*\"}, quota: {max: 3, per: day}}\n",
    );
    let gateway = start(&home, &[]).await;
    let token = home.role("agent-1", "data-analyst").await;
    let first = gateway
        .invoke(&token, TABLES, &json!({}))
        .header("x-correlation-id", "let-in")
        .send()
        .await;
    first.ok();
    let other = home.role("agent-2", "data-analyst").await;
    tables(&gateway, &other).await.ok();
    gateway
        .modern_call(&token, "database_listTables", &json!({}), &json!({}))
        .await;

    let refused = gateway
        .invoke(&token, TABLES, &json!({}))
        .header("x-correlation-id", "refused")
        .send()
        .await;
    let error = refused.error(429, "RATE_LIMITED");
    let details = &error["details"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Rate limit exceeded"),
        "{error}"
    );
    assert_eq!(
        (&details["rule"], &details["limit"], &details["remaining"]),
        (&json!("daily"), &json!(3), &json!(0)),
        "{error}"
    );
    assert!(
        details["reset"].as_str().unwrap().ends_with("T00:00:00Z"),
        "{error}"
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(
        (1..=86_400).contains(&wait) && details["retry_after"] == wait,
        "{error}"
    );
    let call = gateway
        .modern_call(&token, "database_listTables", &json!({}), &json!({}))
        .await;
    assert_eq!(call["isError"], true, "{call}");
    let told = &call["structuredContent"]["error"];
    assert_eq!(
        (&told["code"], &told["details"]["rule"]),
        (&json!("RATE_LIMITED"), &json!("daily"))
    );

    let tenant = home
        .mint("agent-1", &["--role", "data-analyst", "--tenant", "acme"])
        .await;
    tables(&gateway, &tenant).await.ok();
    assert_eq!(
        home.audit_of("let-in")[0]["rate_limit"],
        json!({"rule": "daily", "limit": 3, "remaining": 2})
    );
    let record = &home.audit_of("refused")[0];
    assert_eq!(
        (&record["status"], &record["rate_limit"]["rule"]),
        (&json!("denied"), &json!("daily"))
    );
    let metrics = gateway.get("/metrics").await;
    for line in [
        r#"fastmcp_limit_decisions_total{rule="daily",outcome="allowed"} 4"#,
        r#"fastmcp_limit_decisions_total{rule="daily",outcome="refused"} 2"#,
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    let ready = gateway.get("/ready").await.ok();
    assert!(ready["dependencies"].get("redis").is_none(), "{ready}");
}

#[tokio::test]
async fn replays_and_confirmations_cost_nothing_twice() {
    let home = home_with("  - {name: few, key: [subject], quota: {max: 2, per: month}}\n");
    let gateway = start(&home, &[]).await;
    let token = home
        .mint(
            "writer",
            &["--role", "data-admin", "--role", "finance-write"],
        )
        .await;
    let done = keyed(&gateway, &token, 1).await.ok();
    for _ in 0..3 {
        assert_eq!(keyed(&gateway, &token, 1).await.ok(), done);
    }
    keyed(&gateway, &token, 2).await.ok();
    keyed(&gateway, &token, 3).await.error(429, "RATE_LIMITED");
    let again = keyed(&gateway, &token, 1).await;
    assert_eq!(
        again.header("x-idempotent-replay"),
        Some("true"),
        "even where nothing is left"
    );
    assert_eq!(again.ok(), done);
    keyed(&gateway, &token, 3).await.error(429, "RATE_LIMITED");

    let buyer = home.role("buyer", "finance-write").await;
    let mut tickets = Vec::new();
    for name in ["Spring", "Autumn"] {
        let mut body = campaign();
        body["name"] = name.into();
        let asked = gateway.invoke(&buyer, CAMPAIGN, &body).send().await;
        assert_eq!(asked.status, 202, "{}", asked.text());
        body["action_token"] = asked.json()["action_token"].clone();
        tickets.push(body);
    }
    for body in tickets {
        gateway.confirm(&buyer, CAMPAIGN, &body).send().await.ok();
    }
    let refused = gateway.invoke(&buyer, CAMPAIGN, &campaign()).send().await;
    refused.error(429, "RATE_LIMITED");
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
}

#[tokio::test]
async fn what_is_refused_before_it_acts_costs_nothing() {
    let home = home_with("  - {name: few, key: [subject], quota: {max: 1, per: day}}\n");
    let gateway = start(&home, &[]).await;
    let analyst = home.role("agent-1", "data-analyst").await;
    for _ in 0..3 {
        let forbidden = gateway.invoke(&analyst, CAMPAIGN, &campaign()).send().await;
        forbidden.error(403, "FORBIDDEN");
        let unfit = gateway
            .invoke(&analyst, "database:getSchema", &json!({}))
            .send()
            .await;
        unfit.error(422, "VALIDATION_ERROR");
    }
    tables(&gateway, &analyst).await.ok();
    tables(&gateway, &analyst).await.error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_budget_is_spent_by_what_manifests_say_that_calls_cost() {
    let home = home_with("  - {name: spend, key: [tenant], budget: {max: 1.2, per: month}}\n");
    let gateway = start(&home, &[]).await;
    let admin = home
        .mint(
            "boss",
            &[
                "--role",
                "admin",
                "--role",
                "data-analyst",
                "--tenant",
                "acme",
            ],
        )
        .await;
    let manifest = json!({
        "toolId": "database:ourTables",
        "name": "Tables of our shop",
        "description": "Lists what our shop keeps.",
        "inputs": {"type": "object"},
        "required_scopes": ["database.read"],
        "provider_id": "database",
        "read_only": true,
        "cost_estimate": 0.4,
    });
    let registered = gateway
        .ask("POST", "/manifests/register")
        .bearer(&admin)
        .json(&manifest);
    assert_eq!(registered.send().await.status, 201);
    // Records hold fractions as texts.
    let mut left = Vec::new();
    for corr_id in ["one", "two", "three", "four"] {
        // The tool is known to no provider: that the provider refuses it is a call all the same.
        let call = gateway
            .invoke(&admin, "database:ourTables", &json!({}))
            .header("x-correlation-id", corr_id);
        let status = call.send().await.status;
        left.push((
            status == 429,
            home.audit_of(corr_id)[0]["rate_limit"]["remaining"].clone(),
        ));
    }
    assert_eq!(
        left,
        [
            (false, json!("0.8")),
            (false, json!("0.4")),
            (false, json!("0.0")),
            (true, json!("0.0"))
        ]
    );
}

#[tokio::test]
async fn calls_under_way_are_capped_and_one_whose_client_went_away_ends_too() {
    let home = home_with("  - {name: at-once, key: [provider], concurrency: {max: 1}}\n");
    let gateway = start(&home, &[("REQUEST_TIMEOUT", "20")]).await;
    let token = home.role("agent-1", "data-analyst").await;
    let other = home.role("agent-2", "data-analyst").await;
    let endless = json!({"query": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"});
    // The other one's calls may have the only place first.
    let under_way = async {
        loop {
            let call = gateway.invoke(&token, "database:executeQuery", &endless);
            match call.attempt().await {
                Ok(reply) if reply.status == 429 => {}
                ended => break ended,
            }
        }
    };
    let capped = async {
        until("the cap", async || {
            let reply = tables(&gateway, &other).await;
            (reply.status == 429).then(|| {
                let error = reply.error(429, "RATE_LIMITED");
                assert_eq!(error["details"]["rule"], "at-once", "{error}");
            })
        })
        .await;
    };
    // Whoever is first ends both: the client hangs up once the cap was seen.
    tokio::select! {
        _ = under_way => panic!("nothing was capped while a call was under way"),
        () = capped => {}
    }
    until("room again", async || {
        (tables(&gateway, &other).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_for_its_duplicate_is_not_under_way() {
    let home = home_with("  - {name: at-once, key: [provider], concurrency: {max: 2}}\n");
    let vars = [("REQUEST_TIMEOUT", "60"), ("IDEMPOTENCY_WAIT_SEC", "60")];
    let gateway = start(&home, &vars).await;
    let token = home.role("writer", "data-admin").await;
    let endless = json!({
        "query": "INSERT INTO orders (customer_id, status, ordered_at) SELECT 1, 'pending', 'once' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c)",
    });
    let keyed = || {
        let call = gateway.invoke(&token, "database:executeQuery", &endless);
        call.header("idempotency-key", "one").attempt()
    };
    let other = async {
        until("both to be admitted", async || {
            let metrics = gateway.get("/metrics").await.text().to_owned();
            let mut lines = metrics.lines();
            let admitted = lines.find_map(|line| {
                line.strip_prefix(
                    r#"fastmcp_limit_decisions_total{rule="at-once",outcome="allowed"} "#,
                )
            });
            admitted.filter(|count| *count == "2").map(drop)
        })
        .await;
        until("the other place", async || {
            (tables(&gateway, &token).await.status == 200).then_some(())
        })
        .await;
    };
    tokio::select! {
        _ = keyed() => panic!("the duplicate had the other place until the first call ended"),
        _ = keyed() => panic!("the duplicate had the other place until the first call ended"),
        () = other => {}
    }
}

#[tokio::test]
async fn a_changed_file_takes_effect_and_a_bad_one_changes_nothing() {
    let home = home_with("  - {name: few, key: [subject], quota: {max: 1, per: day}}\n");
    let gateway = start(&home, &[]).await;
    let token = home.role("agent-1", "data-analyst").await;
    tables(&gateway, &token).await.ok();
    write(
        &home,
        "  - {name: few, key: [subjekt], quota: {max: 5, per: day}}\n",
    );
    gateway.signal(Signal::HUP);
    until("the refusal of the file", async || {
        gateway
            .stderr()
            .contains("did you mean `subject`?")
            .then_some(())
    })
    .await;
    tables(&gateway, &token).await.error(429, "RATE_LIMITED");
    write(
        &home,
        "  - {name: few, key: [subject], quota: {max: 2, per: day}}\n",
    );
    until("the new limit", async || {
        (tables(&gateway, &token).await.status == 200).then_some(())
    })
    .await;
    let refused = tables(&gateway, &token).await.error(429, "RATE_LIMITED");
    assert_eq!(
        refused["details"]["limit"], 2,
        "what was taken before counts: {refused}"
    );
}

#[tokio::test]
async fn replicas_share_limits_and_an_outage_of_redis_is_survived_as_it_was_said() {
    const RULES: &str = "  - {name: shared, key: [tenant], quota: {max: 4, per: month}}\n";
    let mut redis = Redis::start().unwrap();
    let url = redis.url();
    let (one, two) = (home_with(RULES), home_with(RULES));
    let remembers = start(&one, &[("REDIS_URL", &url)]).await;
    let refuses = start(
        &two,
        &[("REDIS_URL", &url), ("RATE_LIMIT_FALLBACK", "refuse")],
    )
    .await;
    let first = one.role("agent-1", "data-analyst").await;
    let second = two.role("agent-2", "data-analyst").await;
    for _ in 0..2 {
        tables(&remembers, &first).await.ok();
        tables(&refuses, &second).await.ok();
    }
    tables(&remembers, &first).await.error(429, "RATE_LIMITED");
    tables(&refuses, &second).await.error(429, "RATE_LIMITED");
    let state = async |gateway: &Gateway| {
        let reply = gateway.get("/ready").await;
        (reply.status, reply.json()["dependencies"]["redis"].clone())
    };
    let well = json!({"ready": true, "degraded": false, "reason": null});
    assert_eq!(state(&remembers).await, (200, well.clone()));

    redis.stop();
    tables(&remembers, &first).await.ok();
    tables(&refuses, &second).await.error(503, "UNAVAILABLE");
    let (status, away) = state(&remembers).await;
    assert_eq!(
        (status, &away["ready"], &away["degraded"]),
        (200, &json!(true), &json!(true))
    );
    let (status, away) = state(&refuses).await;
    assert_eq!(
        (status, &away["ready"], &away["degraded"]),
        (503, &json!(false), &json!(true))
    );
    let metrics = remembers.get("/metrics").await;
    assert!(
        metrics.text().contains("fastmcp_limit_degraded 1"),
        "{}",
        metrics.text()
    );
    assert_eq!(remembers.stderr().matches("Redis is away").count(), 1);

    redis.start_again().unwrap();
    for gateway in [&remembers, &refuses] {
        until("Redis to be back", async || {
            (state(gateway).await == (200, well.clone())).then_some(())
        })
        .await;
    }
    tables(&remembers, &first).await.error(429, "RATE_LIMITED");
    tables(&refuses, &second).await.error(429, "RATE_LIMITED");
}
