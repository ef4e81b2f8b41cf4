//! Lists, page by page.

use fastmcp::{
    PromptBuilder, ResourceBuilder, ToolBuilder, prelude::*, server::Engine,
    transport::memory::Memory,
};
use serde_json::Value;

use crate::eras::{modern, send};

const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
    ),
];

#[derive(Debug, Deserialize, JsonSchema)]
struct Id {
    #[expect(dead_code, reason = "the template names it")]
    id: String,
}

fn server(size: usize) -> Server {
    let mut server = FastMcp::new("pages").list_page_size(size);
    // Registered in an order that is not that of their names.
    for n in [3, 1, 4, 2, 0] {
        server = server
            .tool(ToolBuilder::new(format!("t{n}"), |(), _: Context| async {
                ""
            }))
            .prompt(PromptBuilder::new(
                format!("p{n}"),
                |(), _: Context| async { "" },
            ))
            .resource(ResourceBuilder::new(
                format!("data://{n}"),
                "r",
                |(), _: Context| async { "" },
            ))
            .resource(ResourceBuilder::new(
                format!("data://{n}/{{id}}"),
                "t",
                |_: Id, _: Context| async { "" },
            ));
    }
    server.build().unwrap()
}

fn request(older: bool, method: &str, cursor: Option<&Value>) -> Value {
    let mut params = json!({});
    if let Some(cursor) = cursor {
        params["cursor"] = cursor.clone();
    }
    if older {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    } else {
        modern(method, params, &json!({}))
    }
}

/// Reads a list to its end: the keys of its entries, and how many each page had.
async fn walk(
    memory: &Memory<Engine>,
    older: bool,
    (method, member, key): (&str, &str, &str),
) -> (Vec<String>, Vec<usize>) {
    let (mut seen, mut sizes, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let request = request(older, method, cursor.as_ref());
        let result = send(memory, request).await.1["result"].clone();
        let page = result[member].as_array().unwrap();
        sizes.push(page.len());
        seen.extend(page.iter().map(|one| one[key].as_str().unwrap().to_owned()));
        assert_eq!(result.get("cacheScope").is_none(), older);
        cursor = result.get("nextCursor").cloned();
        if cursor.is_none() {
            return (seen, sizes);
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_in_one_order() {
    let memory = server(2).memory();
    for older in [false, true] {
        for list in LISTS {
            let (first, sizes) = walk(&memory, older, list).await;
            assert_eq!(sizes, [2, 2, 1], "{list:?}");
            assert_eq!(walk(&memory, older, list).await.0, first);
            let mut unique = first.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), 5, "{list:?}");
        }
    }
}

#[tokio::test]
async fn a_cursor_is_ours_or_refused() {
    let memory = server(2).memory();
    let first = send(&memory, request(false, "tools/list", None)).await.1;
    let ours = first["result"]["nextCursor"].as_str().unwrap().to_owned();
    assert!(
        send(&memory, request(false, "tools/list", Some(&json!(ours))))
            .await
            .1["error"]
            .is_null()
    );
    for older in [false, true] {
        for (method, _, _) in LISTS {
            for wrong in [
                json!(""),
                json!("2"),
                json!(format!("{ours}x")),
                json!(format!("{ours}=")),
                // base64url of `o0`, `o5`, `o-1`, `o18446744073709551616`: no page begins there
                json!("bzA"),
                json!("bzU"),
                json!("by0x"),
                json!("bzE4NDQ2NzQ0MDczNzA5NTUxNjE2"),
                json!("x".repeat(100_000)),
                json!(7),
            ] {
                let reply = send(&memory, request(older, method, Some(&wrong))).await.1;
                assert_eq!(reply["error"]["code"], -32602, "{method} {wrong}: {reply}");
            }
        }
    }
}
