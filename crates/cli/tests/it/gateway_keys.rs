//! Seal keys rotate under a gateway that runs, and what a lost key had sealed is told.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::{Value, json};

use crate::support::{Gateway, Home, Reply, until};

const ASK: &str = "ads:createCampaign";
const WRITE: &str = "filesystem:writeFile";
/// As long as what is asked for can be confirmed; short, so that an old key may go soon.
const VARS: [(&str, &str); 2] = [("CONFIRM_TTL_SEC", "600"), ("FASTMCP_INSTANCE", "gw-1")];

fn campaign(budget: u32) -> Value {
    json!({"name": "Spring sale", "budget": budget, "startDate": "2027-03-01"})
}

async fn keys(home: &Home, arguments: &[&str]) -> (bool, String) {
    let output = home.run(&[&["keys"], arguments].concat(), &VARS).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn changed(home: &Home, arguments: &[&str]) -> String {
    let (passed, said) = keys(home, arguments).await;
    assert!(passed, "{said}");
    said
}

/// What `keys list` shows: name, use, values and whether it may go.
async fn listed(home: &Home) -> Vec<(String, String, u64, bool)> {
    let lines = changed(home, &["list", "--json"]).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .lines()
        .map(|line| {
            let key: Value = serde_json::from_str(line).unwrap();
            let values = key["values"].as_u64().unwrap();
            let may_go = key["may_go"].as_bool().unwrap();
            (text(&key["key"]), text(&key["use"]), values, may_go)
        })
        .collect()
}

async fn write(gateway: &Gateway, token: &str) -> Reply {
    let arguments = json!({"path": "note.txt", "content": "x"});
    let call = gateway.invoke(token, WRITE, &arguments);
    call.header("idempotency-key", "write-1").send().await
}

async fn degraded(gateway: &Gateway) -> Value {
    gateway.get("/ready").await.ok()["degraded"]["seal_keys"].clone()
}

/// Waits until the gateway has taken up the keys of these names.
async fn taken_up(home: &Home, names: &[&str]) {
    until("the keys", async || {
        let audit = home.audit();
        let last = audit
            .iter()
            .rfind(|record| record["action"] == "seal_keys.reloaded");
        last.is_some_and(|record| record["details"]["keys"] == json!(names))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_rotate_between_a_call_and_its_replay_and_between_a_question_and_its_answer() {
    let home = Home::new();
    let gateway = home.start_with(&VARS).await;
    let token = home
        .mint("al", &["--role", "finance-write", "--role", "fs-writer"])
        .await;
    let done = write(&gateway, &token).await.ok();
    let asked = gateway.invoke(&token, ASK, &campaign(5)).send().await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let old = listed(&home).await;
    let [(old, used, 3, false)] = old.as_slice() else {
        panic!("a result, arguments and a token: {old:?}")
    };
    assert_eq!(used, "seals");

    // In two steps, as replicas do it.
    let said = changed(&home, &["add", "--by", "alice"]).await;
    let new = said.split('`').nth(1).unwrap().to_owned();
    taken_up(&home, &[old, &new]).await;
    let audit = home.audit();
    let reloads = audit
        .iter()
        .filter(|record| record["action"] == "seal_keys.reloaded");
    assert_eq!(
        reloads.count(),
        1,
        "the file that the start made is no change"
    );
    let changed_by = until("who did it, told by the gateway", async || {
        let audit = home.audit();
        let mut changes = audit
            .iter()
            .filter(|record| record["action"] == "seal_keys.changed");
        changes.next_back().map(|record| record["details"].clone())
    })
    .await;
    let (by, change) = (&changed_by["by"], &changed_by["change"]);
    assert_eq!((by, change), (&json!("alice"), &json!("add")));
    assert_eq!(changed_by["keys"], json!([old, new]));
    changed(&home, &["use", &new, "--by", "alice"]).await;
    taken_up(&home, &[&new, old]).await;
    assert_eq!(degraded(&gateway).await, Value::Null);

    let again = write(&gateway, &token).await;
    assert_eq!(
        (again.ok(), again.header("x-idempotent-replay")),
        (done, Some("true"))
    );
    let mut body = campaign(5);
    body["action_token"] = asked.json()["action_token"].clone();
    let confirmed = gateway.confirm(&token, ASK, &body).send().await.ok();
    assert_eq!(confirmed["result"]["budget"], 5);

    let (passed, said) = keys(&home, &["retire", old]).await;
    assert!(
        !passed && said.contains("--force") && said.contains("1 values"),
        "{said}"
    );
    assert!(
        changed(&home, &["retire", "--old"])
            .await
            .contains("no key may go yet")
    );
    let (passed, said) = keys(&home, &["retire", "--force", &new]).await;
    assert!(!passed && said.contains("seals"), "{said}");
    let (passed, said) = keys(&home, &["use", "00000000"]).await;
    assert!(!passed && said.contains("no seal key `00000000`"), "{said}");
    let mode = fs::metadata(home.data().join("keys/seal.key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // Lost all the same: what it sealed is told by the key's name, and everything else goes on.
    changed(&home, &["retire", "--force", old, "--by", "alice"]).await;
    taken_up(&home, &[&new]).await;
    let lost = write(&gateway, &token).await.error(503, "UNAVAILABLE");
    assert!(
        lost["message"]
            .as_str()
            .unwrap()
            .contains(&format!("`{old}`")),
        "{lost}"
    );
    assert_eq!(lost["details"]["reason"], "seal_key_missing", "{lost}");
    let told = degraded(&gateway).await;
    assert!(
        told.as_str()
            .is_some_and(|told| told.contains(old.as_str())),
        "{told}"
    );
    let other = gateway.invoke(&token, ASK, &campaign(6)).send().await;
    assert_eq!(other.status, 202, "{}", other.text());
    gateway.stop().await;

    let gateway = home.start_with(&VARS).await;
    until("the search at the start", async || {
        degraded(&gateway).await.is_string().then_some(())
    })
    .await;
    let vars = [&VARS[..], &[("PORT", "0")]].concat();
    let output = home.run(&["doctor"], &vars).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("seal keys") && said.contains(old.as_str()),
        "{said}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_that_nothing_needs_goes_and_the_log_has_it_all() {
    let home = Home::new();
    home.start_with(&VARS).await.stop().await;
    let first = listed(&home).await[0].0.clone();
    let said = changed(&home, &["rotate", "--by", "alice"]).await;
    let second = said.split('`').nth(1).unwrap().to_owned();
    let now = listed(&home).await;
    assert_eq!(
        now,
        [
            (second.clone(), "seals".to_owned(), 0, false),
            (first.clone(), "opens".to_owned(), 0, false)
        ],
        "clients may carry what it sealed"
    );
    let (passed, said) = keys(&home, &["retire", &first]).await;
    assert!(!passed && said.contains("clients may carry"), "{said}");
    let path = home.data().join("keys/seal.key");
    let nine_hours_ago = std::time::SystemTime::now() - Duration::from_secs(9 * 3_600);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(nine_hours_ago).unwrap();
    assert!(listed(&home).await[1].3, "by now it may go");
    let said = changed(&home, &["retire", "--old", "--by", "bob"]).await;
    assert!(said.contains(&first), "{said}");
    assert_eq!(fs::read(&path).unwrap().len(), 32);

    let audit = home.audit();
    let records: Vec<_> = audit
        .iter()
        .filter(|record| record["action"] == "seal_keys.changed")
        .map(|record| {
            let details = &record["details"];
            (
                details["by"].clone(),
                details["change"].clone(),
                details["keys"].clone(),
            )
        })
        .collect();
    assert_eq!(
        records,
        [
            (json!("alice"), json!("rotate"), json!([second, first])),
            (json!("bob"), json!("retire"), json!([second]))
        ]
    );
    assert!(home.verify().await.0);
    let table = changed(&home, &["list"]).await;
    assert!(
        table.starts_with("KEY") && table.contains(&format!("{second}  seals")),
        "{table}"
    );
    home.start_with(&VARS).await.stop().await;
}

/// As where only the gateway's own unit names its database: what is not seen may need a key.
#[tokio::test]
async fn a_key_stays_where_the_state_is_not_seen() {
    let home = Home::new();
    home.start_with(&VARS).await.stop().await;
    let first = listed(&home).await[0].0.clone();
    changed(&home, &["rotate"]).await;
    let path = home.data().join("keys/seal.key");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let nine_hours_ago = std::time::SystemTime::now() - Duration::from_secs(9 * 3_600);
    file.set_modified(nine_hours_ago).unwrap();

    let vars = [&VARS[..], &[("SQLITE_URL", "elsewhere.db")]].concat();
    let run = async |arguments: &[&str]| {
        let output = home.run(&[&["keys"], arguments].concat(), &vars).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (passed, said) = run(&["list", "--json"]).await;
    assert!(passed, "{said}");
    for line in said.lines() {
        let key: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&key["values"], &key["may_go"]),
            (&Value::Null, &json!(false))
        );
    }
    let (passed, said) = run(&["list"]).await;
    let row = said.lines().nth(2).unwrap();
    let words: Vec<_> = row.split_whitespace().take(5).collect();
    assert!(passed, "{said}");
    assert_eq!(words, [&first, "opens", "-", "no:", "there"], "{said}");
    for arguments in [&["retire", "--old"][..], &["retire", &first]] {
        let (passed, said) = run(arguments).await;
        assert!(!passed && said.contains("elsewhere.db"), "{said}");
    }
    assert_eq!(fs::read(&path).unwrap().len(), 64, "nothing was removed");
    assert!(!home.folder().join("elsewhere.db").exists());
    let (passed, said) = run(&["retire", "--force", &first]).await;
    assert!(passed, "{said}");
    assert_eq!(fs::read(&path).unwrap().len(), 32);
}

#[tokio::test]
async fn keys_without_a_state_are_shown_as_such() {
    let home = Home::new();
    let (passed, said) = keys(&home, &["list"]).await;
    assert!(!passed && said.contains("start the gateway once"), "{said}");
    // As where the keys of a backup are put into a folder in which no gateway was started yet.
    let other = Home::new();
    other.start_with(&VARS).await.stop().await;
    let (from, to) = (other.data().join("keys"), home.data().join("keys"));
    fs::create_dir_all(&to).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(from.join("seal.key"), to.join("seal.key")).unwrap();
    let table = changed(&home, &["list"]).await;
    let row = table.lines().nth(1).unwrap();
    let words: Vec<_> = row.split_whitespace().skip(1).collect();
    assert_eq!(words, ["seals", "-", "-"], "{table}");
    let said = changed(&home, &["retire", "--old"]).await;
    assert!(said.contains("no key may go yet"), "{said}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let home = Home::new();
    let gateway = home.start_with(&VARS).await;
    let token = home.role("al", "fs-writer").await;
    let done = write(&gateway, &token).await.ok();
    fs::write(home.data().join("keys/seal.key"), [1; 33]).unwrap();
    until("the record", async || {
        let audit = home.audit();
        let told = audit
            .iter()
            .any(|record| record["action"] == "seal_keys.reloaded" && record["status"] == "failed");
        told.then_some(())
    })
    .await;
    assert_eq!(
        write(&gateway, &token).await.ok(),
        done,
        "the keys in force stay"
    );
    let (passed, said) = keys(&home, &["rotate"]).await;
    assert!(
        !passed && said.contains("1 to 16 keys of 32 bytes"),
        "{said}"
    );
    gateway.stop().await;
}

/// Files that the gateway would refuse at its next start keep nobody from looking after the one that runs.
#[tokio::test]
async fn what_one_command_does_not_use_does_not_stop_it() {
    let home = Home::new();
    let gateway = home.start_with(&VARS).await;
    home.role("al", "fs-writer").await;
    let limits = home.data().join("limits.yml");
    fs::write(
        &limits,
        "rules: [{name: b, key: [tenant], bucket: {rate: 1, burts: 3}}]",
    )
    .unwrap();
    home.write("issuers.yml", "issuers: [");
    let vars = [&VARS[..], &[("JWT_ISSUERS_FILE", "issuers.yml")]].concat();
    for command in [
        &["audit", "tail", "-n", "1"][..],
        &["audit", "verify"],
        &["operations", "list"],
        &["labels", "show", "--tenant", "public", "--sub", "al"],
        &["keys", "list"],
        &["policy", "check"],
        &["token", "key", "list"],
    ] {
        let output = home.run(command, &vars).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    }
    // Limits alone do not concern tokens.
    home.role("bo", "fs-writer").await;
    let output = home.run(&["doctor"], &VARS).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let path = limits.display().to_string();
    assert!(said.contains("burts") && said.contains(&path), "{said}");
    gateway.stop().await;
}
