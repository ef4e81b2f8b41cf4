//! The lists of a server as text.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{client::Client, error::Result};

/// What a server offers to this client, as JSON text that is the same as long as that is the same: tools,
/// resources, resource templates and prompts by name, members by theirs, and instructions. Versions and
/// capabilities, which change with the framework, are left out.
///
/// # Errors
///
/// When the server answers with an error.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn snapshot(client: &Client) -> Result<String> {
    let offers = client.server_capabilities();
    let (mut tools, mut prompts) = (Vec::new(), Vec::new());
    let (mut resources, mut templates) = (Vec::new(), Vec::new());
    if offers.tools.is_some() {
        tools = client.list_tools().await?;
    }
    if offers.resources.is_some() {
        resources = client.list_resources().await?;
        templates = client.list_resource_templates().await?;
    }
    if offers.prompts.is_some() {
        prompts = client.list_prompts().await?;
    }
    let all = json!({
        "instructions": client.instructions(),
        "prompts": sorted(&prompts, "name")?,
        "resourceTemplates": sorted(&templates, "uriTemplate")?,
        "resources": sorted(&resources, "uri")?,
        "tools": sorted(&tools, "name")?,
    });
    Ok(serde_json::to_string_pretty(&ordered(all))?)
}

/// The items in the order of their names.
fn sorted<T: Serialize>(items: &[T], name: &str) -> Result<Vec<Value>> {
    let values: std::result::Result<Vec<_>, _> = items.iter().map(serde_json::to_value).collect();
    let mut values = values?;
    values.sort_by_key(|value| {
        let name = value.get(name).and_then(Value::as_str);
        name.unwrap_or_default().to_owned()
    });
    Ok(values)
}

/// The value with the members of its objects in the order of their names, whatever order maps keep.
fn ordered(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(key, v)| (key, ordered(v)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}
