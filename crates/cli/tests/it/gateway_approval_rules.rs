//! Rules that say who may approve what.

use std::{fs, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use fastmcp_gateway::{
    confirm::{Config, Confirm},
    keys::Keys,
    manifest::ToolId,
    state::{Location, Options, State, operation::Binding},
};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use fastmcp_protocol::args::{Args, ArgsLimits};
use serde_json::{Value, json};

use crate::{
    gateway_labels::register,
    support::{Gateway, Home, Reply},
};

const CREATE: &str = "ads:createCampaign";
const WRITE: &str = "filesystem:writeFile";
/// Money is approved by finance, up to what a rule allows; files by leads; nobody approves in the name of another house.
const POLICY: &str = r#"
version: 1
roles:
  buyer: ["ads.write", "tools.invoke:write", "filesystem.read", "filesystem.write"]
  finance: ["approvals.decide"]
  lead: ["approvals.decide"]
  intern: ["approvals.decide"]
  guest: ["tools.invoke:read"]
rules:
  - {id: buy, effect: allow, when: {action: tools.invoke, subject.roles: buyer}}
  - {id: four-eyes, effect: allow, when: {resource.toolId_in: ["ads:createCampaign", "filesystem:writeFile"]}, require_confirmation: other_person}
  - {id: finance-approves-money, effect: allow, when: {action: approvals.decide, resource.safety_tags_any: [financial], subject.roles: finance}}
  - {id: leads-approve-files, effect: allow, when: {action: approvals.decide, resource.provider_id: filesystem, subject.roles: lead}}
  - id: no-intern-approves
    effect: deny
    description: interns approve nothing
    when: {action: approvals.decide, subject.roles: intern}
  - id: closed-names
    effect: deny
    description: this campaign is for the board
    when: {action: approvals.decide, context.arguments.name: Board}
"#;

struct Desk {
    home: Home,
    gateway: Gateway,
    buyer: String,
}

impl Desk {
    async fn open(policy: &str) -> Self {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        fs::write(home.policies(), policy).unwrap();
        let gateway = home.start().await;
        let buyer = home
            .mint("alice", &["--role", "buyer", "--role", "finance"])
            .await;
        Self {
            home,
            gateway,
            buyer,
        }
    }

    /// Asks for a call, and says as which operation it waits.
    async fn asks(&self, tool: &str, arguments: &Value) -> String {
        let asked = self
            .gateway
            .invoke(&self.buyer, tool, arguments)
            .send()
            .await;
        assert_eq!(asked.status, 202, "{}", asked.text());
        asked.json()["operation_id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        self.gateway.ask("GET", path).bearer(token).send().await
    }

    /// The tools of the calls that somebody is shown.
    async fn listed(&self, token: &str) -> Vec<String> {
        let listed = self.get(token, "/approvals").await.ok();
        let listed = listed["approvals"].as_array().unwrap().clone();
        let tool = |one: &Value| one["toolId"].as_str().unwrap().to_owned();
        let mut tools: Vec<_> = listed.iter().map(tool).collect();
        tools.sort();
        tools
    }

    async fn decide(&self, token: &str, id: &str, decision: &str) -> Reply {
        // Looked at by whoever may; told to whoever tries.
        let finance = self.home.role("looker", "finance").await;
        let lead = self.home.role("looker", "lead").await;
        let path = format!("/approvals/{id}");
        let mut digest = json!("sha256:00");
        for token in [&finance, &lead] {
            let shown = self.get(token, &path).await;
            if shown.status == 200 {
                digest = shown.json()["digest"].clone();
            }
        }
        let body = match decision {
            "approve" => json!({"decision": decision, "digest": digest}),
            _ => json!({"decision": decision}),
        };
        let ask = self.gateway.ask("POST", &path).bearer(token).json(&body);
        ask.send().await
    }
}

fn campaign(name: &str) -> Value {
    json!({"name": name, "budget": 250, "startDate": "2027-03-01"})
}

fn file() -> Value {
    json!({"path": "a.txt", "content": "x"})
}

#[tokio::test]
async fn rules_say_who_sees_and_approves_what() {
    let desk = Desk::open(POLICY).await;
    let money = desk.asks(CREATE, &campaign("Spring")).await;
    let board = desk.asks(CREATE, &campaign("Board")).await;
    let files = desk.asks(WRITE, &file()).await;
    let finance = desk.home.role("fay", "finance").await;
    let lead = desk.home.role("leo", "lead").await;
    let both = desk
        .home
        .mint("zoe", &["--role", "lead", "--role", "finance"])
        .await;
    let intern = desk
        .home
        .mint("ian", &["--role", "intern", "--role", "finance"])
        .await;
    let guest = desk.home.role("gus", "guest").await;
    let elsewhere = desk
        .home
        .mint("fay", &["--role", "finance", "--tenant", "acme"])
        .await;

    // A person sees what it may approve, and nothing else.
    assert_eq!(desk.listed(&finance).await, [CREATE]);
    assert_eq!(desk.listed(&lead).await, [WRITE]);
    assert_eq!(desk.listed(&both).await, [CREATE, WRITE]);
    assert!(desk.listed(&intern).await.is_empty());
    assert!(desk.listed(&elsewhere).await.is_empty());
    desk.get(&guest, "/approvals").await.error(403, "FORBIDDEN");
    for (token, id) in [
        (&lead, &money),
        (&finance, &files),
        (&finance, &board),
        (&intern, &money),
    ] {
        let shown = desk.get(token, &format!("/approvals/{id}")).await;
        shown.error(403, "FORBIDDEN");
        desk.decide(token, id, "approve")
            .await
            .error(403, "FORBIDDEN");
        desk.decide(token, id, "deny").await.error(403, "FORBIDDEN");
    }
    desk.decide(&elsewhere, &money, "approve")
        .await
        .error(404, "NOT_FOUND");
    let denied = desk
        .decide(&intern, &money, "approve")
        .await
        .error(403, "FORBIDDEN");
    assert!(
        denied["message"]
            .as_str()
            .unwrap()
            .contains("interns approve nothing"),
        "{denied}"
    );
    // She holds the role, and asked herself.
    assert_eq!(desk.listed(&desk.buyer).await, [CREATE]);
    let own = desk
        .decide(&desk.buyer, &money, "approve")
        .await
        .error(403, "FORBIDDEN");
    assert!(
        own["message"].as_str().unwrap().contains("another person"),
        "{own}"
    );

    // The page of the browser is the same desk, and so is the command.
    let list = ["approvals", "list", "--json", "--url"];
    let url = format!("http://{}", desk.gateway.address());
    let shown = desk
        .home
        .run(&[&list[..], &[&url]].concat(), &[("FASTMCP_TOKEN", &lead)])
        .await;
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success() && said.contains(WRITE) && !said.contains(CREATE),
        "{shown:?}"
    );
    let refused = desk
        .home
        .run(
            &["approvals", "deny", &money, "--url", &url],
            &[("FASTMCP_TOKEN", &lead)],
        )
        .await;
    assert!(!refused.status.success(), "{refused:?}");

    assert_eq!(
        desk.decide(&finance, &money, "approve").await.ok()["status"],
        "confirmed"
    );
    assert_eq!(
        desk.decide(&lead, &files, "deny").await.ok()["status"],
        "declined"
    );
    assert!(desk.listed(&both).await.is_empty());

    // The record names the rules, of what was granted and of what was refused.
    let records = desk.home.audit();
    let of = |who: &str, status: &str| {
        let found = records.iter().rev().find(|r| {
            r["action"] == "approvals.decide" && r["sub"] == who && r["status"] == status
        });
        found.unwrap_or_else(|| panic!("{who} {status}"))
    };
    let granted = of("fay", "success");
    assert_eq!(granted["policy_ids"], json!(["finance-approves-money"]));
    assert_eq!(granted["policy_decision"], "allow");
    assert_eq!(granted["details"]["decision"], "approve");
    assert_eq!(granted["details"]["operation_sub"], "alice");
    assert_eq!(
        granted["details"]["attributes"]["safety_tags"],
        json!(["destructive", "financial"])
    );
    let refused = of("ian", "denied");
    assert_eq!(refused["policy_ids"], json!(["no-intern-approves"]));
    desk.gateway.stop().await;
    assert!(desk.home.verify().await.0);
}

#[tokio::test]
async fn a_rule_that_only_denies_leaves_the_others_to_the_scope() {
    let policy = POLICY
        .lines()
        .filter(|line| {
            !line.contains("finance-approves-money") && !line.contains("leads-approve-files")
        })
        .collect::<Vec<_>>()
        .join("\n");
    let desk = Desk::open(&policy).await;
    let money = desk.asks(CREATE, &campaign("Spring")).await;
    desk.asks(CREATE, &campaign("Board")).await;
    desk.asks(WRITE, &file()).await;
    let lead = desk.home.role("leo", "lead").await;
    let intern = desk.home.role("ian", "intern").await;
    assert_eq!(desk.listed(&lead).await, [CREATE, WRITE]);
    assert!(desk.listed(&intern).await.is_empty());
    desk.decide(&intern, &money, "approve")
        .await
        .error(403, "FORBIDDEN");
    desk.decide(&lead, &money, "approve").await.ok();
}

/// Leads approve whatever nobody forbids.
const PAYROLL: &str = r#"
version: 1
roles:
  buyer: ["tools.invoke:write", "filesystem.read", "filesystem.write"]
  admin: ["manifests.register", "tools.invoke:write", "filesystem.write"]
  lead: ["approvals.decide"]
  finance: ["approvals.decide"]
rules:
  - {id: call, effect: allow, when: {action: tools.invoke, subject.roles: [buyer, admin]}}
  - {id: register, effect: allow, when: {action: manifests.register, subject.roles: admin}}
  - {id: list, effect: allow, when: {action: "catalog:list"}}
  - {id: four-eyes, effect: allow, when: {resource.toolId: "filesystem:writeFile"}, require_confirmation: other_person}
  - id: not-the-payroll
    effect: deny
    description: the payroll is not approved here
    when: {action: approvals.decide, resource.safety_tags: payroll}
"#;

/// The state of a gateway that is not running.
async fn state(home: &Home) -> State {
    let keys = Keys::open(&home.data()).unwrap();
    let location = Location::File(home.data().join("state.db"));
    let options = Options::new(location, Arc::new(keys.seal()), "gw-1").unwrap();
    State::open(options).await.unwrap()
}

#[track_caller]
fn is_payroll(reply: &Reply) {
    let refused = reply.error(403, "FORBIDDEN");
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("the payroll is not approved here"), "{said}");
}

