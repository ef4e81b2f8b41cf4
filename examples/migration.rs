//! Migration: tools that grow old with a warning, versions side by side, features that are off until wanted.
//!
//! Run with: `cargo run -p fastmcp-examples --bin migration`

use std::collections::BTreeMap;

use fastmcp::prelude::*;

/// Does it the old way.
#[tool(deprecated = "use `new_tool`")]
async fn old_tool(param: String) -> String {
    new_tool::call(param).await
}

/// Does it.
#[tool]
async fn new_tool(param: String) -> String {
    format!("New: {param}")
}

type Options = BTreeMap<String, String>;

/// What became of data.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Processed {
    result: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<Options>,
}

/// Version 1: simple processing.
#[tool]
async fn process_data_v1(data: String) -> Processed {
    Processed {
        result: data.to_uppercase(),
        options: None,
    }
}

/// Version 2: with options.
#[tool]
async fn process_data_v2(data: String, options: Options) -> Processed {
    Processed {
        result: data.to_uppercase(),
        options: Some(options),
    }
}

/// The current version, which delegates to the second.
#[tool]
async fn process_data(data: String, options: Option<Options>) -> Processed {
    process_data_v2::call(data, options.unwrap_or_default()).await
}

/// Tells how it is done, as it was before.
#[tool(name = "describe", version = "1")]
async fn describe_v1() -> &'static str {
    "simple"
}

/// Tells how it is done. Of several versions the highest is listed and called, unless another is asked for.
#[tool(name = "describe", version = "2")]
async fn describe_v2() -> &'static str {
    "with options"
}

/// What is tried out.
#[tool(feature = "experimental")]
async fn experimental_feature() -> &'static str {
    "Experimental result"
}

/// What an old client sends, and what a new one does.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Data {
    Old(String),
    New { value: String },
}

/// Takes both forms.
#[tool]
async fn compatible(data: Data) -> String {
    let (Data::Old(value) | Data::New { value }) = data;
    value.to_uppercase()
}

fn server() -> FastMcp {
    FastMcp::new("BaseComponents")
        .version("2.1.0")
        .tool(old_tool)
        .tool(new_tool)
        .tool(process_data_v1)
        .tool(process_data_v2)
        .tool(process_data)
        .tool(describe_v1)
        .tool(describe_v2)
        .tool(experimental_feature)
        .tool(compatible)
}

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
async fn main() -> Result<()> {
    let server = server();
    let server = match std::env::var("ENABLE_EXPERIMENTAL") {
        Ok(_) => server.enable_feature("experimental"),
        Err(_) => server,
    };
    server.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(server: FastMcp) -> Vec<String> {
        let client = Client::connect(&server.build().unwrap()).await.unwrap();
        let tools = client.list_tools().await.unwrap();
        tools.into_iter().map(|tool| tool.name).collect()
    }

    #[tokio::test]
    async fn features_are_hidden_until_they_are_wanted() {
        let name = "experimental_feature".to_owned();
        assert!(!names(server()).await.contains(&name));
        assert!(
            names(server().enable_feature("experimental"))
                .await
                .contains(&name)
        );
    }

    #[tokio::test]
    async fn old_and_new_are_both_served() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let old = client
            .call_tool("old_tool", json!({"param": "x"}))
            .await
            .unwrap();
        assert_eq!(old.text(), "New: x");
        for data in [json!("a"), json!({"value": "a"})] {
            let told = client
                .call_tool("compatible", json!({"data": data}))
                .await
                .unwrap();
            assert_eq!(told.text(), "A");
        }
        let current = client
            .call_tool("process_data", json!({"data": "a"}))
            .await
            .unwrap();
        let expected = Processed {
            result: "A".to_owned(),
            options: Some(Options::new()),
        };
        assert_eq!(current.data::<Processed>().unwrap(), expected);
        let described = client.call_tool("describe", json!({})).await.unwrap();
        assert_eq!(described.text(), "with options");
        let tools = client.list_tools().await.unwrap();
        let old = tools.iter().find(|tool| tool.name == "old_tool").unwrap();
        assert!(old.description.as_ref().unwrap().contains("use `new_tool`"));
    }
}
