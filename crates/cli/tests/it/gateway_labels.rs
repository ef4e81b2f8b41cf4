//! What a caller has read, and what may follow: through every door, in a new session, on another replica.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Legacy, Reply, accept, can_be_asked, until};

const CREATE: &str = "ads:createCampaign";
const TABLES: &str = "database:listTables";
const QUERY: &str = "database:executeQuery";
const READ: &str = "filesystem:readFile";

/// Two ways to read what must not leave, two ways to let it out, one of them confirmed.
pub(crate) const POLICY: &str = r#"
version: 1
roles:
  agent: ["tools.invoke:write", "database.read", "database.execute", "ads.write", "ads.read", "filesystem.read", "filesystem.write"]
  admin: ["manifests.register", "tools.invoke:write", "database.read"]
  approver: ["approvals.decide"]
rules:
  - {id: agents, effect: allow, when: {action: tools.invoke, subject.roles: agent}}
  - {id: register, effect: allow, when: {action: manifests.register, subject.roles: admin}}
  - {id: list, effect: allow, when: {action: "catalog:list"}}
  - id: nothing-leaves-after-reading
    effect: deny
    description: after reading personal or confidential data nothing is sent to others
    when:
      resource.safety_tags_any: [external, financial]
      context.labels_any: [pii, confidential]
  - {id: ask, effect: allow, when: {resource.toolId: "filesystem:writeFile"}, require_confirmation: true}
  - {id: ask-a-person, effect: allow, when: {resource.toolId: "filesystem:writeFile", context.arguments.overwrite: true}, require_confirmation: person}
  - id: no-writing-after-pii
    effect: deny
    when:
      resource.toolId: "filesystem:writeFile"
      context.labels: pii
"#;

/// A gateway whose table names are personal data and whose files are confidential.
struct Labelled {
    home: Home,
    gateway: Gateway,
    agent: String,
}

fn campaign() -> Value {
    json!({"name": "Spring", "budget": 250, "startDate": "2027-03-01"})
}

fn note(text: &str) -> Value {
    json!({"path": "note.txt", "content": text})
}

/// Registers a built-in tool again, with `more`.
pub(crate) async fn register(gateway: &Gateway, admin: &str, tool: &str, more: &Value) -> Reply {
    let catalogue = gateway.catalogue(admin).await.ok();
    let tools = catalogue["tools"].as_array().unwrap();
    let mut manifest = tools.iter().find(|t| t["toolId"] == tool).unwrap().clone();
    let members = more.as_object().unwrap().clone();
    manifest.as_object_mut().unwrap().extend(members);
    gateway
        .ask("POST", "/manifests/register")
        .bearer(admin)
        .json(&manifest)
        .send()
        .await
}

impl Labelled {
    async fn start() -> Self {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        fs::write(home.policies(), POLICY).unwrap();
        let gateway = home.start().await;
        let admin = home
            .mint("boss", &["--role", "admin", "--role", "agent"])
            .await;
        for (tool, more) in [
            (TABLES, json!({"labels": ["pii"]})),
            (READ, json!({"classification": "confidential"})),
        ] {
            let reply = register(&gateway, &admin, tool, &more).await;
            assert_eq!(reply.status, 201, "{}", reply.text());
        }
        let agent = home.role("agent-1", "agent").await;
        Self {
            home,
            gateway,
            agent,
        }
    }

    async fn invoke(&self, token: &str, tool: &str, arguments: &Value) -> Reply {
        self.gateway.invoke(token, tool, arguments).send().await
    }

    /// Reads personal data under a key: once, and from then on what was stored.
    async fn read_once(&self) -> Reply {
        let call = self.gateway.invoke(&self.agent, TABLES, &json!({}));
        call.header("idempotency-key", "k-1").send().await
    }

    /// Takes from the agent what it carries.
    async fn forget(&self) {
        let clear = ["labels", "clear", "--tenant", "public", "--sub", "agent-1"];
        let cleared = self.home.run(&clear, &[]).await;
        assert!(cleared.status.success(), "{cleared:?}");
    }

    /// Reads personal data over REST.
    async fn read(&self, token: &str) {
        self.invoke(token, TABLES, &json!({})).await.ok();
    }

    async fn confirm(&self, token: &str, ticket: &Value, arguments: &Value) -> Reply {
        let mut body = arguments.clone();
        body["action_token"] = ticket["action_token"].clone();
        self.gateway
            .confirm(token, "filesystem:writeFile", &body)
            .send()
            .await
    }

