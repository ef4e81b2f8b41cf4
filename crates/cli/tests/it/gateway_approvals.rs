//! Calls that a person has to approve: through every door, by those who may, once.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, accept, can_be_asked, until};

const CREATE: &str = "ads:createCampaign";
/// Four eyes for money, a lead for overwriting files; a person for the rest of what is destructive.
const POLICY: &str = r#"
version: 1
roles:
  buyer: ["ads.write", "tools.invoke:write", "filesystem.read", "filesystem.write"]
  approver: ["approvals.decide"]
  lead: ["approvals.decide"]
rules:
  - {id: buy, effect: allow, when: {action: tools.invoke, subject.roles: buyer}}
  - {id: four-eyes, effect: allow, when: {resource.toolId: "ads:createCampaign"}, require_confirmation: other_person}
  - {id: one-person, effect: allow, when: {resource.toolId: "filesystem:writeFile", context.arguments.overwrite: true}, require_confirmation: person}
  - {id: leads, effect: allow, when: {resource.toolId: "filesystem:writeFile", context.arguments.path: "led.txt"}, approver: lead}
"#;

struct Desk {
    home: Home,
    gateway: Gateway,
    buyer: String,
    bob: String,
}

impl Desk {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(vars: &[(&str, &str)]) -> Self {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        fs::write(home.policies(), POLICY).unwrap();
        let gateway = home.start_with(vars).await;
        // Alice may buy, and may approve what others buy.
        let buyer = home
            .mint("alice", &["--role", "buyer", "--role", "approver"])
            .await;
        let bob = home.role("bob", "approver").await;
        Self {
            home,
            gateway,
            buyer,
            bob,
        }
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        self.gateway.ask("GET", path).bearer(token).send().await
    }

    async fn decide(&self, token: &str, id: &str, decision: &Value) -> Reply {
        let path = format!("/approvals/{id}");
        self.gateway
            .ask("POST", &path)
            .bearer(token)
            .json(decision)
            .send()
            .await
    }

    /// Approves what is shown.
    async fn approve(&self, token: &str, id: &str) -> Reply {
        let shown = self.get(token, &format!("/approvals/{id}")).await.ok();
        let decision =
            json!({"decision": "approve", "digest": shown["digest"], "note": "as agreed"});
        self.decide(token, id, &decision).await
    }

    async fn listed(&self, token: &str) -> Vec<Value> {
        self.get(token, "/approvals").await.ok()["approvals"]
            .as_array()
            .unwrap()
            .clone()
    }

    fn effects(&self) -> usize {
        let records = self.home.audit();
        let acted = |r: &&Value| r["phase"] == "intent" && r["action"] != "approvals.decide";
        records.iter().filter(acted).count()
    }
}

fn campaign() -> Value {
    json!({"name": "Spring", "budget": 12345.67, "startDate": "2027-03-01"})
}

