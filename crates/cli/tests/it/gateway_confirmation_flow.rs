//! Asked first: one ticket, one caller, one call, one time.

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, until};

const TOOL: &str = "ads:createCampaign";

fn campaign() -> Value {
    json!({"name": "Spring sale", "budget": 250.5, "startDate": "2026-03-01", "endDate": "2026-03-31"})
}

/// Calls, and returns the ticket.
async fn ticket(gateway: &Gateway, token: &str, arguments: &Value) -> Value {
    let reply = gateway.invoke(token, TOOL, arguments).send().await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()
}

fn confirmation(ticket: &Value, arguments: &Value) -> Value {
    let mut body = arguments.clone();
    body["action_token"] = ticket["action_token"].clone();
    body
}

fn starts_with(reply: &Reply, status: u16, code: &str, start: &str) -> Value {
    let error = reply.error(status, code);
    assert!(
        error["message"].as_str().unwrap().starts_with(start),
        "{error}"
    );
    error
}

#[tokio::test]
async fn a_token_is_as_long_as_it_is_set() {
    let home = Home::new();
    let gateway = home.start_with(&[("ACTION_TOKEN_BYTES", "48")]).await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    assert_eq!(asked["action_token"].as_str().unwrap().len(), 64, "{asked}");
    let body = confirmation(&asked, &campaign());
    gateway.confirm(&token, TOOL, &body).send().await.ok();
}

#[tokio::test]
async fn a_call_waits_is_confirmed_and_cannot_be_confirmed_again() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    assert_eq!(asked["requires_confirmation"], true);
    assert_eq!(
        asked["action_token"].as_str().unwrap().len(),
        32,
        "24 random bytes: {asked}"
    );
    assert!(
        asked["expires_at"]
            .as_str()
            .is_some_and(|t| t.ends_with('Z')),
        "{asked}"
    );
    assert!(asked.get("result").is_none(), "nothing was done yet");

    let body = confirmation(&asked, &campaign());
    let done = gateway.confirm(&token, TOOL, &body).send().await.ok();
    assert_eq!(
        (&done["result"]["status"], &done["result"]["budget"]),
        (&json!("PAUSED"), &json!(250.5)),
        "{done}"
    );

    let again = gateway.confirm(&token, TOOL, &body).send().await;
    let details = again.error(409, "CONFLICT")["details"].clone();
    assert_eq!(details["status"], "completed", "{details}");
    assert_eq!(details["operation_id"], asked["operation_id"], "{details}");
    assert_eq!(details["result"], done["result"], "{details}");
}

#[tokio::test]
async fn confirming_again_under_the_same_key_is_the_replay() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let body = confirmation(&asked, &campaign());
    let confirm = || {
        gateway
            .confirm(&token, TOOL, &body)
            .header("idempotency-key", "confirm-1")
    };
    let first = confirm().send().await;
    let done = first.ok();
    assert_eq!(first.header("x-idempotent-replay"), None);
    let second = confirm().send().await;
    assert_eq!(
        (second.ok(), second.header("x-idempotent-replay")),
        (done, Some("true"))
    );
    let other = gateway
        .confirm(&token, TOOL, &body)
        .header("idempotency-key", "confirm-2")
        .send()
        .await;
    assert_eq!(
        other.error(409, "CONFLICT")["details"]["status"],
        "completed"
    );
}

#[tokio::test]
async fn every_form_of_the_body_confirms() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let flat = ticket(&gateway, &token, &campaign()).await;
    gateway
        .confirm(&token, TOOL, &confirmation(&flat, &campaign()))
        .send()
        .await
        .ok();
    let nested = ticket(&gateway, &token, &campaign()).await;
    let body = json!({"action_token": nested["action_token"], "input": campaign()});
    gateway.confirm(&token, TOOL, &body).send().await.ok();
    let header = ticket(&gateway, &token, &campaign()).await;
    let action_token = header["action_token"].as_str().unwrap();
    gateway
        .confirm(&token, TOOL, &campaign())
        .header("x-action-token", action_token)
        .send()
        .await
        .ok();
    let nothing = gateway.confirm(&token, TOOL, &campaign()).send().await;
    let error = nothing.error(422, "VALIDATION_ERROR");
    assert!(
        error["message"].as_str().unwrap().contains("action_token"),
        "{error}"
    );
}

