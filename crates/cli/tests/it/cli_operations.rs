//! The commands on operations, on states that are made here and beside a running gateway.

use std::{fs, process::Output, sync::Arc, time::Duration};

use fastmcp_gateway::{
    confirm::{Config, Confirm},
    keys::Keys,
    manifest::ToolId,
    once::{Begin, Once},
    state::{
        Location, Options, State,
        operation::{Binding, IdempotencyKey, OperationId},
        ticket::Acting,
    },
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::Value;

use crate::support::{Home, until};

/// The name that the gateway of these tests bears.
const VARS: [(&str, &str); 1] = [("FASTMCP_INSTANCE", "gw-1")];
const LEASE: Duration = Duration::from_secs(60);

/// The state in `home`, opened as the gateway opens it.
async fn state(home: &Home) -> State {
    State::open(options(home)).await.unwrap()
}

fn options(home: &Home) -> Options {
    let keys = Keys::open(&home.data()).unwrap();
    let location = Location::File(home.data().join("state.db"));
    Options::new(location, Arc::new(keys.seal()), "gw-1").unwrap()
}

fn binding(tenant: &str) -> Binding {
    Binding {
        labels: String::new(),
        tool: String::new(),
        tenant: tenant.to_owned(),
        subject: "agent-1".to_owned(),
        actors: String::new(),
        client: None,
        tool_id: ToolId::parse("ads:createCampaign").unwrap(),
        definition_hash: [1; 32],
        args_digest: [2; 32],
        obligations: "[]".to_owned(),
        policy_version: "v1".to_owned(),
    }
}

async fn begin(state: &State, tenant: &str, key: &IdempotencyKey) -> Begin {
    let once = Once::new(state.ledger().clone());
    once.begin(&binding(tenant), key).await.unwrap()
}

/// An operation of `tenant` that is acting.
async fn acting(state: &State, tenant: &str, key: &str) -> Acting {
    let key = IdempotencyKey::parse(key).unwrap();
    match begin(state, tenant, &key).await {
        Begin::Run(ticket) => ticket.intend(LEASE).await.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// An operation of which nobody knows whether it happened.
async fn unknown(state: &State, tenant: &str, key: &str) -> OperationId {
    let acting = acting(state, tenant, key).await;
    let id = acting.operation_id().clone();
    acting
        .unknown("provider timed out \u{1b}[31m")
        .await
        .unwrap();
    id
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command refuses with.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(output.stdout.is_empty());
    said(output)
}

async fn shown(home: &Home, id: &OperationId) -> Value {
    let output = home
        .run(&["operations", "show", id.as_str(), "--json"], &VARS)
        .await;
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// The ids in a list of JSON lines.
fn ids(output: &Output) -> Vec<String> {
    stdout(output)
        .lines()
        .map(|line| {
            let listed: Value = serde_json::from_str(line).unwrap();
            listed["operation_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn what_is_unknown_is_settled_once_and_recorded() {
    let home = Home::new();
    let state = state(&home).await;
    let id = unknown(&state, "acme", "k1").await;
    state.close().await;

    let settle = [
        "operations",
        "settle",
        id.as_str(),
        "--completed",
        "--by",
        "alice",
        "--note",
        "found in the ad account",
    ];
    let output = home.run(&settle, &VARS).await;
    assert_eq!(
        stdout(&output),
        format!("operation `{id}` is completed\n"),
        "{}",
        said(&output)
    );
    assert!(said(&output).is_empty(), "{}", said(&output));

    let operation = shown(&home, &id).await;
    assert_eq!(operation["status"], "completed");
    let detail = operation["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("settled as completed by alice at 20")
            && detail.contains("Z: found in the ad account (before: provider timed out"),
        "{detail}"
    );

    let records: Vec<_> = home
        .audit()
        .into_iter()
        .filter(|record| record["action"] == "operations.settled")
        .collect();
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    assert_eq!(record["operation_id"], id.as_str());
    assert_eq!(record["reason"], "found in the ad account");
    assert_eq!(
        (&record["tenant"], &record["toolId"], &record["status"]),
        (
            &"acme".into(),
            &"ads:createCampaign".into(),
            &"success".into()
        )
    );
    assert_eq!(record["details"]["by"], "alice");
    assert_eq!(record["details"]["settled_as"], "completed");
    assert!(!record.to_string().contains("timed out"), "{record}");
    let (is_whole, told) = home.verify().await;
    assert!(is_whole, "{told}");

    let before = home.audit().len();
    let why = refused(&home.run(&settle, &VARS).await);
    assert!(
        why.contains("cannot be settled: it is completed, and only what is unknown can be"),
        "{why}"
    );
    assert_eq!(home.audit().len(), before, "a refusal changes no log");
}

#[tokio::test]
async fn it_is_settled_while_the_gateway_runs_and_holds_its_log() {
    let home = Home::new();
    let gateway = home.start_with(&VARS).await;
    let state = state(&home).await;
    let id = unknown(&state, "acme", "k1").await;
    let output = home
        .run(
            &[
                "operations",
                "settle",
                id.as_str(),
                "--failed",
                "--note",
                "not in the account",
            ],
            &VARS,
        )
        .await;
    assert_eq!(stdout(&output), format!("operation `{id}` is failed\n"));
    assert!(
        said(&output)
            .contains("another process holds the audit log, most likely the running gateway, which records the settlement"),
        "{}",
        said(&output)
    );
    let key = IdempotencyKey::parse("k1").unwrap();
    match begin(&state, "acme", &key).await {
        Begin::Failed(report) => {
            let detail = report.detail.unwrap();
            assert!(detail.contains("not in the account"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    state.close().await;
    until("the record", async || {
        (settlements(&home).len() == 1).then_some(())
    })
    .await;
    until("an empty folder", async || {
        let folder = home.data().join("settlements");
        (fs::read_dir(folder).unwrap().count() == 0).then_some(())
    })
    .await;
    gateway.stop().await;
    // What a kill left behind at any point is finished by the next start, and nothing is recorded twice.
    home.start_with(&VARS).await.stop().await;
    let records = settlements(&home);
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record["operation_id"], id.as_str());
    assert_eq!(record["reason"], "not in the account");
    assert_eq!(record["details"]["settled_as"], "failed");
    let (is_whole, told) = home.verify().await;
    assert!(is_whole, "{told}");
}

fn settlements(home: &Home) -> Vec<Value> {
    let is_one = |record: &Value| record["action"] == "operations.settled";
    home.audit().into_iter().filter(is_one).collect()
}

#[tokio::test]
async fn lists_are_narrowed_and_cannot_steer_the_terminal() {
    let home = Home::new();
    let state = state(&home).await;
    let first = unknown(&state, "acme", "k1").await;
    let other = unknown(&state, "umbrella", "k1").await;
    let done = acting(&state, "acme", "k2").await;
    let done_id = done.operation_id().clone();
    done.complete(b"{\"secret\":1}").await.unwrap();
    state.close().await;

    let list = |rest: &'static [&'static str]| {
        let arguments = [&["operations", "list"], rest].concat();
        let home = &home;
        async move { home.run(&arguments, &VARS).await }
    };
    let table = stdout(&list(&[]).await);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("DETAIL"),
        "{table}"
    );
    assert!(
        table.contains("provider timed out") && !table.contains('\u{1b}'),
        "{table}"
    );

    assert_eq!(
        ids(&list(&["--status", "unknown", "--tenant", "acme", "--json"]).await),
        [first.as_str()]
    );
    assert_eq!(
        ids(&list(&["--tenant", "umbrella", "--json"]).await),
        [other.as_str()]
    );
    let completed = list(&["--status", "completed", "--json"]).await;
    assert_eq!(ids(&completed), [done_id.as_str()]);
    assert!(!stdout(&completed).contains("secret"));
    let one = list(&["--limit", "1", "--json"]).await;
    assert_eq!(ids(&one).len(), 1);
    assert!(said(&one).contains("there may be more"), "{}", said(&one));
}

#[tokio::test]
async fn what_a_dead_process_left_acting_awaits_settlement() {
    let home = Home::new();
    let mut options = options(&home);
    options.clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_700_000_000,
    )));
    let state = State::open(options).await.unwrap();
    let id = acting(&state, "acme", "k1").await.operation_id().clone();
    state.close().await;
    let listed = home
        .run(
            &["operations", "list", "--status", "unknown", "--json"],
            &VARS,
        )
        .await;
    assert_eq!(ids(&listed), [id.as_str()]);
}

#[tokio::test]
async fn what_is_at_work_or_not_there_is_refused() {
    let home = Home::new();
    let state = state(&home).await;
    let busy = acting(&state, "acme", "k1").await.operation_id().clone();
    state.close().await;
    let settle = |id: &str, rest: &[&str]| {
        let base = ["operations", "settle", id, "--failed", "--note", "seen"];
        let arguments: Vec<String> = base.iter().chain(rest).map(|&a| a.to_owned()).collect();
        let home = &home;
        async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            refused(&home.run(&arguments, &VARS).await)
        }
    };
    let why = settle(busy.as_str(), &[]).await;
    assert!(why.contains("it is intended, at work until 20"), "{why}");
    let missing = "018bcfe5-6800-7000-8000-000000000000";
    let why = settle(missing, &[]).await;
    assert!(
        why.contains(&format!("there is no operation `{missing}`")),
        "{why}"
    );
    let why = settle(busy.as_str(), &["--tenant", "umbrella"]).await;
    assert!(why.contains("tenant `umbrella` has no operation"), "{why}");
    assert_eq!(shown(&home, &busy).await["status"], "intended");
    assert!(home.audit().is_empty(), "a refusal begins no log");
}

#[tokio::test]
async fn arguments_and_results_are_shown_on_demand_and_tokens_never() {
    let home = Home::new();
    let state = state(&home).await;
    let confirm = Confirm::new(state.ledger().clone(), Config::default()).unwrap();
    let issued = confirm
        .reserve(&binding("acme"), br#"{"budget":100}"#, None)
        .await
        .unwrap();
    let done = acting(&state, "acme", "k2").await;
    let done_id = done.operation_id().clone();
    done.complete(br#"{"campaign":"spring-7"}"#).await.unwrap();
    state.close().await;

    for (id, confidential) in [(&issued.operation_id, "budget"), (&done_id, "spring-7")] {
        for form in [&[][..], &["--json"]] {
            let arguments = [&["operations", "show", id.as_str()], form].concat();
            let text = stdout(&home.run(&arguments, &VARS).await);
            assert!(text.contains(id.as_str()) && text.contains("ads:createCampaign"));
            assert!(!text.contains(confidential), "{text}");
            let revealed = [&arguments[..], &["--reveal"]].concat();
            let text = stdout(&home.run(&revealed, &VARS).await);
            assert!(text.contains(confidential), "{text}");
            assert!(!text.contains(issued.action_token.expose()), "{text}");
        }
    }
}

#[tokio::test]
async fn without_its_state_or_its_keys_nothing_is_made_up() {
    let home = Home::new();
    let list = ["operations", "list"];
    let why = refused(&home.run(&list, &VARS).await);
    assert!(
        why.contains("there is no state in") && why.contains("--data-dir"),
        "{why}"
    );
    assert!(!home.data().exists(), "a look makes nothing");

    state(&home).await.close().await;
    let key = home.data().join("keys/seal.key");
    fs::remove_file(&key).unwrap();
    let why = refused(&home.run(&list, &VARS).await);
    assert!(
        why.contains("key `seal.key` of this state is not in"),
        "{why}"
    );
    assert!(!key.exists());
}

#[tokio::test]
async fn a_log_that_is_damaged_keeps_what_is_unknown_as_it_is() {
    let home = Home::new();
    let state = state(&home).await;
    let first = unknown(&state, "acme", "k1").await;
    let second = unknown(&state, "acme", "k2").await;
    state.close().await;
    let settle = |id: &OperationId| {
        let id = id.as_str().to_owned();
        let home = &home;
        async move {
            let arguments = ["operations", "settle", &id, "--failed", "--note", "seen"];
            home.run(&arguments, &VARS).await
        }
    };
    stdout(&settle(&first).await);
    let file = home.audit_file("audit.opened");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("audit.opened", "audit.closed")).unwrap();
    fs::remove_file(home.data().join("audit/checkpoint")).unwrap();
    let why = refused(&settle(&second).await);
    assert!(why.contains("nothing was settled"), "{why}");
    assert_eq!(shown(&home, &second).await["status"], "unknown");
}

#[tokio::test]
async fn a_state_of_an_older_version_is_left_to_the_gateway() {
    let home = Home::new();
    state(&home).await.close().await;
    let older = |back: &str| {
        let file = rusqlite::Connection::open(home.data().join("state.db")).unwrap();
        file.execute_batch(back).unwrap();
    };
    older("UPDATE _sqlx_migrations SET version = -version WHERE version > 6");
    let why = refused(&home.run(&["operations", "list"], &VARS).await);
    assert!(why.contains("the state is of schema version 6"), "{why}");
    assert!(why.contains("start this version of the gateway"), "{why}");
    older("UPDATE _sqlx_migrations SET version = -version WHERE version < 0");
    let listed = home.run(&["operations", "list"], &VARS).await;
    assert!(listed.status.success(), "{listed:?}");
}