#[tokio::test]
async fn four_eyes_see_the_exact_call_and_it_happens_once() {
    let desk = Desk::open().await;
    let asked = desk
        .gateway
        .invoke(&desk.buyer, CREATE, &campaign())
        .send()
        .await;
    let pending = asked.json();
    assert_eq!(
        (asked.status, &pending["requires_approval"]),
        (202, &json!("other_person")),
        "{pending}"
    );
    let id = pending["operation_id"].as_str().unwrap().to_owned();
    assert_eq!(pending["approval"], format!("/approvals/{id}"));
    let mut confirmation = campaign();
    confirmation["action_token"] = pending["action_token"].clone();
    let confirm = async || {
        desk.gateway
            .confirm(&desk.buyer, CREATE, &confirmation)
            .send()
            .await
    };
    let early = confirm().await.error(409, "CONFLICT");
    assert_eq!(early["details"]["reason"], "awaits_approval", "{early}");

    let listed = desk.listed(&desk.bob).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        desk.listed(&desk.buyer).await,
        listed,
        "who asked sees how it stands"
    );
    assert_eq!(
        (&listed[0]["sub"], &listed[0]["toolId"]),
        (&json!("alice"), &json!(CREATE))
    );
    assert!(listed[0].get("arguments").is_none());
    let shown = desk.get(&desk.bob, &format!("/approvals/{id}")).await;
    assert!(shown.text().contains("12345.67"), "{}", shown.text());
    assert_eq!(shown.json()["requires"], "other_person");

    // She herself cannot, an agent cannot, and nobody can approve what was not looked at.
    let own = desk.approve(&desk.buyer, &id).await.error(403, "FORBIDDEN");
    assert!(
        own["message"].as_str().unwrap().contains("another person"),
        "{own}"
    );
    let agent = desk.home.role("agent-1", "buyer").await;
    let digest = shown.json()["digest"].clone();
    let yes = json!({"decision": "approve", "digest": digest, "note": "as agreed"});
    let agents = desk.decide(&agent, &id, &yes).await.error(403, "FORBIDDEN");
    assert!(
        agents["message"]
            .as_str()
            .unwrap()
            .contains("approvals.decide"),
        "{agents}"
    );
    desk.get(&agent, "/approvals").await.error(403, "FORBIDDEN");
    let unseen = desk
        .decide(&desk.bob, &id, &json!({"decision": "approve"}))
        .await;
    assert!(
        unseen.error(422, "VALIDATION_ERROR")["message"]
            .as_str()
            .unwrap()
            .contains("`digest`")
    );
    let other = json!({"decision": "approve", "digest": "sha256:00"});
    let other = desk
        .decide(&desk.bob, &id, &other)
        .await
        .error(409, "CONFLICT");
    assert_eq!(other["details"]["reason"], "digest_mismatch");
    assert_eq!(desk.effects(), 0);

    let decided = desk.decide(&desk.bob, &id, &yes).await.ok();
    assert_eq!(
        (&decided["status"], &decided["decided_by"]),
        (&json!("confirmed"), &json!("bob"))
    );
    assert!(desk.listed(&desk.bob).await.is_empty());
    let twice = desk
        .decide(&desk.bob, &id, &yes)
        .await
        .error(409, "CONFLICT");
    assert_eq!(twice["details"]["status"], "confirmed", "{twice}");

    // Of many that come back with the ticket one runs it.
    let replies = futures_util::future::join_all((0..20).map(|_| confirm())).await;
    let done: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(
        done.len(),
        1,
        "{:?}",
        replies.iter().map(|r| r.status).collect::<Vec<_>>()
    );
    assert!(
        replies
            .iter()
            .all(|reply| [200, 409].contains(&reply.status))
    );
    assert_eq!(desk.effects(), 1);

    // The record says who, from where and about which arguments, under the same keyed digest as the call's own.
    let records = desk.home.audit();
    let decision = records
        .iter()
        .find(|r| r["action"] == "approvals.decide" && r["status"] == "success")
        .unwrap();
    let act = records
        .iter()
        .find(|r| r["action"] == "tools.confirm" && r["phase"] == "intent")
        .unwrap();
    assert_eq!(
        (
            &decision["sub"],
            &decision["ip_address"],
            &decision["operation_id"]
        ),
        (&json!("bob"), &json!("127.0.0.1"), &json!(id))
    );
    assert_eq!(decision["request_hash"], act["request_hash"]);
    assert_eq!(decision["phase"], "outcome");
    assert_eq!(
        (
            &decision["details"]["decision"],
            &decision["details"]["note"],
            &decision["details"]["operation_sub"]
        ),
        (&json!("approve"), &json!("as agreed"), &json!("alice"))
    );
    let refused = |who: &str| {
        let of = |r: &&Value| {
            r["action"] == "approvals.decide" && r["sub"] == who && r["status"] == "denied"
        };
        records.iter().filter(of).count()
    };
    assert_eq!((refused("alice"), refused("agent-1")), (1, 1));
    assert!(!records.iter().any(|r| r.to_string().contains("12345.67")));
    desk.gateway.stop().await;
    assert!(desk.home.verify().await.0);
}