    /// Writes the policy anew, and waits until it is in force.
    async fn load(&self, policy: &str) {
        // The hash of the text, without the number that grows with every load.
        let text = async || {
            let ready = self.gateway.get("/ready").await.ok();
            let version = ready["dependencies"]["policy"]["version"].as_str().unwrap();
            version.split_once('@').unwrap().0.to_owned()
        };
        let before = text().await;
        fs::write(self.home.policies(), policy).unwrap();
        self.gateway.signal(rustix::process::Signal::HUP);
        until("the policy", async || {
            (text().await != before).then_some(())
        })
        .await;
    }
}

/// Whether a call was refused for what its caller has read.
#[track_caller]
fn is_refused(reply: &Reply) {
    let error = reply.error(403, "FORBIDDEN");
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("after reading"), "{said}");
}

#[track_caller]
fn result_is_refused(result: &Value) {
    assert_eq!(result["isError"], true, "{result}");
    let said = result["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("after reading"), "{said}");
}

#[tokio::test]
async fn what_was_read_at_one_door_is_carried_to_every_other() {
    let labelled = Labelled::start().await;
    let gateway = &labelled.gateway;
    let asked = labelled.invoke(&labelled.agent, CREATE, &campaign()).await;
    assert_eq!(asked.status, 200, "before reading: {}", asked.text());

    labelled.read(&labelled.agent).await;
    is_refused(&labelled.invoke(&labelled.agent, CREATE, &campaign()).await);
    let modern = gateway
        .modern_call(
            &labelled.agent,
            "ads_createCampaign",
            &campaign(),
            &json!({}),
        )
        .await;
    result_is_refused(&modern);
    let session = gateway.legacy(&labelled.agent, can_be_asked()).await;
    let params = json!({"name": "ads_createCampaign", "arguments": campaign()});
    let answer = session.answer("tools/call", params).await;
    result_is_refused(&answer["result"]);

    // Others are not touched: another subject, and the same name in another tenant.
    let other = labelled.home.role("agent-2", "agent").await;
    let same = labelled
        .home
        .mint("agent-1", &["--role", "agent", "--tenant", "acme"])
        .await;
    for token in [&other, &same] {
        let reply = labelled.invoke(token, CREATE, &campaign()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    // A new token of the same caller is no way out, nor is what is harmless forbidden.
    let fresh = labelled.home.role("agent-1", "agent").await;
    is_refused(&labelled.invoke(&fresh, CREATE, &campaign()).await);
    labelled.read(&fresh).await;
    assert_eq!(gateway.number(&fresh, "SELECT 1").await, 1);

    // The record says what was carried and what was read.
    let records = labelled.home.audit();
    let of = |decision: &str, tool: &str| {
        let found = records.iter().rev().find(|r| {
            r["toolId"] == tool && r["policy_decision"] == decision && r["sub"] == "agent-1"
        });
        found.unwrap_or_else(|| panic!("{decision} {tool}")).clone()
    };
    let refused = of("deny", CREATE);
    assert_eq!(refused["details"]["attributes"]["labels"], json!(["pii"]));
    assert_eq!(
        refused["policy_ids"],
        json!(["nothing-leaves-after-reading"])
    );
    let read = of("allow", TABLES);
    assert_eq!(read["details"]["result_labels"], json!(["pii"]));
}

#[tokio::test]
async fn a_session_of_the_older_protocol_taints_its_caller_everywhere() {
    let labelled = Labelled::start().await;
    let gateway = &labelled.gateway;
    let session = gateway.legacy(&labelled.agent, can_be_asked()).await;
    let call = async |session: &Legacy<'_>, tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments});
        session.answer("tools/call", params).await["result"].clone()
    };
    let read = call(&session, "database_listTables", json!({})).await;
    assert_ne!(read["isError"], true, "{read}");
    result_is_refused(&call(&session, "ads_createCampaign", campaign()).await);
    let next = gateway.legacy(&labelled.agent, can_be_asked()).await;
    result_is_refused(&call(&next, "ads_createCampaign", campaign()).await);
    is_refused(&labelled.invoke(&labelled.agent, CREATE, &campaign()).await);
}

#[tokio::test]
async fn the_classification_of_a_tool_is_a_label_of_its_results() {
    let labelled = Labelled::start().await;
    let gateway = &labelled.gateway;
    let writer = labelled.home.role("writer", "agent").await;
    let asked = labelled
        .invoke(&writer, "filesystem:writeFile", &note("secret plan"))
        .await
        .json();
    labelled
        .confirm(&writer, &asked, &note("secret plan"))
        .await
        .ok();
    let read = gateway
        .modern_call(
            &labelled.agent,
            "filesystem_readFile",
            &json!({"path": "note.txt"}),
            &json!({}),
        )
        .await;
    assert_ne!(read["isError"], true, "{read}");
    is_refused(&labelled.invoke(&labelled.agent, CREATE, &campaign()).await);
    // What it was given is confidential, not personal: the other rule has nothing against it.
    let asked = labelled
        .invoke(&labelled.agent, "filesystem:writeFile", &note("x"))
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
}

#[tokio::test]
async fn a_confirmation_is_decided_by_what_is_carried_then() {
    let labelled = Labelled::start().await;
    let agent = &labelled.agent;
    let asked = labelled
        .invoke(agent, "filesystem:writeFile", &note("x"))
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let modern = labelled
        .gateway
        .modern_call(agent, "filesystem_writeFile", &note("y"), &json!({}))
        .await;
    assert_eq!(modern["resultType"], "input_required", "{modern}");

    labelled.read(agent).await;
    let refused = labelled.confirm(agent, &asked.json(), &note("x")).await;
    let error = refused.error(403, "FORBIDDEN");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("no-writing-after-pii"),
        "{error}"
    );
    let answered = labelled
        .gateway
        .modern_call(
            agent,
            "filesystem_writeFile",
            &note("y"),
            &json!({"requestState": modern["requestState"], "inputResponses": {"confirm": accept()}}),
        )
        .await;
    assert_eq!(answered["isError"], true, "{answered}");
    let written: &Path = &labelled.home.data().join("files");
    assert!(
        !fs::read_dir(written).is_ok_and(
            |mut all| all.any(|entry| { entry.unwrap().path().join("note.txt").exists() })
        )
    );
}

#[tokio::test]
async fn an_operation_carries_what_its_caller_had_read_to_its_end() {
    let labelled = Labelled::start().await;
    let lax = POLICY.replace("context.labels: pii", "context.labels: secret");
    labelled.load(&lax).await;
    let overwrite = json!({"path": "note.txt", "content": "x", "overwrite": true});
    labelled.read(&labelled.agent).await;
    let asked = labelled
        .invoke(&labelled.agent, "filesystem:writeFile", &overwrite)
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let id = asked.json()["operation_id"].as_str().unwrap().to_owned();

    // Who approves sees what the one who asked had read.
    let bob = labelled.home.role("bob", "approver").await;
    let path = format!("/approvals/{id}");
    let shown = labelled
        .gateway
        .ask("GET", &path)
        .bearer(&bob)
        .send()
        .await
        .ok();
    assert_eq!(shown["labels"], json!(["pii"]), "{shown}");
    let decision = json!({"decision": "approve", "digest": shown["digest"]});
    let decided = labelled
        .gateway
        .ask("POST", &path)
        .bearer(&bob)
        .json(&decision);
    assert_eq!(decided.send().await.status, 200);

    // By the time of the confirmation the caller carries nothing any more, but the operation does.
    labelled.forget().await;
    labelled.load(POLICY).await;
    let carried = labelled.invoke(&labelled.agent, CREATE, &campaign()).await;
    assert_eq!(carried.status, 200, "{}", carried.text());
    let refused = labelled
        .confirm(&labelled.agent, &asked.json(), &overwrite)
        .await;
    refused.error(403, "FORBIDDEN");
    // Repeated without its ticket it is the same operation.
    let repeated = labelled
        .invoke(&labelled.agent, "filesystem:writeFile", &overwrite)
        .await;
    repeated.error(403, "FORBIDDEN");
    labelled.load(&lax).await;
    labelled
        .confirm(&labelled.agent, &asked.json(), &overwrite)
        .await
        .ok();
}

#[tokio::test]
async fn a_stored_result_is_read_again_when_it_is_replayed() {
    let labelled = Labelled::start().await;
    labelled.read_once().await.ok();
    labelled.forget().await;
    let free = labelled.invoke(&labelled.agent, CREATE, &campaign()).await;
    assert_eq!(free.status, 200, "{}", free.text());
    let replayed = labelled.read_once().await;
    assert_eq!(replayed.header("x-idempotent-replay"), Some("true"));
    is_refused(&labelled.invoke(&labelled.agent, CREATE, &campaign()).await);
}

#[tokio::test]
async fn what_is_cleared_beside_a_running_gateway_is_recorded_by_it() {
    let labelled = Labelled::start().await;
    labelled.read(&labelled.agent).await;
    labelled.forget().await;
    let record = until("the record", async || {
        let mut audit = labelled.home.audit().into_iter();
        audit.find(|record| record["action"] == "labels.cleared")
    })
    .await;
    let about = (&record["tenant"], &record["resource_id"], &record["status"]);
    assert_eq!(
        about,
        (&json!("public"), &json!("agent-1"), &json!("success"))
    );
    let details = &record["details"];
    assert_eq!(
        (&details["by"], &details["cleared"]),
        (&json!("operator"), &json!(1))
    );
    assert!(
        details["act"].is_string() && details["at"].is_string(),
        "{record}"
    );
    labelled.gateway.stop().await;
    let records = labelled.home.audit().into_iter();
    let cleared = records.filter(|record| record["action"] == "labels.cleared");
    assert_eq!(cleared.count(), 1);
}

#[tokio::test]
async fn a_stored_result_keeps_the_labels_that_it_had() {
    let labelled = Labelled::start().await;
    labelled.read_once().await.ok();
    // The tool loses its label, and the caller what it carried.
    let admin = labelled
        .home
        .mint("boss", &["--role", "admin", "--role", "agent"])
        .await;
    let washed = register(&labelled.gateway, &admin, TABLES, &json!({"labels": []})).await;
    assert_eq!(washed.status, 201, "{}", washed.text());
    labelled.forget().await;
    labelled
        .invoke(&labelled.agent, TABLES, &json!({}))
        .await
        .ok();
    let free = labelled.invoke(&labelled.agent, CREATE, &campaign()).await;
    assert_eq!(free.status, 200, "{}", free.text());
    // What was read then is what it was then.
    let replayed = labelled.read_once().await;
    assert_eq!(replayed.header("x-idempotent-replay"), Some("true"));
    is_refused(&labelled.invoke(&labelled.agent, CREATE, &campaign()).await);
}

#[tokio::test]
async fn labels_are_forgotten_in_time_and_no_sooner() {
    let labelled = Labelled::start().await;
    labelled.read(&labelled.agent).await;
    let shown = labelled
        .home
        .run(
            &[
                "labels", "show", "--tenant", "public", "--sub", "agent-1", "--json",
            ],
            &[],
        )
        .await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["label"], "pii");
    let until: jiff::Timestamp = shown["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((28_700..=28_800).contains(&left), "{left}");

    // The gateway's own restart forgets nothing.
    let Labelled {
        home,
        gateway,
        agent,
    } = labelled;
    gateway.stop().await;
    let gateway = home.start().await;
    is_refused(&gateway.invoke(&agent, CREATE, &campaign()).send().await);
}

#[tokio::test]
async fn a_manifest_names_its_labels_properly() {
    let labelled = Labelled::start().await;
    let admin = labelled
        .home
        .mint("boss", &["--role", "admin", "--role", "agent"])
        .await;
    let many: Vec<_> = (0..17).map(|n| format!("l{n}")).collect();
    for (labels, said) in [
        (json!(["PII"]), "`PII` is not a label"),
        (json!(["p i"]), "is not a label"),
        (json!([""]), "is not a label"),
        (json!(many), "at most 16"),
        (json!("pii"), "labels"),
    ] {
        let reply = register(&labelled.gateway, &admin, QUERY, &json!({"labels": labels})).await;
        let error = reply.error(422, "VALIDATION_ERROR");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_begins_after_a_result_was_given_escapes_it() {
    let labelled = Labelled::start().await;
    let callers = (0..12).map(|n| {
        let labelled = &labelled;
        async move {
            let token = labelled.home.role(&format!("busy-{n}"), "agent").await;
            // Several results and several ways out at once; each way out that begins behind a result is closed.
            let rounds = (0..6).map(|_| async {
                labelled.read(&token).await;
                is_refused(&labelled.invoke(&token, CREATE, &campaign()).await);
            });
            let racing = (0..6).map(|_| async {
                let reply = labelled.invoke(&token, CREATE, &campaign()).await;
                assert!([200, 403].contains(&reply.status), "{}", reply.text());
            });
            futures_util::future::join(
                futures_util::future::join_all(rounds),
                futures_util::future::join_all(racing),
            )
            .await;
            is_refused(&labelled.invoke(&token, CREATE, &campaign()).await);
        }
    });
    futures_util::future::join_all(callers).await;
    // In the log, too: no campaign was intended behind the first result of its caller.
    let records = labelled.home.audit();
    for n in 0..12 {
        let sub = format!("busy-{n}");
        let first = records
            .iter()
            .find(|r| r["sub"] == *sub && r["toolId"] == TABLES && r["status"] == "success")
            .unwrap();
        assert_eq!(first["details"]["result_labels"], json!(["pii"]));
    }
}