#[tokio::test]
async fn one_changed_byte_is_refused_and_does_not_use_the_ticket_up() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let changes = [
        ("name", json!("Spring salf")),
        ("budget", json!(250.6)),
        ("startDate", json!("2026-03-02")),
        ("endDate", Value::Null),
    ];
    for (field, value) in changes {
        let mut arguments = campaign();
        arguments[field] = value;
        let reply = gateway
            .confirm(&token, TOOL, &confirmation(&asked, &arguments))
            .send()
            .await;
        starts_with(&reply, 401, "UNAUTHORIZED", "Invalid token");
    }
    let mut fewer = campaign();
    fewer.as_object_mut().unwrap().remove("endDate");
    let reply = gateway
        .confirm(&token, TOOL, &confirmation(&asked, &fewer))
        .send()
        .await;
    starts_with(&reply, 401, "UNAUTHORIZED", "Invalid token");
    // The same call in other words: members in another order, the same number written otherwise.
    let same = format!(
        r#"{{"endDate":"2026-03-31","action_token":{},"startDate":"2026-03-01","budget":2505e-1,"name":"Spring\u0020sale"}}"#,
        asked["action_token"]
    );
    gateway
        .ask("POST", "/tools/ads:createCampaign/confirm")
        .bearer(&token)
        .body(same)
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn a_token_of_anybody_or_anything_else_does_not_confirm() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let body = confirmation(&asked, &campaign());
    let others = [
        home.role("agent-2", "finance-write").await,
        home.mint("agent-1", &["--role", "finance-write", "--tenant", "acme"])
            .await,
    ];
    for other in &others {
        starts_with(
            &gateway.confirm(other, TOOL, &body).send().await,
            403,
            "FORBIDDEN",
            "Access denied",
        );
    }
    for unknown in ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &"A".repeat(5_000)] {
        let mut wrong = body.clone();
        wrong["action_token"] = json!(unknown);
        starts_with(
            &gateway.confirm(&token, TOOL, &wrong).send().await,
            401,
            "UNAUTHORIZED",
            "Invalid token",
        );
    }
    let both = home
        .mint(
            "agent-1",
            &["--role", "finance-write", "--role", "data-admin"],
        )
        .await;
    let drop = json!({"query": "DELETE FROM order_items", "action_token": asked["action_token"]});
    let reply = gateway
        .confirm(&both, "database:executeQuery", &drop)
        .send()
        .await;
    starts_with(&reply, 401, "UNAUTHORIZED", "Invalid token");
    gateway.confirm(&token, TOOL, &body).send().await.ok();
}

#[tokio::test]
async fn what_destroys_is_confirmed_even_where_it_is_allowed() {
    let home = Home::new();
    let gateway = home.start().await;
    let admin = home.role("writer", "data-admin").await;
    let count = "SELECT count(*) AS n FROM orders WHERE status = 'cancelled'";
    let before = gateway.number(&admin, count).await;
    assert!(before > 0);
    let delete = json!({"query": "DELETE FROM orders WHERE status = ?", "params": ["cancelled"]});
    let asked = gateway
        .invoke(&admin, "database:executeQuery", &delete)
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    assert_eq!(
        gateway.number(&admin, count).await,
        before,
        "nothing was done yet"
    );
    let body = confirmation(&asked.json(), &delete);
    let done = gateway
        .confirm(&admin, "database:executeQuery", &body)
        .send()
        .await
        .ok();
    assert_eq!(done["result"]["rows_affected"], before, "{done}");
    assert_eq!(gateway.number(&admin, count).await, 0);

    let writer = home.role("agent-1", "fs-writer").await;
    let file = json!({"path": "a.txt", "content": "one"});
    gateway
        .invoke(&writer, "filesystem:writeFile", &file)
        .send()
        .await
        .ok();
    let over = json!({"path": "a.txt", "content": "two", "overwrite": true});
    assert_eq!(
        gateway
            .invoke(&writer, "filesystem:writeFile", &over)
            .send()
            .await
            .status,
        202
    );
    let read = gateway
        .invoke(&writer, "filesystem:readFile", &json!({"path": "a.txt"}))
        .send()
        .await
        .ok();
    assert_eq!(read["result"]["content"], "one");
}

#[tokio::test]
async fn of_many_confirmations_at_once_one_acts() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let body = confirmation(&asked, &campaign());
    let replies = futures_util::future::join_all(
        (0..12).map(|_| gateway.confirm(&token, TOOL, &body).send()),
    )
    .await;
    let mut statuses: Vec<_> = replies.iter().map(|r| r.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[409; 11]].concat());
    let operation = &asked["operation_id"];
    let intents = home
        .audit()
        .into_iter()
        .filter(|r| r["phase"] == "intent" && r["operation_id"] == *operation)
        .count();
    assert_eq!(intents, 1);
    assert!(
        replies
            .iter()
            .filter(|r| r.status == 409)
            .all(|r| r.json()["error"]["details"]["operation_id"] == *operation)
    );
}

