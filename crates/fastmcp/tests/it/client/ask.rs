//! Servers that ask first, and results that cannot be understood.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    Client,
    client::ClientBuilder,
    error::ErrorKind,
    protocol::{
        content::JsonObject,
        elicit::{ElicitParams, ElicitResult},
        roots::Root,
    },
    transport::WireKind,
};
use serde_json::{Map, Value, json};

use super::fake::{Answer, Fake, Sent, status};

fn asking(state: Option<&str>) -> Value {
    let mut asking = json!({"resultType": "input_required", "inputRequests": {"city": {
        "method": "elicitation/create",
        "params": {"message": "Which city?", "requestedSchema": {"type": "object", "properties": {
            "name": {"type": "string", "default": "Rome"}, "big": {"type": "boolean"},
        }}},
    }}});
    if let Some(state) = state {
        asking["requestState"] = json!(state);
    }
    asking
}

fn accepting() -> ClientBuilder {
    Client::builder().on_elicit(|asked| async move {
        assert!(matches!(asked.params, ElicitParams::Form(_)));
        Ok(ElicitResult::accept(JsonObject::new()))
    })
}

/// A server of the newest revision whose tool calls `answer` answers, by how many came before.
fn server(answer: impl Fn(&Sent, usize) -> Answer + Send + Sync + 'static) -> Arc<Fake> {
    let calls = AtomicUsize::new(0);
    Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        _ => answer(sent, calls.fetch_add(1, Ordering::SeqCst)),
    })
}

fn done(sent: &Sent) -> Answer {
    sent.result(json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]}))
}

