//! Subscriptions: what changes, and what happens when the stream breaks.

use std::{collections::VecDeque, sync::Arc, sync::Mutex};

use fastmcp::{
    Client, client::Change, protocol::subscription::SubscriptionFilter, transport::WireKind,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fake::{Answer, Fake, Sent, status};

fn wanted() -> SubscriptionFilter {
    SubscriptionFilter {
        tools_list_changed: true,
        resource_subscriptions: vec!["a:1".to_owned()],
        ..SubscriptionFilter::default()
    }
}

fn change(method: &str, params: Value) -> Value {
    let mut change = json!({"jsonrpc": "2.0", "method": format!("notifications/{method}")});
    change["params"] = params;
    change
}

fn acknowledged(honoured: Value) -> Value {
    let mut params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": 2}});
    params["notifications"] = honoured;
    change("subscriptions/acknowledged", params)
}

/// A server whose streams are these, one after the other; then it refuses.
fn server(streams: Vec<mpsc::Receiver<Value>>) -> Arc<Fake> {
    let streams = Mutex::new(VecDeque::from(streams));
    Fake::new(WireKind::Http, move |sent: &Sent| match sent.method() {
        "server/discover" => sent.described(),
        _ => match streams.lock().unwrap().pop_front() {
            Some(stream) => Answer::Stream(stream),
            None => sent.error(-32601, Value::Null),
        },
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_counts_as_changed() {
    let ((first, one), (second, two)) = (mpsc::channel(8), mpsc::channel(8));
    let fake = server(vec![one, two]);
    let client = fake.connect(Client::builder()).await.unwrap();
    let honoured = json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1"]});
    first.send(acknowledged(honoured.clone())).await.unwrap();
    let mut subscription = client.subscribe(wanted()).await.unwrap();
    assert_eq!(subscription.honoured(), &wanted());
    let asked = &fake.of("subscriptions/listen")[0];
    assert_eq!(asked.params()["notifications"], honoured);

    let updated = change("resources/updated", json!({"uri": "a:1/below"}));
    first.send(updated).await.unwrap();
    assert_eq!(
        subscription.next().await,
        Some(Change::Resource("a:1/below".to_owned()))
    );
    drop(first);
    second.send(acknowledged(honoured)).await.unwrap();
    assert_eq!(subscription.next().await, Some(Change::Tools));
    assert_eq!(
        subscription.next().await,
        Some(Change::Resource("a:1".to_owned()))
    );
    second
        .send(change("tools/list_changed", json!({})))
        .await
        .unwrap();
    assert_eq!(subscription.next().await, Some(Change::Tools));
    drop(second);
    assert_eq!(subscription.next().await, None, "refused at last");
    assert_eq!(fake.of("subscriptions/listen").len(), 3);
}

#[tokio::test]
async fn a_dropped_subscription_closes_its_stream() {
    let (sender, stream) = mpsc::channel(8);
    let fake = server(vec![stream]);
    let client = fake.connect(Client::builder()).await.unwrap();
    sender
        .send(acknowledged(json!({"toolsListChanged": true})))
        .await
        .unwrap();
    let subscription = client.subscribe(wanted()).await.unwrap();
    assert_eq!(fake.open_streams(), 1);
    assert!(subscription.honoured().resource_subscriptions.is_empty());
    drop(subscription);
    sender.closed().await;

    let refused = client.subscribe(wanted()).await.unwrap_err();
    assert_eq!(refused.message(), "no");
}

#[tokio::test]
async fn a_stream_that_is_not_acknowledged_first_is_none() {
    let (sender, stream) = mpsc::channel(8);
    let fake = server(vec![stream]);
    let client = fake.connect(Client::builder()).await.unwrap();
    sender
        .send(change("tools/list_changed", json!({})))
        .await
        .unwrap();
    let error = client.subscribe(wanted()).await.unwrap_err();
    assert!(error.message().contains("acknowledge"), "{error}");
}

#[tokio::test]
async fn old_servers_are_asked_resource_by_resource() {
    let fake = Fake::new(WireKind::Http, |sent| match sent.method() {
        "server/discover" => status(400),
        "initialize" => sent.greeted(),
        _ => sent.result(json!({})),
    });
    let speaks = fake.speaks();
    let client = fake.connect(Client::builder()).await.unwrap();
    let mut one = client.subscribe(wanted()).await.unwrap();
    let two = client.subscribe(wanted()).await.unwrap();
    assert_eq!(
        fake.of("resources/subscribe").len(),
        1,
        "it is one for both"
    );
    for message in [
        change("prompts/list_changed", json!({})),
        change("resources/updated", json!({"uri": "a:2"})),
        change("resources/updated", json!({"uri": "a:1"})),
        change("tools/list_changed", json!({})),
    ] {
        speaks.send(message).await.unwrap();
    }
    assert_eq!(one.next().await, Some(Change::Resource("a:1".to_owned())));
    assert_eq!(one.next().await, Some(Change::Tools));
    drop(one);
    drop(two);
    let ended = fake.until("resources/unsubscribe", 1).await;
    assert_eq!(ended[0].params()["uri"], "a:1");
}
