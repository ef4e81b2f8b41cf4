//! Who calls: who vouches for callers, who acts for them, with which program, and under which name what they do is known.

use std::fs;

use fastmcp_auth::{Algorithm, testing::SigningKey};
use serde_json::{Value, json};

use crate::support::{Home, modern, until};

const THEIRS: &str = "https://customer.example";
const TABLES: &str = "database:listTables";
const INSERT: &str =
    "INSERT INTO orders (customer_id, status, ordered_at) VALUES (1, 'pending', 'who')";

fn keys(key: &SigningKey) -> String {
    json!({"keys": [key.jwk()]}).to_string()
}

fn token(key: &SigningKey, kid: &str, claims: &Value) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut all = json!({
        "iss": THEIRS, "aud": "fastmcp", "sub": "ada", "tenant": "acme", "iat": now, "exp": now + 600,
    });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
    key.sign_as(Algorithm::Es256, &header, &all)
}

const DESCRIBED: [&str; 2] = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
];

#[tokio::test]
async fn clients_are_told_of_the_issuers_that_are_believed_and_of_no_others() {
    let home = Home::new();
    let key = SigningKey::ec("theirs");
    home.write("theirs.json", &keys(&key));
    let issuers = |urls: &[&str]| {
        let entries = urls
            .iter()
            .map(|url| format!("{{issuer: \"{url}\", tenants: acme, jwks_file: theirs.json}}"));
        let entries: Vec<_> = entries.collect();
        format!("issuers: [{}]", entries.join(", "))
    };
    // A mere name is believed, and nobody can be asked for a token there.
    home.write("issuers.yml", &issuers(&[THEIRS, "a mere name"]));
    let vars = [("JWT_ISSUERS_FILE", "issuers.yml"), ("JWT_ALG", "ES256")];
    let gateway = home.start_with(&vars).await;
    for path in DESCRIBED {
        assert_eq!(
            gateway.get(path).await.ok(),
            json!({
                "resource": format!("http://{}/mcp", gateway.address()),
                "authorization_servers": [THEIRS],
                "bearer_methods_supported": ["header"],
            }),
            "{path}"
        );
    }
    fs::write(
        home.folder().join("new.yml"),
        issuers(&["https://other.example", THEIRS]),
    )
    .unwrap();
    fs::rename(
        home.folder().join("new.yml"),
        home.folder().join("issuers.yml"),
    )
    .unwrap();
    until("the issuers of the new file", async || {
        let told = gateway.get(DESCRIBED[1]).await.ok();
        (told["authorization_servers"] == json!(["https://other.example", THEIRS])).then_some(())
    })
    .await;
    gateway.stop().await;

    // The one of JWT_ISSUER counts where its keys are set.
    let own = [
        ("JWT_ISSUER", "https://own.example"),
        ("JWT_JWKS_FILE", "theirs.json"),
    ];
    let gateway = home.start_with(&[&vars[..], &own].concat()).await;
    let told = gateway.get(DESCRIBED[0]).await.ok();
    assert_eq!(
        told["authorization_servers"],
        json!(["https://own.example", "https://other.example", THEIRS])
    );
    gateway.stop().await;
}

