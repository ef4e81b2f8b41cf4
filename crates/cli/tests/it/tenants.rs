//! Whatever the tenants are called and whatever they have: no route shows anything of one to another.

use std::fs;

use proptest::{
    prelude::any,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, accept, can_be_asked, modern};

/// On top of the built-in policy: some files are written only once a person has approved.
const RULES: &str = r#"
version: 1
roles:
  desk: ["approvals.decide"]
rules:
  - {id: ask-a-person, effect: allow, when: {resource.toolId: "filesystem:writeFile", context.arguments.path: "asked.txt"}, require_confirmation: person}
"#;
const ROLES: [&str; 6] = [
    "admin",
    "data-analyst",
    "fs-reader",
    "fs-writer",
    "finance-write",
    "desk",
];

/// What the owner has, and what another may hear of it: nothing.
struct Owned {
    tool: String,
    canary: String,
    key: String,
    action_token: Value,
    state: Value,
    operations: Vec<String>,
}

struct Town {
    home: Home,
    gateway: Gateway,
}

impl Town {
    async fn build() -> Self {
        let home = Home::new();
        let folder = home.folder().join("policy");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("00.yml"), fastmcp_policy::DEFAULT_POLICY).unwrap();
        fs::write(folder.join("10.yml"), RULES).unwrap();
        let gateway = home.start_with(&[("FASTMCP_POLICY", "policy")]).await;
        Self { home, gateway }
    }

    async fn token(&self, tenant: &str) -> String {
        let roles = ROLES.iter().flat_map(|role| ["--role", *role]);
        let rest: Vec<&str> = ["--tenant", tenant].into_iter().chain(roles).collect();
        // The same name in both tenants: names alone must separate nobody, nor join them.
        self.home.mint("somebody", &rest).await
    }

    async fn invoke(&self, token: &str, tool: &str, arguments: &Value, key: &str) -> Reply {
        let ask = self.gateway.invoke(token, tool, arguments);
        let ask = if key.is_empty() {
            ask
        } else {
            ask.header("idempotency-key", key)
        };
        ask.send().await
    }

    async fn rpc(&self, token: &str, method: &str, params: Value) -> Reply {
        let message = modern(method, params, &can_be_asked());
        self.gateway.modern(token, &message).send().await
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        self.gateway.ask("GET", path).bearer(token).send().await
    }

    /// Everything that a tenant can have: a tool, a file, a result under a key, calls that wait.
    async fn settle(&self, token: &str, word: &str, seed: u64) -> Owned {
        let (tool, canary) = (format!("database:{word}"), format!("canary{seed:016x}"));
        let manifest = json!({
            "toolId": tool, "name": canary, "description": canary, "read_only": true, "provider_id": "database",
            "inputs": {"type": "object"}, "outputs": {"type": "object"}, "required_scopes": ["database.read"],
        });
        let registered = self.gateway.ask("POST", "/manifests/register");
        let registered = registered.bearer(token).json(&manifest).send().await;
        assert_eq!(registered.status, 201, "{}", registered.text());
        let used = self.invoke(token, &tool, &json!({}), "").await;
        assert!(used.status != 404, "{}", used.text());
        let file = json!({"path": "notes.txt", "content": canary});
        let key = format!("key-{word}");
        let written = self
            .invoke(token, "filesystem:writeFile", &file, &key)
            .await;
        assert_eq!(written.status, 200, "{}", written.text());
        let campaign = json!({"name": canary, "budget": 7, "startDate": "2027-03-01"});
        let asked = self
            .invoke(token, "ads:createCampaign", &campaign, "")
            .await;
        let ticket = asked.json();
        assert_eq!(asked.status, 202, "{ticket}");
        let params = json!({"name": "ads_createCampaign", "arguments": campaign});
        let question = self.rpc(token, "tools/call", params).await.ok();
        let waiting = json!({"path": "asked.txt", "content": canary});
        let waits = self
            .invoke(token, "filesystem:writeFile", &waiting, "")
            .await;
        let waits = waits.json();
        assert_eq!(waits["requires_approval"], "person", "{waits}");
        let ids = [&ticket, &waits].map(|told| told["operation_id"].as_str().unwrap().to_owned());
        Owned {
            tool,
            canary,
            key,
            action_token: ticket["action_token"].clone(),
            state: question["result"]["requestState"].clone(),
            operations: ids.to_vec(),
        }
    }

    /// Every answer that another tenant can get, asking for exactly what is not its own.
    async fn pry(&self, token: &str, owned: &Owned) -> Vec<(String, Reply)> {
        let mut told = self.pry_at_the_desk(token, owned).await;
        told.extend(self.pry_over_rest(token, owned).await);
        told.extend(self.pry_over_mcp(token, owned).await);
        told
    }

    async fn pry_at_the_desk(&self, token: &str, owned: &Owned) -> Vec<(String, Reply)> {
        let mut told = Vec::new();
        for path in [
            "/tool-catalog",
            "/approvals",
            "/metrics",
            "/ready",
            "/health",
            "/openapi.json",
            "/docs",
        ] {
            told.push((path.to_owned(), self.get(token, path).await));
        }
        for id in &owned.operations {
            let path = format!("/approvals/{id}");
            let shown = self.get(token, &path).await;
            assert_eq!(shown.status, 404, "{}", shown.text());
            told.push((path.clone(), shown));
            for decision in [
                json!({"decision": "deny"}),
                json!({"decision": "approve", "digest": "sha256:00"}),
            ] {
                let ask = self.gateway.ask("POST", &path).bearer(token);
                let decided = ask.json(&decision).send().await;
                assert_eq!(decided.status, 404, "{}", decided.text());
                told.push((path.clone(), decided));
            }
        }
        told
    }

    async fn pry_over_rest(&self, token: &str, owned: &Owned) -> Vec<(String, Reply)> {
        let mut told = Vec::new();
        let foreign = self.invoke(token, &owned.tool, &json!({}), "").await;
        assert_eq!(foreign.status, 404, "{}", foreign.text());
        told.push(("invoke".to_owned(), foreign));
        let read = json!({"path": "notes.txt"});
        let read = self.invoke(token, "filesystem:readFile", &read, "").await;
        told.push(("read".to_owned(), read));
        let listed = self
            .invoke(token, "filesystem:listDirectory", &json!({"path": "."}), "")
            .await;
        told.push(("files".to_owned(), listed));
        let other = json!({"path": "mine.txt", "content": "mine", "overwrite": true});
        let replay = self
            .invoke(token, "filesystem:writeFile", &other, &owned.key)
            .await;
        assert_eq!(replay.header("x-idempotent-replay"), None);
        assert!(
            replay.json()["error"]["details"]["reason"] != "idempotency_conflict",
            "{}",
            replay.text()
        );
        told.push(("key".to_owned(), replay));
        let body = json!({"action_token": owned.action_token, "name": "x", "budget": 7, "startDate": "2027-03-01"});
        let confirmed = self.gateway.confirm(token, "ads:createCampaign", &body);
        let confirmed = confirmed.send().await;
        assert!(
            [401, 403].contains(&confirmed.status),
            "{}",
            confirmed.text()
        );
        told.push(("confirm".to_owned(), confirmed));
        told
    }

    async fn pry_over_mcp(&self, token: &str, owned: &Owned) -> Vec<(String, Reply)> {
        let mut told = Vec::new();
        let name = owned.tool.replace(':', "_");
        for (method, params) in [
            ("tools/list", json!({})),
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
            ("prompts/list", json!({})),
            ("tools/call", json!({"name": name, "arguments": {}})),
            (
                "tools/call",
                json!({"name": "ads_createCampaign", "arguments": {"name": "x", "budget": 7, "startDate": "2027-03-01"},
                "requestState": owned.state, "inputResponses": {"confirm": accept()}}),
            ),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "x", "value": ""}}),
            ),
            ("server/discover", json!({})),
        ] {
            let reply = self.rpc(token, method, params).await;
            let done = method == "tools/call" && reply.text().contains("campaignId");
            assert!(!done, "{method}: {}", reply.text());
            told.push((method.to_owned(), reply));
        }
        let session = self.gateway.legacy(token, json!({})).await;
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
        told.push((
            "tools/list of a session".to_owned(),
            session.send(&list).await,
        ));
        told
    }
}

