//! Schemas whose properties are described by objects alone.
//!
//! Source: MCP 2025-11-25, schema, `Tool.inputSchema.properties`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    jsonrpc::{Text, push_str},
    tool::JsonSchema,
};

/// The schema with the boolean schemas among its properties written as objects, where there are any.
///
/// Booleans further down stay: no legacy schema forbids them.
pub(super) fn of_properties(schema: &JsonSchema) -> Option<JsonSchema> {
    let Members(root) = serde_json::from_str(schema.as_str()).ok()?;
    let (_, properties) = root.iter().find(|(name, _)| name == "properties")?;
    let Members(properties) = serde_json::from_str(properties.get()).ok()?;
    properties
        .iter()
        .find(|(_, property)| as_object(property).is_some())?;
    let properties = write(properties.iter().map(|(name, property)| {
        let text = as_object(property).unwrap_or_else(|| property.get());
        (&**name, text)
    }));
    let text = write(root.iter().map(|(name, value)| {
        let text = if name == "properties" {
            &*properties
        } else {
            value.get()
        };
        (&**name, text)
    }));
    JsonSchema::parse(text).ok()
}

/// A boolean schema as an object.
fn as_object(schema: &RawValue) -> Option<&'static str> {
    match schema.get() {
        "true" => Some("{}"),
        "false" => Some(r#"{"not":{}}"#),
        _ => None,
    }
}

fn write<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (name, text) in members {
        if out.len() > 1 {
            out.push(',');
        }
        push_str(&mut out, name);
        out.push(':');
        out.push_str(text);
    }
    out.push('}');
    out
}

/// The members of an object in their order, as they came.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            members.push((name, value));
        }
        Ok(members)
    }
}
