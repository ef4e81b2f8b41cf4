//! What is done at most once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{ToolBuilder, prelude::*, protocol::tool::TaskSupport};
use serde_json::Value;

use super::tasks::{Name, connect, request, send};

#[derive(Debug, Deserialize, JsonSchema)]
struct Order {
    item: String,
}

/// Orders once: an empty item is refused by the shop.
fn order(count: &Arc<AtomicUsize>) -> ToolBuilder {
    let count = Arc::clone(count);
    ToolBuilder::new("order", move |order: Order, ctx: Context| {
        let count = Arc::clone(&count);
        async move {
            let place = || async {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                match order.item.as_str() {
                    "" => Err(Error::tool("the shop has no such thing")),
                    _ => Ok(number),
                }
            };
            let number = ctx.once("order", place).await?;
            Ok::<_, Error>(format!("order {number}"))
        }
    })
}

fn call(item: &str, key: Option<&str>, extra: &Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    if let Some(key) = key {
        meta["dev.fastmcp/idempotencyKey"] = json!(key);
    }
    let mut params = json!({"name": "order", "arguments": {"item": item}, "_meta": meta});
    params
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    request(1, "tools/call", &params)
}

fn text(reply: &Value) -> &str {
    reply["result"]["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn an_operation_is_done_once_and_answered_the_same() {
    let count = Arc::default();
    let server = FastMcp::new("once").tool(order(&count)).build().unwrap();
    let (alice, bob) = (connect(&server, "alice"), connect(&server, "bob"));
    let none = json!({});
    for _ in 0..3 {
        let reply = send(&alice, call("tea", Some("k1"), &none)).await;
        assert_eq!(text(&reply), "order 1");
    }
    assert_eq!(
        text(&send(&alice, call("tea", Some("k2"), &none)).await),
        "order 2"
    );
    assert_eq!(
        text(&send(&bob, call("tea", Some("k1"), &none)).await),
        "order 3"
    );
    let other = send(&alice, call("cake", Some("k1"), &none)).await;
    assert_eq!(other["result"]["isError"], true);
    assert!(text(&other).contains("used with other arguments"));
    for _ in 0..2 {
        let refused = send(&alice, call("", Some("k3"), &none)).await;
        assert_eq!(text(&refused), "the shop has no such thing");
    }
    assert_eq!(
        count.load(Ordering::SeqCst),
        4,
        "what failed is not tried again"
    );
    let unnamed = send(&alice, call("tea", None, &none)).await;
    assert!(
        text(&unnamed).contains(r#"send `_meta["dev.fastmcp/idempotencyKey"]`"#),
        "{unnamed}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_round_that_is_repeated_is_not_done_again() {
    let count: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&count);
    let tool = ToolBuilder::new("order", move |order: Order, ctx: Context| {
        let counted = Arc::clone(&counted);
        async move {
            let name: Name = ctx.elicit("name", "For whom?").await?;
            let place = || async { Ok(counted.fetch_add(1, Ordering::SeqCst) + 1) };
            let number: usize = ctx.once("order", place).await?;
            Ok::<_, Error>(format!("{number} {} {name:?}", order.item))
        }
    });
    let server = FastMcp::new("once").tool(tool).build().unwrap();
    let alice = connect(&server, "alice");
    let asked = send(&alice, call("tea", None, &json!({}))).await;
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let second = json!({
        "requestState": asked["result"]["requestState"],
        "inputResponses": {"name": answer},
    });
    let first = send(&alice, call("tea", None, &second)).await;
    let repeated = send(&alice, call("tea", None, &second)).await;
    assert!(text(&first).starts_with("1 tea"), "{first}");
    assert_eq!(first["result"]["content"], repeated["result"]["content"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_task_names_its_operation_and_what_was_left_begun_is_said() {
    let tool = ToolBuilder::new("order", |_: Order, ctx: Context| async move {
        let never = || async {
            std::future::pending::<()>().await;
            Ok(1)
        };
        tokio::select! {
            biased;
            number = ctx.once("order", never) => return number,
            () = std::future::ready(()) => {}
        }
        ctx.once("order", || async { Ok(2) }).await
    })
    .task(TaskSupport::Required);
    let server = FastMcp::new("once").tool(tool).build().unwrap();
    let alice = connect(&server, "alice");
    let mut message = call("tea", None, &json!({}));
    let declared = json!({"extensions": {super::tasks::EXTENSION: {}}});
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = declared;
    let begun = send(&alice, message.clone()).await;
    assert!(server.finish(std::time::Duration::from_secs(10)).await);
    message["method"] = json!("tasks/get");
    message["params"]["taskId"] = begun["result"]["taskId"].clone();
    let task = send(&alice, message).await;
    let said = task["result"]["result"]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(
        said.contains("its end is not recorded; it is not done again"),
        "{said}"
    );
}