#[tokio::test]
async fn a_caller_without_its_ticket_finds_the_call_again() {
    let desk = Desk::open().await;
    let invoke = async || {
        desk.gateway
            .invoke(&desk.buyer, CREATE, &campaign())
            .send()
            .await
    };
    let first = invoke().await.json();
    let second = invoke().await.json();
    assert_eq!(first["operation_id"], second["operation_id"]);
    assert_eq!(first["action_token"], second["action_token"]);
    assert_eq!(
        desk.listed(&desk.bob).await.len(),
        1,
        "one call is one question"
    );
    let id = first["operation_id"].as_str().unwrap();
    assert_eq!(desk.approve(&desk.bob, id).await.status, 200);
    let done = invoke().await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(desk.effects(), 1);
    // The next one is a call of its own, and says that this was done before.
    let again = invoke().await;
    assert_eq!(
        (again.status, &again.json()["done_before"]["operation_id"]),
        (202, &json!(id))
    );

    // Under an idempotency key the same.
    let keyed = async || {
        desk.gateway
            .invoke(
                &desk.buyer,
                CREATE,
                &json!({"name": "Keyed", "budget": 5, "startDate": "2027-03-01"}),
            )
            .header("idempotency-key", "k-1")
            .send()
            .await
    };
    let waiting = keyed().await.json();
    assert_eq!(
        keyed().await.json()["operation_id"],
        waiting["operation_id"]
    );
    assert_eq!(
        desk.approve(&desk.bob, waiting["operation_id"].as_str().unwrap())
            .await
            .status,
        200
    );
    assert_eq!(keyed().await.status, 200);
    let replay = keyed().await;
    assert_eq!(
        (replay.status, replay.header("x-idempotent-replay")),
        (200, Some("true"))
    );
    assert_eq!(desk.effects(), 2);
    desk.gateway.stop().await;
}

#[tokio::test]
async fn a_refusal_ends_it_and_its_reason_reaches_the_caller() {
    let desk = Desk::open().await;
    let pending = desk
        .gateway
        .invoke(&desk.buyer, CREATE, &campaign())
        .send()
        .await
        .json();
    let id = pending["operation_id"].as_str().unwrap();
    let no = json!({"decision": "deny", "note": "over budget"});
    let decided = desk.decide(&desk.bob, id, &no).await.ok();
    assert_eq!(decided["status"], "declined");
    let mut confirmation = campaign();
    confirmation["action_token"] = pending["action_token"].clone();
    let confirmed = desk
        .gateway
        .confirm(&desk.buyer, CREATE, &confirmation)
        .send()
        .await;
    let error = confirmed.error(409, "CONFLICT");
    assert_eq!(error["details"]["status"], "declined");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("declined by bob: over budget"),
        "{error}"
    );
    for wrong in [
        json!({"decision": "deny", "note": "two\nlines"}),
        json!({"decision": "perhaps"}),
        json!({"decision": "deny", "by": "carol"}),
    ] {
        desk.decide(&desk.bob, id, &wrong)
            .await
            .error(422, "VALIDATION_ERROR");
    }
    for unknown in ["nonsense", "00000000-0000-7000-8000-000000000000"] {
        desk.decide(&desk.bob, unknown, &no)
            .await
            .error(404, "NOT_FOUND");
    }
    assert_eq!(desk.effects(), 0);
    desk.gateway.stop().await;
}

