//! Open streams: whom they tell of what, and that they end with the right to listen.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Events, Gateway, Home, modern};

async fn key(home: &Home, subject: &str, rest: &[&str]) -> String {
    let arguments = [&["token", "key", "create", "--sub", subject], rest].concat();
    let output = home.run(&arguments, &[]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

async fn revoke(home: &Home, key: &str) {
    let id = key.split('_').nth(1).unwrap();
    let output = home.run(&["token", "key", "revoke", id], &[]).await;
    assert!(output.status.success(), "{output:?}");
}

/// Listens for changes of the list of tools, as a client of the newest revision.
async fn listen(gateway: &Gateway, token: &str) -> Events {
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    let message = modern("subscriptions/listen", wanted, &json!({}));
    let mut events = gateway.modern(token, &message).open().await;
    let first = events.next().await.unwrap();
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    events
}

fn is_change(message: &Value) -> bool {
    message["method"] == "notifications/tools/list_changed"
}

async fn register(gateway: &Gateway, token: &str, name: &str) {
    let manifest = json!({
        "toolId": format!("database:{name}"), "name": name, "description": "Lists what a shop keeps.",
        "inputs": {"type": "object", "properties": {}, "additionalProperties": false}, "outputs": {"type": "object"},
        "required_scopes": ["database.read"], "provider_id": "database", "read_only": true,
    });
    let registered = gateway
        .ask("POST", "/manifests/register")
        .bearer(token)
        .json(&manifest)
        .send()
        .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
}

#[tokio::test]
async fn a_list_that_changes_for_one_tenant_says_nothing_to_another() {
    let home = Home::new();
    let gateway = home.start().await;
    let of = async |tenant: &str, role: &str| {
        home.mint("somebody", &["--tenant", tenant, "--role", role])
            .await
    };
    let (ours, theirs) = (
        of("acme", "data-analyst").await,
        of("globex", "data-analyst").await,
    );
    let mut our_stream = listen(&gateway, &ours).await;
    let mut their_stream = listen(&gateway, &theirs).await;
    let session = gateway.legacy(&theirs, json!({})).await;
    let mut their_session = session.listen().open().await;

    let (our_admin, their_admin) = (of("acme", "admin").await, of("globex", "admin").await);
    for name in ["first", "second"] {
        register(&gateway, &our_admin, name).await;
        assert!(is_change(&our_stream.next().await.unwrap()));
    }
    register(&gateway, &their_admin, "theirs").await;
    // Waited for, as a gateway that ends need not tell what changed in its last moment.
    for stream in [&mut their_stream, &mut their_session] {
        while !is_change(&stream.next().await.unwrap()) {}
    }
    gateway.stop().await;
    for stream in [&mut their_stream, &mut their_session] {
        while let Some(message) = stream.next().await {
            assert!(
                !is_change(&message),
                "they hear of another's tool: {message}"
            );
        }
    }
    while let Some(message) = our_stream.next().await {
        assert!(!is_change(&message), "{message}");
    }
}

#[tokio::test]
async fn streams_end_with_the_key_that_opened_them() {
    let home = Home::new();
    let (key, other) = (
        key(&home, "ci", &["--role", "data-analyst"]).await,
        key(&home, "other", &["--role", "data-analyst"]).await,
    );
    let gateway = home.start().await;
    let mut modern_stream = listen(&gateway, &key).await;
    let mut stays = listen(&gateway, &other).await;
    let session = gateway.legacy(&key, json!({})).await;
    let mut older_stream = session.listen().open().await;

    revoke(&home, &key).await;
    // The file is looked at each second, and streams are each five.
    let ended = async {
        while modern_stream.next().await.is_some() {}
        while older_stream.next().await.is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .expect("streams outlive their key");
    let admin = home.mint("boss", &["--role", "admin"]).await;
    register(&gateway, &admin, "later").await;
    assert!(is_change(&stays.next().await.unwrap()), "others go on");
    gateway.stop().await;
}
