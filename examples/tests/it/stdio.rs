//! Those that serve standard input and output.

use fastmcp::{prelude::*, transport::wire::StdioWireConfig};

const NO_ARGUMENTS: [&str; 0] = [];

/// The built example of that name, and the tools that it shows.
macro_rules! example {
    ($name:literal, $tools:expr) => {
        (
            $name,
            env!(concat!("CARGO_BIN_EXE_", $name)),
            $tools.as_slice(),
        )
    };
}

/// What serves standard input and output: its name, its program, and its tools.
const EXAMPLES: &[(&str, &str, &[&str])] = &[
    example!("quickstart", ["add"]),
    example!("in_memory_testing", ["add", "divide"]),
    example!("middleware", ["get_data", "secret_data"]),
    example!(
        "composition",
        ["db_query", "health_check", "weather_get_forecast"]
    ),
    example!(
        "context_state",
        ["admin_operation", "check_permission", "get_user_profile"]
    ),
    example!("error_handling", ["divide", "read_setting"]),
    example!("connection_pool", ["fetch_api", "query_database"]),
    example!(
        "progress",
        ["multi_stage_operation", "process_large_dataset"]
    ),
    example!("testing", ["add", "fetch_weather"]),
    example!(
        "performance",
        ["expensive_query", "fetch_multiple_sources", "list_items"]
    ),
    example!(
        "migration",
        [
            "compatible",
            "describe",
            "new_tool",
            "old_tool",
            "process_data",
            "process_data_v1",
            "process_data_v2"
        ]
    ),
    example!(
        "modular_server",
        ["count_words", "list_files", "login", "logout"]
    ),
    example!("graceful_degradation", ["weather_with_fallback"]),
    example!("concurrent_calls", ["batch_api_calls"]),
    example!("sanitised_input", ["archive_name", "secure_send_message"]),
    example!("rate_limiting", ["cheap_call", "rate_limited_api_call"]),
    example!("monitored_tool", ["monitored_tool"]),
    example!("configuration", ["show_configuration"]),
    example!("environment", ["fetch_data"]),
    example!("error_middleware", ["divide", "fetch_quote"]),
    example!("error_classification", ["validate_user_input"]),
    example!(
        "enterprise",
        [
            "bulk_process_documents",
            "create_secure_document",
            "fetch_tenant_document",
            "get_user_activity_summary",
        ]
    ),
];

#[tokio::test]
async fn each_starts_and_shows_what_it_has() {
    for (name, program, tools) in EXAMPLES {
        let mut command = StdioWireConfig::new(*program, NO_ARGUMENTS);
        // One of them has a setting that it cannot do without.
        let endpoint = ("API_ENDPOINT".into(), "http://127.0.0.1:9".into());
        command.env.extend([endpoint]);
        let client = Client::builder()
            .connect_command(&command)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut shown: Vec<_> = client
            .list_tools()
            .await
            .unwrap()
            .into_iter()
            .map(|t| t.name)
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, *tools, "{name}");
        client.close().await;
    }
}

#[tokio::test]
async fn what_was_computed_is_read_again() {
    let command = StdioWireConfig::new(env!("CARGO_BIN_EXE_timed_cache"), NO_ARGUMENTS);
    let client = Client::builder().connect_command(&command).await.unwrap();
    for _ in 0..2 {
        let read = client.read_resource("computation://a").await.unwrap();
        let text = serde_json::to_value(&read.contents[0]).unwrap()["text"].clone();
        assert_eq!(text, "Computed result for a, run 1");
    }
}

#[tokio::test]
async fn the_first_one_does_what_the_page_says() {
    let command = StdioWireConfig::new(env!("CARGO_BIN_EXE_quickstart"), NO_ARGUMENTS);
    let client = Client::builder().connect_command(&command).await.unwrap();
    let sum = client
        .call_tool("add", json!({"a": 5, "b": 3}))
        .await
        .unwrap();
    assert_eq!(sum.data::<i64>().unwrap(), 8);
    let greeting = client.read_resource("greeting://Ada").await.unwrap();
    assert_eq!(
        serde_json::to_value(&greeting.contents[0]).unwrap()["text"],
        "Hello, Ada!"
    );
    let prompt = client
        .get_prompt("greet_user", json!({"name": "Ada"}))
        .await
        .unwrap();
    assert!(
        prompt.messages[0]
            .content
            .as_text()
            .unwrap()
            .contains("friendly")
    );
}