#[tokio::test]
async fn who_may_decide_is_a_matter_of_tenant_scope_and_role() {
    let desk = Desk::open().await;
    let write =
        |path: &str, overwrite: bool| json!({"path": path, "content": "x", "overwrite": overwrite});
    let ask = async |arguments: Value| {
        let asked = desk
            .gateway
            .invoke(&desk.buyer, "filesystem:writeFile", &arguments)
            .send()
            .await;
        assert_eq!(asked.status, 202, "{}", asked.text());
        asked.json()
    };
    let led = ask(write("led.txt", false)).await;
    assert_eq!(led["requires_approval"], "other_person");
    let id = led["operation_id"].as_str().unwrap();
    assert!(desk.listed(&desk.bob).await.is_empty(), "it takes a lead");
    let refused = desk
        .get(&desk.bob, &format!("/approvals/{id}"))
        .await
        .error(403, "FORBIDDEN");
    assert!(
        refused["message"].as_str().unwrap().contains("role `lead`"),
        "{refused}"
    );
    let stranger = desk
        .home
        .mint("eve", &["--role", "lead", "--tenant", "other"])
        .await;
    assert!(desk.listed(&stranger).await.is_empty());
    desk.get(&stranger, &format!("/approvals/{id}"))
        .await
        .error(404, "NOT_FOUND");
    // A token that was narrowed, as an agent's is, decides nothing.
    let narrowed = desk
        .home
        .mint("lea", &["--role", "lead", "--scope", "ads.write"])
        .await;
    desk.get(&narrowed, "/approvals")
        .await
        .error(403, "FORBIDDEN");
    let lead = desk.home.role("lea", "lead").await;
    assert_eq!(desk.listed(&lead).await.len(), 1);
    assert_eq!(desk.approve(&lead, id).await.status, 200);

    // Where any person will do, the one who asked is a person too.
    let own = ask(write("own.txt", true)).await;
    assert_eq!(own["requires_approval"], "person");
    assert_eq!(
        desk.approve(&desk.buyer, own["operation_id"].as_str().unwrap())
            .await
            .status,
        200
    );
    desk.gateway.stop().await;
}

#[tokio::test]
async fn what_nobody_approves_expires() {
    let desk = Desk::open_with(&[("APPROVAL_TTL_SEC", "1")]).await;
    let pending = desk
        .gateway
        .invoke(&desk.buyer, CREATE, &campaign())
        .send()
        .await
        .json();
    let id = pending["operation_id"].as_str().unwrap();
    let path = format!("/approvals/{id}");
    let expired = until("expiry", async || {
        let shown = desk.get(&desk.bob, &path).await.ok();
        (shown["status"] == "expired").then_some(shown)
    })
    .await;
    assert!(expired.get("arguments").is_none(), "{expired}");
    let late = json!({"decision": "approve", "digest": expired["digest"]});
    let late = desk
        .decide(&desk.bob, id, &late)
        .await
        .error(409, "CONFLICT");
    assert_eq!(late["details"]["status"], "expired");
    assert!(desk.listed(&desk.bob).await.is_empty());
    desk.gateway.stop().await;
}