#[tokio::test]
async fn a_state_comes_back_as_it_was_and_only_where_there_is_one() {
    const STATE: &str = "{\"a\": 1}\u{0}\u{1F600} \\u0041/=+";
    let fake = server(|sent, before| match before {
        0 => sent.result(asking(Some(STATE))),
        1 => sent.result(asking(None)),
        _ => done(sent),
    });
    let client = fake.connect(accepting()).await.unwrap();
    let result = client.call_tool("visit", json!({"x": 1})).await.unwrap();
    assert_eq!(result.text(), "done");
    let calls = fake.of("tools/call");
    assert_eq!(calls.len(), 3);
    let ids: std::collections::HashSet<_> =
        calls.iter().map(|c| c.message["id"].to_string()).collect();
    assert_eq!(ids.len(), 3, "each round has an id of its own");
    assert_eq!(calls[1].params()["requestState"], STATE);
    assert_eq!(
        calls[1].params()["inputResponses"],
        json!({"city": {"action": "accept", "content": {"name": "Rome"}}}),
        "what was left out has its default"
    );
    assert!(calls[2].params().get("requestState").is_none());
    assert!(
        calls
            .iter()
            .all(|c| c.params()["arguments"] == json!({"x": 1}))
    );
    let declared = &calls[0].params()["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(declared, &json!({"elicitation": {"form": {}, "url": {}}}));
}

#[tokio::test]
async fn there_is_an_end_to_questions() {
    let fake = server(|sent, _| sent.result(asking(Some("s"))));
    let client = fake.connect(accepting().max_rounds(4)).await.unwrap();
    let error = client.call_tool("visit", json!({})).await.unwrap_err();
    assert!(error.message().contains("4 rounds"), "{error}");
    assert_eq!(fake.of("tools/call").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_state_alone_means_again_after_a_pause() {
    let fake = server(|sent, before| match before {
        0..3 => sent.result(json!({"resultType": "input_required", "requestState": "s"})),
        _ => done(sent),
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    let started = tokio::time::Instant::now();
    client.call_tool("visit", json!({})).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_millis(50 + 100 + 200));
    let last = &fake.of("tools/call")[3];
    assert_eq!(last.params()["requestState"], "s");
    assert!(last.params().get("inputResponses").is_none());
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_error() {
    let cases = [
        (json!({"resultType": "task", "taskId": "1"}), "`task`"),
        (json!({"resultType": 3}), "string"),
        (json!({"resultType": "input_required"}), "requestState"),
        (asking(None), "did not declare"),
        (json!([]), "object"),
    ];
    for (result, part) in cases {
        let fake = server(move |sent, _| sent.result(result.clone()));
        let client = fake.connect(Client::builder()).await.unwrap();
        let error = client.call_tool("visit", json!({})).await.unwrap_err();
        assert!(error.message().contains(part), "{error}");
        assert_eq!(fake.of("tools/call").len(), 1, "{error}");
    }
    let lists = server(|sent, _| sent.result(asking(None)));
    let client = lists.connect(accepting()).await.unwrap();
    assert!(client.list_tools().await.is_err(), "lists ask nothing");
    let plain = server(|sent, _| sent.result(json!({"content": []})));
    let client = plain.connect(Client::builder()).await.unwrap();
    assert!(
        client.call_tool("visit", json!({})).await.is_ok(),
        "no kind is complete"
    );
}

#[tokio::test]
async fn headers_that_do_not_agree_are_put_right_once() {
    let marked = json!({"resultType": "complete", "tools": [{"name": "t", "inputSchema": {
        "type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }}]});
    let fake = Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        "tools/list" => sent.result(marked.clone()),
        _ if sent.params()["name"] == "t" && sent.header("mcp-param-region") == Some("eu") => {
            done(sent)
        }
        _ => sent.error(-32020, Value::Null),
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    client
        .call_tool("t", json!({"region": "eu"}))
        .await
        .unwrap();
    assert_eq!(
        fake.methods(),
        ["server/discover", "tools/call", "tools/list", "tools/call"]
    );
    let error = client.call_tool("other", json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol(_)));
    assert_eq!(fake.of("tools/call").len(), 4, "once");
}

/// An old server over HTTP whose tool calls `answer` answers.
fn old(answer: impl Fn(&Sent) -> Answer + Send + Sync + 'static) -> Arc<Fake> {
    Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => status(404),
        "initialize" => sent.greeted(),
        _ => answer(sent),
    })
}

#[tokio::test]
async fn questions_of_old_servers_are_answered_on_the_way() {
    let fake = old(|sent| {
        let ask = |id: Value, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let params = asking(None)["inputRequests"]["city"]["params"].clone();
        Answer::Messages(vec![
            ask(json!("q"), "elicitation/create", params),
            ask(json!(1), "roots/list", json!({})),
            ask(json!(2), "ping", json!({})),
            ask(
                json!(3),
                "sampling/createMessage",
                json!({"messages": [], "maxTokens": 1}),
            ),
            ask(json!(4), "elicitation/create", json!({"message": 7})),
            sent.response(json!({"content": [], "structuredContent": null, "resultType": "task"})),
        ])
    });
    let builder = accepting().roots(vec![Root::new("file:///a")]);
    let client = fake.connect(builder).await.unwrap();
    let result = client.call_tool("t", json!({})).await.unwrap();
    assert_eq!(result.structured_content(), None);
    let answers = fake.until("answer", 5).await;
    let answer = |id: Value| {
        let found = answers.iter().find(|a| a.message["id"] == id);
        found.unwrap().message.clone()
    };
    assert_eq!(
        answer(json!("q"))["result"],
        json!({"action": "accept", "content": {"name": "Rome"}})
    );
    assert_eq!(answer(json!(1))["result"]["roots"][0]["uri"], "file:///a");
    assert_eq!(answer(json!(2))["result"], json!({}));
    assert_eq!(answer(json!(3))["error"]["code"], -32601);
    assert_eq!(answer(json!(4))["error"]["code"], -32602);
    let initialize = &fake.of("initialize")[0];
    assert_eq!(
        initialize.params()["capabilities"],
        json!({"elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}})
    );
    client
        .set_roots(vec![Root::new("file:///b")])
        .await
        .unwrap();
    assert_eq!(fake.of("notifications/roots/list_changed").len(), 1);
}

#[tokio::test]
async fn an_address_is_opened_before_an_old_server_is_called_again() {
    let calls = AtomicUsize::new(0);
    let fake = old(move |sent| {
        match calls.fetch_add(1, Ordering::SeqCst) {
        0 => sent.error(
            -32042,
            json!({"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://a.example/x", "message": "m"}]}),
        ),
        _ => sent.result(json!({"content": []})),
    }
    });
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    let builder = Client::builder().on_elicit(move |asked| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(asked.key, "e");
        async move {
            let ElicitParams::Url(address) = asked.params else {
                panic!("an address")
            };
            assert_eq!(address.url, "https://a.example/x");
            Ok(ElicitResult::accept_url())
        }
    });
    let client = fake.connect(builder).await.unwrap();
    client.call_tool("t", json!({})).await.unwrap();
    assert_eq!(opened.load(Ordering::SeqCst), 1);

    let again = old(|sent| {
        sent.error(
            -32042,
            json!({"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://a.example/x", "message": "m"}]}),
        )
    });
    let builder = Client::builder().on_elicit(|_| async { Ok(ElicitResult::decline()) });
    let client = again.connect(builder).await.unwrap();
    let error = client.call_tool("t", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Declined);
    assert_eq!(again.of("tools/call").len(), 1);
}

#[tokio::test]
async fn requests_of_new_servers_get_no_answer() {
    let fake = server(|sent, _| {
        Answer::Messages(vec![
            json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}),
            sent.response(json!({"resultType": "complete", "content": []})),
        ])
    });
    let client = fake
        .connect(Client::builder().roots(Vec::new()))
        .await
        .unwrap();
    client.call_tool("t", json!({})).await.unwrap();
    client.request("tools/list", Map::new()).await.unwrap();
    assert!(fake.of("answer").is_empty());
}
