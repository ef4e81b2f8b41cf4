//! The policy changes while the gateway runs.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Gateway, Home, until};

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway
        .invoke(token, "database:listTables", &json!({}))
        .send()
        .await
        .status
}

async fn version(gateway: &Gateway) -> Value {
    gateway.get("/ready").await.ok()["dependencies"]["policy"]["version"].clone()
}

/// The places of records in the audit log.
fn places(home: &Home, action: &str) -> Vec<u64> {
    let records = home.audit().into_iter();
    let loads = records.filter(|r| r["action"] == action);
    loads.map(|r| r["seq"].as_u64().unwrap()).collect()
}

/// The default policy, with the roles of the database rule replaced by `roles`.
fn only_for(policies: &str, roles: &str) -> String {
    let old = r#"subject.roles: ["data-analyst", "data-admin"]"#;
    assert_eq!(policies.matches(old).count(), 1);
    policies.replace(old, &format!("subject.roles: [{roles}]"))
}

#[tokio::test]
async fn a_changed_file_takes_effect_by_itself() {
    let home = Home::new();
    let gateway = home.start().await;
    let (analyst, admin) = (
        home.role("a", "data-analyst").await,
        home.role("b", "data-admin").await,
    );
    assert_eq!(
        (
            status(&gateway, &analyst).await,
            status(&gateway, &admin).await
        ),
        (200, 200)
    );
    let before = version(&gateway).await;
    let policies = fs::read_to_string(home.policies()).unwrap();
    fs::write(home.policies(), only_for(&policies, "\"data-admin\"")).unwrap();
    until("the new policy", async || {
        (status(&gateway, &analyst).await == 403).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, &admin).await, 200);
    assert_ne!(version(&gateway).await, before);
    let list = gateway.catalogue(&analyst).await.ok();
    assert_eq!(list["tools"], json!([]), "the catalogue follows");
    let mcp = gateway
        .modern_result(&analyst, "tools/list", json!({}), &json!({}))
        .await;
    assert_eq!(mcp["tools"], json!([]), "on both doors");
}

