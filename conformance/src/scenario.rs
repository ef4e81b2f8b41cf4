//! What each scenario does.

use std::sync::Arc;

use fastmcp::{
    Client, Error, Result,
    client::ClientBuilder,
    protocol::{ProtocolVersion, content::JsonObject, elicit::ElicitResult, tool::Tool},
};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::auth;

/// Plays `scenario` against the server at `url`.
pub(crate) async fn play(
    scenario: &str,
    url: &str,
    revision: Option<ProtocolVersion>,
    context: &Value,
) -> Result<()> {
    let mut builder = Client::builder();
    if let Some(revision) = revision {
        builder = builder.revision(revision);
    }
    if scenario.starts_with("auth/") {
        builder = builder.oauth(&auth::client(scenario, url, context)?);
    }
    match scenario {
        "elicitation-sep1034-client-defaults" => fill_in_nothing(builder, url).await,
        "http-custom-headers" => call_what_is_named(builder, url, context).await,
        "http-standard-headers" | "request-metadata" => use_everything(builder, url).await,
        "json-schema-2020-12-preservation" => echo_schema(builder, url).await,
        "json-schema-ref-no-deref" => list(builder, url).await,
        "sep-2322-client-request-state" => answer_in_rounds(builder, url).await,
        "sep-2640-client-no-prefetch" => list_skills(builder, url).await,
        "sep-2640-client-verify-digest"
        | "sep-2640-client-verify-frontmatter"
        | "sep-2640-client-verify-size" => load_skills(builder, url).await,
        _ => list_and_call(builder, url).await,
    }
}

/// Lists tools, and calls none.
async fn list(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    client.list_tools().await?;
    client.close().await;
    Ok(())
}

/// Lists tools, and calls each of them.
async fn list_and_call(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    for tool in client.list_tools().await? {
        client
            .call_tool_raw(&tool.name, Value::Object(arguments_for(&tool)?))
            .await?;
    }
    client.close().await;
    Ok(())
}

/// Arguments that `tool` takes: something of the right type for each that it requires.
fn arguments_for(tool: &Tool) -> Result<Map<String, Value>> {
    let schema = tool.input_schema.to_value()?;
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let value = |name: &str| {
        let property = schema.get("properties").and_then(|all| all.get(name));
        match property.and_then(|p| p.get("type")).and_then(Value::as_str) {
            Some("number" | "integer") => json!(2),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("text"),
        }
    };
    Ok(names.map(|name| (name.to_owned(), value(name))).collect())
}

/// Accepts every form as it is: what is left out, defaults fill in.
async fn fill_in_nothing(builder: ClientBuilder, url: &str) -> Result<()> {
    let builder =
        builder.on_elicit(|_| std::future::ready(Ok(ElicitResult::accept(JsonObject::new()))));
    list_and_call(builder, url).await
}

/// Makes the calls that the suite names, once the tools are known.
async fn call_what_is_named(builder: ClientBuilder, url: &str, context: &Value) -> Result<()> {
    let client = builder.connect_url(url).await?;
    client.list_tools().await?;
    let calls = context.get("toolCalls").and_then(Value::as_array);
    for call in calls.ok_or_else(|| Error::validation("`--context`: `toolCalls` is missing"))? {
        let name = call.get("name").and_then(Value::as_str).unwrap_or_default();
        let arguments = call.get("arguments").cloned().unwrap_or_default();
        client.call_tool_raw(name, arguments).await?;
    }
    client.close().await;
    Ok(())
}

/// Lists, calls, reads and renders whatever there is.
async fn use_everything(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    let offers = client.server_capabilities();
    if offers.tools.is_some() {
        for tool in client.list_tools().await? {
            let arguments = Value::Object(arguments_for(&tool)?);
            client.call_tool_raw(&tool.name, arguments).await?;
        }
    }
    if offers.resources.is_some() {
        for resource in client.list_resources().await? {
            client.read_resource(&resource.uri).await?;
        }
    }
    if offers.prompts.is_some() {
        for prompt in client.list_prompts().await? {
            let arguments: Map<String, Value> = prompt
                .arguments
                .into_iter()
                .flatten()
                .map(|argument| (argument.name, json!("text")))
                .collect();
            client
                .get_prompt(&prompt.name, Value::Object(arguments))
                .await?;
        }
    }
    client.close().await;
    Ok(())
}

/// Sends the schema of one tool back as the argument of another, as it came.
async fn echo_schema(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    let tools = client.list_tools().await?;
    let rich = tools
        .iter()
        .find(|tool| tool.name == "json_schema_2020_12_tool");
    let echo = tools
        .iter()
        .find(|tool| tool.name != "json_schema_2020_12_tool");
    let (Some(rich), Some(echo)) = (rich, echo) else {
        return Err(Error::internal("the server lacks one of the two tools"));
    };
    let schema = rich.input_schema.to_value()?;
    client
        .call_tool_raw(&echo.name, json!({"schema": schema}))
        .await?;
    client.close().await;
    Ok(())
}

/// Calls one tool while another waits for its answer, and then those without a state or a kind.
async fn answer_in_rounds(builder: ClientBuilder, url: &str) -> Result<()> {
    let (asked, called) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&called));
    let builder = builder.on_elicit(move |_| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            let yes = Map::from_iter([("confirmed".to_owned(), json!(true))]);
            Ok(ElicitResult::accept(yes))
        }
    });
    let client = builder.connect_url(url).await?;
    client.list_tools().await?;
    let meanwhile = async {
        asked.notified().await;
        let unrelated = client.call_tool_raw("test_mrtr_unrelated", json!({})).await;
        called.notify_one();
        unrelated
    };
    let (echoed, unrelated) = tokio::join!(
        client.call_tool_raw("test_mrtr_echo_state", json!({})),
        meanwhile
    );
    echoed?;
    unrelated?;
    called.notify_one();
    client
        .call_tool_raw("test_mrtr_no_state", json!({}))
        .await?;
    client
        .call_tool_raw("test_mrtr_no_result_type", json!({}))
        .await?;
    client.close().await;
    Ok(())
}

/// Lists skills, and loads none.
async fn list_skills(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    let list = client.list_skills().await?;
    if list.skills.is_empty() {
        return Err(Error::internal("the server has no skill that may be used"));
    }
    client.close().await;
    Ok(())
}

/// Loads every skill, and reads its files.
async fn load_skills(builder: ClientBuilder, url: &str) -> Result<()> {
    let client = builder.connect_url(url).await?;
    for skill in client.list_skills().await?.skills {
        skill.load().await?;
        for (path, _) in skill.files() {
            skill.read(path).await?;
        }
    }
    client.close().await;
    Ok(())
}