#[test]
fn attack_28_nothing_crosses_tenants() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let town = runtime.block_on(Town::build());
    let config = Config {
        cases: 8,
        max_shrink_iters: 4,
        failure_persistence: None,
        ..Config::default()
    };
    // Long enough not to be drawn twice: an owner's files outlive its case.
    let names = "[a-zA-Z0-9][a-zA-Z0-9 ._:-]{4,14}[a-zA-Z0-9]";
    let strategy = (names, names, "[a-z]{9,14}", any::<u64>());
    let case = |(left, right, word, seed): (String, String, String, u64)| {
        if left == right || [&left, &right].iter().any(|name| *name == "public") {
            return Err(TestCaseError::reject("two tenants are needed"));
        }
        runtime.block_on(async {
            let (owner, other) = (town.token(&left).await, town.token(&right).await);
            let word = format!("own{word}{:04x}", seed & 0xffff);
            let owned = town.settle(&owner, &word, seed).await;
            for (route, reply) in town.pry(&other, &owned).await {
                let text = reply.text();
                let canary = text.contains(&owned.canary);
                assert!(!canary, "{route} tells `{right}` of `{left}`: {text}");
                // Whoever asks for a tool by its name is told that name again, and nothing else.
                let named = route != "tools/call" && text.contains(&word);
                assert!(!named, "{route} tells `{right}` of `{left}`: {text}");
                for id in &owned.operations {
                    let told = route.starts_with("/approvals/") || !text.contains(id.as_str());
                    assert!(told, "{route} names an operation of `{left}`: {text}");
                }
            }
            // It was there to be seen: its owner sees all of it.
            let catalogue = town.gateway.catalogue(&owner).await;
            assert!(catalogue.text().contains(&owned.canary));
            let waiting = town.get(&owner, "/approvals").await;
            assert!(waiting.text().contains(&owned.operations[1]));
        });
        Ok(())
    };
    let mut runner = TestRunner::new(config);
    runner.run(&strategy, case).unwrap();
}