#[tokio::test]
async fn rules_and_records_know_the_program_by_its_name() {
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    let rule = "
  - id: no-bots
    effect: deny
    when: {action: tools.invoke, context.client: [MyBot, other-bot]}
";
    let built_in = include_str!("../../../policy/policies.yml");
    fs::write(home.policies(), format!("{built_in}{rule}")).unwrap();
    let gateway = home.start().await;
    let token = home.role("ada", "data-analyst").await;
    let cases = [
        ("curl/8.1", 200, json!("curl"), json!("8.1")),
        ("curl", 200, json!("curl"), Value::Null),
        (
            "MyBot/2.1 (Linux; x) curl/8.1",
            403,
            json!("MyBot"),
            json!("2.1"),
        ),
        // Names are compared exactly.
        ("mybot/2.1", 200, json!("mybot"), json!("2.1")),
        // A program without a name may be the one that a rule refuses.
        ("(nothing but a comment)", 403, Value::Null, Value::Null),
    ];
    for (at, (agent, status, name, version)) in cases.iter().enumerate() {
        let corr_id = format!("rest-{at}");
        let reply = gateway
            .invoke(&token, TABLES, &json!({}))
            .header("user-agent", agent)
            .header("x-correlation-id", &corr_id)
            .send()
            .await;
        assert_eq!(reply.status, *status, "{agent}: {}", reply.text());
        let records = home.audit_of(&corr_id);
        let [record] = records.as_slice() else {
            panic!("{records:?}")
        };
        let attributes = &record["details"]["attributes"];
        assert_eq!(
            (&attributes["client"], &attributes["client_version"]),
            (name, version),
            "{record}"
        );
        assert_eq!(record["user_agent"], *agent, "{record}");
    }
    // What MCP's clientInfo says counts before the header.
    for (at, (name, title, agent, refused)) in [
        ("desktop", json!("A desktop"), "MyBot/1", false),
        ("other-bot", json!("A bot"), "curl/8.1", true),
        // Nothing else that stands there makes it nameless.
        ("other-bot", json!(7), "curl/8.1", true),
    ]
    .into_iter()
    .enumerate()
    {
        let corr_id = format!("mcp-{at}");
        let params = json!({"name": "database_listTables", "arguments": {}});
        let mut message = modern("tools/call", params, &json!({}));
        message["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] =
            json!({"name": name, "version": "3", "title": title});
        let reply = gateway
            .modern(&token, &message)
            .header("user-agent", agent)
            .header("x-correlation-id", &corr_id)
            .send()
            .await
            .ok();
        assert_eq!(reply["result"]["isError"] == true, refused, "{reply}");
        let record = &home.audit_of(&corr_id)[0];
        let attributes = &record["details"]["attributes"];
        assert_eq!(
            (&attributes["client"], &attributes["client_version"]),
            (&json!(name), &json!("3")),
            "{record}"
        );
        assert_eq!(record["user_agent"], agent, "{record}");
    }
    // And what a session began with counts for each of its calls.
    let session = gateway.legacy(&token, json!({})).await;
    let params = json!({"name": "database_listTables", "arguments": {}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let ask = session.ask(&message).header("user-agent", "MyBot/1");
    let reply = ask.header("x-correlation-id", "session").send().await.ok();
    assert!(reply["result"]["isError"].is_null(), "{reply}");
    let record = &home.audit_of("session")[0];
    let attributes = &record["details"]["attributes"];
    assert_eq!(
        (&attributes["client"], &attributes["client_version"]),
        (&json!("black-box"), &json!("1")),
        "{record}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_confirmation_is_its_callers_whatever_program_brings_it() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("ada", "finance-write").await;
    let tool = "ads:createCampaign";
    let mut arguments = json!({"name": "Spring", "budget": 100, "startDate": "2027-03-01"});
    let asked = gateway
        .invoke(&token, tool, &arguments)
        .header("user-agent", "agent/1")
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    arguments["action_token"] = asked.json()["action_token"].clone();
    let confirmed = gateway
        .confirm(&token, tool, &arguments)
        .header("user-agent", "curl/8.1")
        .send()
        .await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    gateway.stop().await;
}

#[tokio::test]
async fn who_acts_for_whom_is_in_every_record() {
    let home = Home::new();
    let key = SigningKey::ec("theirs");
    home.write("theirs.json", &keys(&key));
    home.write(
        "issuers.yml",
        &format!(
            "issuers: [{{issuer: {THEIRS}, tenants: acme, jwks_file: theirs.json, claims: {{act: [act, /actor]}}}}]"
        ),
    );
    let vars = [("JWT_ISSUERS_FILE", "issuers.yml"), ("JWT_ALG", "ES256")];
    let gateway = home.start_with(&vars).await;
    let by = |claims: Value| {
        let mut claims = claims;
        claims["roles"] = json!(["data-admin", "approver"]);
        token(&key, "theirs", &claims)
    };
    let chain = by(json!({
        "actor": {"sub": "agent-7", "iss": "https://agents.example", "actor": {"sub": "svc"}},
    }));
    let said = json!([{"iss": "https://agents.example", "sub": "agent-7"}, {"sub": "svc"}]);
    let query = json!({"query": INSERT});
    for (corr_id, status, records, ask) in [
        (
            "done",
            200,
            2,
            gateway.invoke(&chain, "database:executeQuery", &query),
        ),
        (
            "unknown",
            404,
            1,
            gateway.invoke(&chain, "no:such", &json!({})),
        ),
        (
            "looked",
            200,
            1,
            gateway.ask("GET", "/tool-catalog").bearer(&chain),
        ),
        (
            "approving",
            403,
            1,
            gateway.ask("GET", "/approvals").bearer(&chain),
        ),
    ] {
        let reply = ask.header("x-correlation-id", corr_id).send().await;
        assert_eq!(reply.status, status, "{corr_id}: {}", reply.text());
        let found = home.audit_of(corr_id);
        assert_eq!(found.len(), records, "{found:?}");
        for record in found {
            assert_eq!(record["details"]["actors"], said, "{record}");
            assert_eq!(record["sub"], "ada", "{record}");
        }
    }
    // Under either name, and the two must agree.
    let (one, two) = (json!({"sub": "a"}), json!({"sub": "b"}));
    let mut deep = json!({"sub": "s"});
    for _ in 0..8 {
        deep = json!({"sub": "s", "act": deep});
    }
    for (claims, status) in [
        (json!({"act": one}), 200),
        (json!({"act": one, "actor": one}), 200),
        (json!({"act": one, "actor": two}), 401),
        (json!({"actor": "a"}), 401),
        (json!({"actor": deep}), 401),
        (json!({"act": {"sub": "a", "act": {}}}), 401),
        (json!({}), 200),
    ] {
        let acted = claims.get("act").is_some();
        let asked = gateway.invoke(&by(claims.clone()), TABLES, &json!({}));
        let reply = asked.send().await;
        assert_eq!(reply.status, status, "{claims}: {}", reply.text());
        if status == 200 {
            let record = home.audit().pop().unwrap();
            let expected = if acted { json!([one]) } else { Value::Null };
            assert_eq!(record["details"]["actors"], expected, "{record}");
        }
    }
    let (whole, report) = home.verify().await;
    assert!(whole, "{report}");
    gateway.stop().await;
}

/// Two eyes stay two, whichever token they look through.
#[tokio::test]
async fn who_acts_for_somebody_approves_none_of_it_and_shares_nothing_with_them() {
    const CREATE: &str = "ads:createCampaign";
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    let policy = "
version: 1
roles:
  buyer: [ads.write, \"tools.invoke:write\"]
  approver: [approvals.decide]
rules:
  - {id: four-eyes, effect: allow, when: {action: tools.invoke, subject.roles: buyer}, require_confirmation: other_person}
";
    fs::write(home.policies(), policy).unwrap();
    let key = SigningKey::ec("theirs");
    home.write("theirs.json", &keys(&key));
    home.write(
        "issuers.yml",
        &format!(
            "issuers: [{{issuer: {THEIRS}, tenants: acme, jwks_file: theirs.json, claims: {{act: act}}}}]"
        ),
    );
    let vars = [("JWT_ISSUERS_FILE", "issuers.yml"), ("JWT_ALG", "ES256")];
    let gateway = home.start_with(&vars).await;
    let alice = token(&key, "theirs", &json!({"sub": "alice", "roles": ["buyer"]}));
    let bob_for_alice = json!({"sub": "alice", "roles": ["buyer"], "act": {"sub": "bob"}});
    let bob_for_alice = token(&key, "theirs", &bob_for_alice);
    let [bob, carol] = ["bob", "carol"]
        .map(|sub| token(&key, "theirs", &json!({"sub": sub, "roles": ["approver"]})));
    let arguments = json!({"name": "Spring", "budget": 100, "startDate": "2027-03-01"});
    let ask = async |token: &str| {
        let asked = gateway.invoke(token, CREATE, &arguments).send().await;
        assert_eq!(asked.status, 202, "{}", asked.text());
        asked.json()
    };
    let asked = ask(&bob_for_alice).await;
    let path = format!("/approvals/{}", asked["operation_id"].as_str().unwrap());
    let approve = async |token: &str| {
        let shown = gateway.ask("GET", &path).bearer(token).send().await.ok();
        assert_eq!(shown["actors"], json!([{"sub": "bob"}]), "{shown}");
        let decision = json!({"decision": "approve", "digest": shown["digest"], "note": "fine"});
        let decided = gateway.ask("POST", &path).bearer(token).json(&decision);
        decided.send().await
    };
    let own = approve(&bob).await;
    assert_eq!(own.status, 403, "{}", own.text());
    let other = approve(&carol).await;
    assert_eq!(other.status, 200, "{}", other.text());

    // What was approved for one of them the other one neither gets nor is told.
    let alone = ask(&alice).await;
    assert_ne!(alone["operation_id"], asked["operation_id"], "{alone}");
    let mut confirmation = arguments.clone();
    confirmation["action_token"] = asked["action_token"].clone();
    let stranger = gateway.confirm(&alice, CREATE, &confirmation).send().await;
    assert_eq!(stranger.status, 403, "{}", stranger.text());
    let done = gateway
        .confirm(&bob_for_alice, CREATE, &confirmation)
        .send()
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let again = ask(&alice).await;
    assert_eq!(again["operation_id"], alone["operation_id"]);
    assert!(again.get("done_before").is_none(), "{again}");
    gateway.stop().await;
}

#[tokio::test]
async fn callers_do_not_choose_the_name_of_what_they_do() {
    let home = Home::new();
    let gateway = home.start().await;
    let acme = home
        .mint("ada", &["--role", "finance-write", "--tenant", "acme"])
        .await;
    let globex = home
        .mint("eve", &["--role", "data-admin", "--tenant", "globex"])
        .await;
    let arguments = json!({"name": "Spring", "budget": 100, "startDate": "2027-03-01"});
    let asked = gateway
        .invoke(&acme, "ads:createCampaign", &arguments)
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let operation = asked.json()["operation_id"].as_str().unwrap().to_owned();
    let mut named = Vec::new();
    let writes = json!({"query": INSERT});
    for (tool, arguments) in [
        ("database:executeQuery", &writes),
        ("database:executeQuery", &writes),
        (TABLES, &json!({})),
    ] {
        gateway
            .invoke(&globex, tool, arguments)
            .header("x-correlation-id", &operation)
            .send()
            .await
            .ok();
    }
    let records = home.audit_of(&operation);
    assert_eq!(records.len(), 5, "{records:?}");
    for record in &records {
        let id = record["operation_id"].as_str().unwrap();
        assert_ne!(id, operation, "{record}");
        assert_eq!(id.len(), operation.len(), "{record}");
        named.push(id);
    }
    assert_eq!(named[0], named[1], "the intent and its outcome");
    assert_eq!(named[2], named[3], "the intent and its outcome");
    named.dedup();
    assert_eq!(named.len(), 3, "each call has one of its own: {named:?}");
    let data = home.data().display().to_string();
    let found = [
        "audit",
        "search",
        "--operation",
        &operation,
        "--json",
        "--data-dir",
        &data,
    ];
    let found = home.say(&found).await;
    assert!(found.stdout.contains("\"acme\""), "{found:?}");
    assert!(!found.stdout.contains("globex"), "{found:?}");
    gateway.stop().await;
}
