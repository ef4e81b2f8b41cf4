//! What is written here is what the official schemas say.
//!
//! Needs `MCP_SCHEMA_DIR`, a folder with `<revision>.json` and `examples/<revision>/<definition>/*.json` of
//! the specification's repository; without it these checks are left out, and say so.

use std::{fs, path::PathBuf};

use serde_json::Value;

mod example;
mod legacy;

/// The folder of the schemas.
fn folder() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told where the schemas are"
    )]
    let folder = std::env::var("MCP_SCHEMA_DIR").ok().map(PathBuf::from);
    if folder.is_none() {
        println!("MCP_SCHEMA_DIR is not set: official schema checks left out");
    }
    folder
}

/// A revision's schema, made strict: what it does not name is not allowed.
struct Schema {
    revision: &'static str,
    dialect: Value,
    /// Where the definitions stand.
    key: &'static str,
    definitions: Value,
}

impl Schema {
    fn load(revision: &'static str) -> Option<Self> {
        let text = fs::read_to_string(folder()?.join(format!("{revision}.json"))).unwrap();
        let mut schema: Value = serde_json::from_str(&text).unwrap();
        let key = if schema.get("$defs").is_some() {
            "$defs"
        } else {
            "definitions"
        };
        let mut definitions = schema[key].take();
        for (name, definition) in definitions.as_object_mut().unwrap() {
            if !name.ends_with("MetaObject") {
                close(definition);
            }
        }
        Some(Self {
            revision,
            dialect: schema["$schema"].take(),
            key,
            definitions,
        })
    }

    /// Checks `value` against the definition `name`.
    fn check(&self, name: &str, value: &Value) {
        let problems = self.problems(name, value);
        assert!(
            problems.is_empty(),
            "{} {name}: {problems:#?}\n{value:#}",
            self.revision
        );
    }

    /// What keeps `value` from being what `name` defines.
    fn problems(&self, name: &str, value: &Value) -> Vec<String> {
        assert!(
            self.definitions.get(name).is_some(),
            "{} has no {name}",
            self.revision
        );
        let key = self.key;
        let schema = serde_json::json!({
            "$schema": self.dialect,
            "$ref": format!("#/{key}/{name}"),
            key: self.definitions,
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        validator
            .iter_errors(value)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect()
    }
}

/// Allows only the members that are named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            for (name, part) in object {
                // Metadata is open, and a part of `allOf` names only its own members.
                if name != "_meta" && name != "allOf" {
                    close(part);
                }
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}