#[tokio::test]
async fn a_ticket_expires() {
    let home = Home::new();
    let gateway = home.start_with(&[("CONFIRM_TTL_SEC", "1")]).await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let since = tokio::time::Instant::now();
    // Asking would redeem it, so nothing but the clock tells when its second is over.
    until("its second", async || {
        (since.elapsed() > std::time::Duration::from_secs(1)).then_some(())
    })
    .await;
    for _ in 0..2 {
        let late = gateway
            .confirm(&token, TOOL, &confirmation(&asked, &campaign()))
            .send()
            .await;
        let details = late.error(409, "CONFLICT")["details"].clone();
        assert_eq!(details["status"], "expired", "{details}");
        assert_eq!(details["operation_id"], asked["operation_id"], "{details}");
    }
    // Whoever names other arguments is told nothing of what became of it.
    let mut other = campaign();
    other["budget"] = json!(1);
    let reply = gateway
        .confirm(&token, TOOL, &confirmation(&asked, &other))
        .send()
        .await;
    starts_with(&reply, 401, "UNAUTHORIZED", "Invalid token");
}

#[tokio::test]
async fn a_ticket_survives_a_restart_and_a_kill() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let mut other = campaign();
    other["name"] = json!("Autumn sale");
    let (first, second) = (
        ticket(&gateway, &token, &campaign()).await,
        ticket(&gateway, &token, &other).await,
    );
    gateway.stop().await;
    let gateway = home.start().await;
    let done = gateway
        .confirm(&token, TOOL, &confirmation(&first, &campaign()))
        .send()
        .await
        .ok();
    gateway.kill().await;
    let gateway = home.start().await;
    let again = gateway
        .confirm(&token, TOOL, &confirmation(&first, &campaign()))
        .send()
        .await;
    assert_eq!(
        again.error(409, "CONFLICT")["details"]["result"],
        done["result"],
        "what was done is known after a kill"
    );
    gateway
        .confirm(&token, TOOL, &confirmation(&second, &other))
        .send()
        .await
        .ok();
    gateway.stop().await;
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
}

#[tokio::test]
async fn tickets_that_wait_are_bounded_for_each_subject() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let mut waiting = Vec::new();
    let numbered = |budget: usize| {
        let mut campaign = campaign();
        campaign["budget"] = json!(budget + 1);
        campaign
    };
    for budget in 0..100 {
        waiting.push(ticket(&gateway, &token, &numbered(budget)).await);
    }
    let refused = gateway.invoke(&token, TOOL, &numbered(100)).send().await;
    refused.error(429, "RATE_LIMITED");
    assert!(refused.header("retry-after").is_some());
    let attached = ticket(&gateway, &token, &numbered(7)).await;
    assert_eq!(attached["operation_id"], waiting[7]["operation_id"]);
    let other = home.role("agent-2", "finance-write").await;
    ticket(&gateway, &other, &campaign()).await;
    let body = confirmation(&waiting[0], &numbered(0));
    gateway.confirm(&token, TOOL, &body).send().await.ok();
    ticket(&gateway, &token, &numbered(100)).await;
    // Or by saying no.
    let declined = decline(&gateway, &token, &waiting[1]).await.ok();
    assert_eq!(
        (&declined["operation_id"], &declined["status"]),
        (&waiting[1]["operation_id"], &json!("declined"))
    );
    ticket(&gateway, &token, &numbered(101)).await;
}

/// Says no to what waits.
async fn decline(gateway: &Gateway, token: &str, ticket: &Value) -> Reply {
    let body = json!({"action_token": ticket["action_token"]});
    gateway
        .ask("POST", &format!("/tools/{TOOL}/decline"))
        .bearer(token)
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn a_caller_says_no_to_its_own_call_alone() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let others = [
        home.role("agent-2", "finance-write").await,
        home.mint("agent-1", &["--role", "finance-write", "--tenant", "acme"])
            .await,
    ];
    for other in others {
        let reply = decline(&gateway, &other, &asked).await;
        reply.error(403, "FORBIDDEN");
    }
    let unknown = decline(&gateway, &token, &json!({"action_token": "wrong"})).await;
    unknown.error(401, "UNAUTHORIZED");
    decline(&gateway, &token, &asked).await.ok();
    let twice = decline(&gateway, &token, &asked).await;
    let details = twice.error(409, "CONFLICT")["details"].clone();
    assert_eq!(details["status"], "declined", "{details}");
    let late = gateway
        .confirm(&token, TOOL, &confirmation(&asked, &campaign()))
        .send()
        .await;
    let details = late.error(409, "CONFLICT")["details"].clone();
    assert_eq!(details["status"], "declined", "{details}");
    let said: Vec<_> = home
        .audit()
        .iter()
        .filter(|r| r["action"] == "tools.decline")
        .map(|r| r["status"].as_str().unwrap().to_owned())
        .collect();
    // What changes something is said before it is done.
    let expected = [
        "denied", "denied", "denied", "pending", "success", "pending", "failed",
    ];
    assert_eq!(said, expected);
}