#[tokio::test]
async fn a_hangup_reloads_what_no_look_at_the_file_can_notice() {
    let home = Home::new();
    let gateway = home.start().await;
    let analyst = home.role("a", "data-analyst").await;
    assert_eq!(status(&gateway, &analyst).await, 200);
    let policies = fs::read_to_string(home.policies()).unwrap();
    let changed = only_for(&policies, "\"data-admin\",   \"data-admin\"");
    assert_eq!(changed.len(), policies.len(), "as long as before");
    let written = fs::metadata(home.policies()).unwrap().modified().unwrap();
    fs::write(home.policies(), changed).unwrap();
    fs::File::options()
        .write(true)
        .open(home.policies())
        .unwrap()
        .set_modified(written)
        .unwrap();
    gateway.signal(Signal::HUP);
    until("the new policy", async || {
        (status(&gateway, &analyst).await == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hangup_reads_keys_and_certificates_too() {
    let home = Home::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(home.folder().join("cert.pem"), made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_pem();
    fs::write(home.folder().join("key.pem"), key).unwrap();
    let files = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem")];
    let gateway = home.start_with(&files).await;
    let actions = ["api_keys.reloaded", "tls.reloaded"];
    let loaded = |action: &str| {
        let audit = home.audit();
        audit.iter().any(|record| record["action"] == action)
    };
    assert!(!actions.iter().any(|action| loaded(action)));
    gateway.signal(Signal::HUP);
    until("both", async || {
        actions.iter().all(|action| loaded(action)).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_told() {
    let home = Home::new();
    let gateway = home.start().await;
    let analyst = home.role("a", "data-analyst").await;
    let before = version(&gateway).await;
    let policies = fs::read_to_string(home.policies()).unwrap();
    fs::write(
        home.policies(),
        policies.replace("\"data-analyst\", \"data-admin\"]", "\"data-analist\"]"),
    )
    .unwrap();
    gateway.signal(Signal::HUP);
    let told = until("the reason", async || {
        gateway
            .stderr()
            .lines()
            .find(|l| l.contains("data-analist"))
            .map(str::to_owned)
    })
    .await;
    assert!(told.contains("policies.yml"), "{told}");
    assert_eq!(status(&gateway, &analyst).await, 200);
    assert_eq!(version(&gateway).await, before);
    fs::remove_file(home.policies()).unwrap();
    gateway.signal(Signal::HUP);
    assert_eq!(
        status(&gateway, &analyst).await,
        200,
        "a missing file is no empty policy"
    );

    fs::write(home.policies(), only_for(&policies, "\"data-admin\"")).unwrap();
    gateway.signal(Signal::HUP);
    until("the next good policy", async || {
        (status(&gateway, &analyst).await == 403).then_some(())
    })
    .await;
    gateway.stop().await;
    let reloads: Vec<_> = home
        .audit()
        .into_iter()
        .filter(|r| r["action"].as_str().unwrap().starts_with("policy"))
        .collect();
    assert!(
        reloads.iter().any(|r| r["status"] == "failed")
            && reloads.iter().any(|r| r["status"] == "success"),
        "{reloads:?}"
    );
}

#[tokio::test]
async fn a_ticket_is_asked_about_again_under_the_policy_of_today() {
    let home = Home::new();
    let gateway = home.start().await;
    let token = home.role("agent-1", "finance-write").await;
    let arguments = json!({"name": "A", "budget": 1, "startDate": "2026-03-01"});
    let asked = gateway
        .invoke(&token, "ads:createCampaign", &arguments)
        .send()
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let policies = fs::read_to_string(home.policies()).unwrap();
    let denied = format!(
        "{policies}\n  - id: no-spending-today\n    effect: deny\n    when:\n      resource.safety_tags_any: [\"financial\"]\n"
    );
    fs::write(home.policies(), denied).unwrap();
    gateway.signal(Signal::HUP);
    let invoke = async || {
        gateway
            .invoke(&token, "ads:createCampaign", &arguments)
            .send()
            .await
            .status
    };
    until("the new policy", async || {
        (invoke().await == 403).then_some(())
    })
    .await;
    let mut body = arguments.clone();
    body["action_token"] = asked.json()["action_token"].clone();
    gateway
        .confirm(&token, "ads:createCampaign", &body)
        .send()
        .await
        .error(403, "FORBIDDEN");
    fs::write(home.policies(), policies).unwrap();
    gateway.signal(Signal::HUP);
    until("the old policy", async || {
        (invoke().await == 202).then_some(())
    })
    .await;
    gateway
        .confirm(&token, "ads:createCampaign", &body)
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn what_a_signal_has_loaded_is_not_loaded_again() {
    let home = Home::new();
    let limits = |name: &str| {
        let rule = format!("{{name: {name}, key: [subject], quota: {{max: 9, per: day}}}}");
        home.write(
            "limits.yml",
            &format!("default: true\nrules:\n  - {rule}\n"),
        );
    };
    limits("first");
    let gateway = home.start_with(&[("RATE_LIMIT_FILE", "limits.yml")]).await;
    // The policy is looked at before the limits, at a signal and by itself.
    let loaded = async |times: usize| {
        until("the limits", async || {
            places(&home, "limits.reloaded").get(times - 1).copied()
        })
        .await
    };
    let policies = fs::read_to_string(home.policies()).unwrap();
    fs::write(home.policies(), only_for(&policies, r#""data-admin""#)).unwrap();
    gateway.signal(Signal::HUP);
    let at_the_signal = loaded(1).await;
    limits("second");
    let by_itself = loaded(2).await;
    let policy = places(&home, "policy.reloaded");
    let between = |place: &u64| (at_the_signal..by_itself).contains(place);
    assert!(
        !policy.is_empty() && !policy.iter().any(between),
        "{policy:?}"
    );
}

const NO_LARGE_CAMPAIGNS: &str = r#"
@id("campaigns-up-to-1000")
@description("campaigns above 1000 are booked by hand")
forbid (principal, action == Action::"tools.invoke", resource == Tool::"ads:createCampaign")
when {
  context has arguments &&
  context.arguments.decimal.hasTag("budget") &&
  context.arguments.decimal.getTag("budget").greaterThan(decimal("1000.0"))
};
"#;

#[tokio::test]
async fn a_folder_of_policies_may_look_at_arguments_and_grows_while_it_runs() {
    let home = Home::new();
    home.start().await.stop().await;
    let folder = home.folder().join("policies");
    fs::create_dir(&folder).unwrap();
    fs::copy(home.policies(), folder.join("base.yml")).unwrap();
    let gateway = home
        .start_with(&[("FASTMCP_POLICY", folder.to_str().unwrap())])
        .await;
    let token = home.role("agent-1", "finance-write").await;
    let invoke = async |budget: Value, id: &str| {
        let arguments = json!({"name": "A", "budget": budget, "startDate": "2026-03-01"});
        let ask = gateway.invoke(&token, "ads:createCampaign", &arguments);
        ask.header("x-correlation-id", id).send().await
    };
    assert_eq!(invoke(json!(5_000), "before").await.status, 202);
    fs::write(folder.join("budget.cedar"), NO_LARGE_CAMPAIGNS).unwrap();
    until("the new file", async || {
        (invoke(json!(5_000), "large").await.status == 403).then_some(())
    })
    .await;
    let refused = invoke(json!(1_000.01), "larger").await;
    let error = refused.error(403, "FORBIDDEN");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("campaigns above 1000 are booked by hand"),
        "{error}"
    );
    let record = &home.audit_of("larger")[0];
    assert_eq!(
        record["policy_ids"],
        json!(["campaigns-up-to-1000"]),
        "{record}"
    );
    assert_eq!(invoke(json!(1_000), "small").await.status, 202);
    let shown = gateway.catalogue(&token).await.ok();
    assert_eq!(
        shown["tools"][0]["toolId"], "ads:createCampaign",
        "what some arguments may do is shown"
    );
}