#[tokio::test]
async fn a_call_is_judged_as_the_tool_that_was_asked_for() {
    let mut desk = Desk::open(PAYROLL).await;
    let admin = desk.home.role("boss", "admin").await;
    let lead = desk.home.role("leo", "lead").await;
    let tag = async |gateway: &Gateway, tags: Value| {
        let more = json!({"safety_tags": tags});
        let registered = register(gateway, &admin, WRITE, &more).await;
        assert_eq!(registered.status, 201, "{}", registered.text());
    };
    let plain = desk.asks(WRITE, &file()).await;
    assert_eq!(desk.listed(&lead).await, [WRITE]);
    tag(&desk.gateway, json!(["payroll"])).await;
    let other = json!({"path": "b.txt", "content": "x"});
    let payroll = desk.asks(WRITE, &other).await;
    let shown = async |desk: &Desk, id: &str| desk.get(&lead, &format!("/approvals/{id}")).await;
    // Asked for before it was said to be payroll, it is payroll now.
    is_payroll(&shown(&desk, &plain).await);
    is_payroll(&shown(&desk, &payroll).await);
    assert!(desk.listed(&lead).await.is_empty());

    // Asked for as payroll, it stays payroll, whatever the tool is by now.
    tag(&desk.gateway, json!([])).await;
    is_payroll(&shown(&desk, &payroll).await);
    is_payroll(&desk.decide(&lead, &payroll, "approve").await);
    assert_eq!(shown(&desk, &plain).await.status, 200);

    // So it does where nobody knows the tool any more.
    desk.gateway.stop().await;
    let state = state(&desk.home).await;
    let id = ToolId::parse(WRITE).unwrap();
    let found = state.manifests().get("public", &id).await.unwrap();
    let mut manifest = found.expect("registered").manifest;
    manifest.inputs = json!({"type": "string"});
    let now = SystemClock.now();
    state.manifests().put(&manifest, now).await.unwrap();
    // One from before it was kept what a tool was.
    let text = json!({"path": "old.txt", "content": "x"}).to_string();
    let args = Args::parse_str(&text, &ArgsLimits::default()).unwrap();
    let mut binding = Binding {
        tenant: "public".to_owned(),
        subject: "alice".to_owned(),
        actors: String::new(),
        client: None,
        tool_id: id,
        definition_hash: [1; 32],
        args_digest: [0; 32],
        obligations: "confirm:other_person".to_owned(),
        policy_version: "v1".to_owned(),
        labels: String::new(),
        tool: String::new(),
    };
    let digest = digest(&SHA256, &args.digest_input());
    binding.args_digest.copy_from_slice(digest.as_ref());
    let confirm = Confirm::new(state.ledger().clone(), Config::default()).unwrap();
    let waits = confirm.submit(&binding, &args.canonical(), None).await;
    let old = waits.unwrap().operation_id;
    state.close().await;
    desk.gateway = desk.home.start().await;
    is_payroll(&shown(&desk, &payroll).await);
    let unknown = shown(&desk, old.as_str()).await.error(409, "CONFLICT");
    assert_eq!(unknown["details"]["reason"], "tool_unknown", "{unknown}");
    assert_eq!(desk.listed(&lead).await, [WRITE]);
    let approved = desk.decide(&lead, &plain, "approve").await.ok();
    assert_eq!(approved["status"], "confirmed");
}