/// A no is neither decided about nor names the arguments, so it is told nothing that takes either.
#[tokio::test]
async fn who_says_no_too_late_is_told_no_result() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asked = ticket(&gateway, &token, &campaign()).await;
    let body = confirmation(&asked, &campaign());
    let done = gateway.confirm(&token, TOOL, &body).send().await.ok();
    let campaign_id = done["result"]["campaignId"].as_str().unwrap();
    // What it may not do any more it may not read any more either.
    let revoked = home.role("agent-1", "data-analyst").await;
    for token in [&token, &revoked] {
        let late = decline(&gateway, token, &asked).await;
        let details = late.error(409, "CONFLICT")["details"].clone();
        let told = json!({"operation_id": asked["operation_id"], "status": "completed"});
        assert_eq!(details, told);
        assert!(!late.text().contains(campaign_id), "{}", late.text());
    }
}

#[tokio::test]
async fn the_same_call_twice_waits_once_and_is_done_once() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let asks = (0..4).map(async |_| ticket(&gateway, &token, &campaign()).await);
    let asked = futures_util::future::join_all(asks).await;
    for one in &asked {
        assert_eq!(one["operation_id"], asked[0]["operation_id"]);
    }
    let confirms = asked.iter().map(async |one| {
        let body = confirmation(one, &campaign());
        gateway.confirm(&token, TOOL, &body).send().await.status
    });
    let mut confirmed = futures_util::future::join_all(confirms).await;
    confirmed.sort_unstable();
    assert_eq!(confirmed, [200, 409, 409, 409]);
    let effects = home.audit().into_iter();
    let effects = effects.filter(|r| r["phase"] == "intent" && r["toolId"] == TOOL);
    assert_eq!(effects.count(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_recorded_as_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    for (verb, action) in [("invoke", "tools.invoke"), ("confirm", "tools.confirm")] {
        for body in ["{", "[1]", "\"x\""] {
            let reply = gateway
                .ask("POST", &format!("/tools/{TOOL}/{verb}"))
                .bearer(&token)
                .header("x-correlation-id", "unread")
                .body(body)
                .send()
                .await;
            reply.error(422, "VALIDATION_ERROR");
            let records = home.audit_of("unread");
            let last = records.last().unwrap();
            assert_eq!(
                (
                    &last["action"],
                    &last["status"],
                    &last["sub"],
                    &last["toolId"]
                ),
                (
                    &json!(action),
                    &json!("failed"),
                    &json!("agent-1"),
                    &json!(TOOL)
                ),
                "{body}: {last}"
            );
        }
    }
    assert_eq!(home.audit_of("unread").len(), 6);
    let reply = gateway
        .ask("GET", "/tool-catalog")
        .bearer(&token)
        .header("origin", "https://evil.example")
        .header("x-correlation-id", "origin")
        .send()
        .await;
    reply.error(403, "FORBIDDEN");
    let refused = until("the record of the origin", async || {
        home.audit_of("origin").pop()
    })
    .await;
    assert_eq!(
        (&refused["action"], &refused["status"]),
        (&json!("door.refused"), &json!("denied"))
    );
}

#[tokio::test]
async fn whoever_asks_again_is_told_that_it_was_done() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let first = ticket(&gateway, &token, &campaign()).await;
    assert!(first.get("done_before").is_none(), "{first}");
    let waiting = ticket(&gateway, &token, &campaign()).await;
    assert!(
        waiting.get("done_before").is_none(),
        "asked for, but not done: {waiting}"
    );
    let done = gateway
        .confirm(&token, TOOL, &confirmation(&first, &campaign()))
        .send()
        .await
        .ok();
    let again = ticket(&gateway, &token, &campaign()).await;
    let before = &again["done_before"];
    assert_eq!(before["operation_id"], first["operation_id"], "{again}");
    assert!(before["at"].is_string(), "{again}");
    assert_eq!(before["result"], done["result"], "{again}");
    let once_more = ticket(&gateway, &token, &campaign()).await;
    assert_eq!(once_more["operation_id"], again["operation_id"]);
    assert_eq!(
        &once_more["done_before"], before,
        "asking again hides nothing: {once_more}"
    );
    assert_ne!(again["action_token"], first["action_token"]);
    let mut other = campaign();
    other["budget"] = json!(1);
    assert!(
        ticket(&gateway, &token, &other)
            .await
            .get("done_before")
            .is_none(),
        "another call"
    );
    let stranger = home.role("agent-2", "finance-write").await;
    assert!(
        ticket(&gateway, &stranger, &campaign())
            .await
            .get("done_before")
            .is_none(),
        "another caller"
    );
}