#[tokio::test]
async fn mcp_clients_carry_the_ticket_or_repeat_their_call() {
    let desk = Desk::open().await;
    let call = async |more: Value| {
        desk.gateway
            .modern_call(&desk.buyer, "ads_createCampaign", &campaign(), &more)
            .await
    };
    let asked = call(json!({})).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let message = asked["inputRequests"]["confirm"]["params"]["message"]
        .as_str()
        .unwrap();
    assert!(
        message.starts_with("Awaits approval by another person"),
        "{message}"
    );
    let retry = |asked: &Value| json!({"inputResponses": {"confirm": accept()}, "requestState": asked["requestState"]});
    // Too early, it is told the same again.
    let early = call(retry(&asked)).await;
    assert_eq!(early["resultType"], "input_required", "{early}");
    assert_eq!(desk.effects(), 0);
    let id = desk.listed(&desk.bob).await[0]["operation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(desk.approve(&desk.bob, &id).await.status, 200);
    let done = call(retry(&early)).await;
    assert_eq!(
        (&done["resultType"], &done["isError"]),
        (&json!("complete"), &Value::Null),
        "{done}"
    );
    assert_eq!(desk.effects(), 1);

    // A client that cannot be asked is told where it stands, and repeats its call.
    let arguments = json!({"name": "Autumn", "budget": 10, "startDate": "2027-09-01"});
    let params = json!({"name": "ads_createCampaign", "arguments": arguments});
    let plain = async || {
        desk.gateway
            .modern_result(&desk.buyer, "tools/call", params.clone(), &json!({}))
            .await
    };
    let told = plain().await;
    let error = &told["structuredContent"]["error"];
    assert_eq!(
        (&told["isError"], &error["details"]["reason"]),
        (&json!(true), &json!("awaits_approval")),
        "{told}"
    );
    let id = error["details"]["operation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        plain().await["structuredContent"]["error"]["details"]["operation_id"],
        id
    );
    assert_eq!(desk.approve(&desk.bob, &id).await.status, 200);
    let done = plain().await;
    assert_eq!(
        (&done["resultType"], &done["isError"]),
        (&json!("complete"), &Value::Null),
        "{done}"
    );

    // So does one of the last revision with sessions.
    let session = desk.gateway.legacy(&desk.buyer, json!({})).await;
    let params = json!({"name": "ads_createCampaign", "arguments": {"name": "Winter", "budget": 10, "startDate": "2027-12-01"}});
    let told = session.answer("tools/call", params.clone()).await["result"].clone();
    let id = told["structuredContent"]["error"]["details"]["operation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(desk.approve(&desk.bob, &id).await.status, 200);
    let done = session.answer("tools/call", params).await["result"].clone();
    assert!(done.get("isError").is_none_or(|is| is == false), "{done}");
    assert_eq!(desk.effects(), 3);
    assert!(can_be_asked()["elicitation"].is_object());
    desk.gateway.stop().await;
}

#[tokio::test]
async fn the_command_lists_shows_approves_and_denies() {
    let desk = Desk::open().await;
    let url = format!("http://{}", desk.gateway.address);
    let run = async |token: &str, arguments: &[&str]| {
        let arguments = [&["approvals"], arguments, &["--url", &url]].concat();
        let output = desk.home.run(&arguments, &[("FASTMCP_TOKEN", token)]).await;
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let mut arguments = campaign();
    arguments["name"] = json!("Spring \u{202e}gnirpS");
    let pending = desk
        .gateway
        .invoke(&desk.buyer, CREATE, &arguments)
        .send()
        .await
        .json();
    let id = pending["operation_id"].as_str().unwrap();
    let (code, said, complaint) = run(&desk.bob, &["list"]).await;
    assert!(
        code == Some(0) && said.contains(id) && said.contains("other_person"),
        "{said}{complaint}"
    );
    let (_, said, _) = run(&desk.bob, &["show", id]).await;
    assert!(
        said.contains("12345.67") && said.contains("Spring \\u{202e}gnirpS"),
        "{said}"
    );
    let (_, said, _) = run(&desk.bob, &["show", id, "--json"]).await;
    assert!(said.contains("12345.67"), "{said}");
    let digest = serde_json::from_str::<Value>(&said).unwrap()["digest"]
        .as_str()
        .unwrap()
        .to_owned();

    let (code, _, complaint) = run(&desk.bob, &["approve", id]).await;
    assert!(
        code == Some(1) && complaint.contains("--digest"),
        "{complaint}"
    );
    let (code, _, complaint) = run(&desk.buyer, &["approve", id, "--digest", &digest]).await;
    assert!(
        code == Some(1) && complaint.contains("another person"),
        "{complaint}"
    );
    let (code, said, complaint) = run(
        &desk.bob,
        &["approve", id, "--digest", &digest, "--note", "fine"],
    )
    .await;
    assert_eq!(
        (code, said.trim()),
        (
            Some(0),
            format!("operation `{id}` is confirmed by bob").as_str()
        ),
        "{complaint}"
    );

    let pending = desk
        .gateway
        .invoke(&desk.buyer, CREATE, &campaign())
        .send()
        .await
        .json();
    let id = pending["operation_id"].as_str().unwrap();
    let (_, said, _) = run(&desk.bob, &["deny", id, "--note", "no"]).await;
    assert_eq!(said.trim(), format!("operation `{id}` is declined by bob"));
    let (code, _, complaint) = run(&desk.bob, &["deny", id]).await;
    assert!(
        code == Some(1) && complaint.contains("Nothing is to be decided any more"),
        "{complaint}"
    );

    let output = desk
        .home
        .run(&["approvals", "list", "--url", &url], &[])
        .await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("FASTMCP_TOKEN"), "{complaint}");
    let output = desk
        .home
        .run(
            &["approvals", "list", "--url", "http://example.com"],
            &[("FASTMCP_TOKEN", "x")],
        )
        .await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("unencrypted"), "{complaint}");
    desk.gateway.stop().await;
}
