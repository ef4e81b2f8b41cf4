//! What the client remembers of tools: which arguments headers mirror, and what results look like.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use fastmcp_protocol::{
    Raw,
    header::{MirroredParam, mirrored_params},
    tool::{JsonSchema, Tool},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    schema::describe,
};

/// The largest schema that results are checked against, in bytes.
const MAX_SCHEMA: usize = 256 * 1024;

/// The tools of the last list, by name.
#[derive(Debug, Default)]
pub(super) struct Tools(Mutex<HashMap<String, Arc<Known>>>);

#[derive(Debug)]
pub(super) struct Known {
    mirrored: Vec<MirroredParam>,
    output: Option<JsonSchema>,
    validator: OnceLock<Option<Validator>>,
}

impl Tools {
    /// Remembers `tools` in place of what was known, and gives back those that may be called: over
    /// HTTP, where `mirrors` holds, not those that mark their arguments wrongly.
    ///
    /// Source: MCP 2026-07-28, basic/transports/streamable-http, "Custom Headers from Tool Parameters".
    pub(super) fn learn(&self, tools: Vec<Tool>, mirrors: bool) -> Vec<Tool> {
        let mut known = HashMap::with_capacity(tools.len());
        let mut usable = Vec::with_capacity(tools.len());
        for tool in tools {
            let mirrored = match mirrored_params(&tool.input_schema) {
                Ok(mirrored) => mirrored,
                Err(error) if mirrors => {
                    tracing::warn!(tool = %tool.name, %error, "tool is left out");
                    continue;
                }
                Err(_) => Vec::new(),
            };
            let one = Known {
                mirrored,
                output: tool.output_schema.clone(),
                validator: OnceLock::new(),
            };
            known.insert(tool.name.clone(), Arc::new(one));
            usable.push(tool);
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        usable
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Known>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }
}

impl Known {
    /// Adds the headers that mirror `arguments`.
    pub(super) fn mirror(&self, arguments: &Map<String, Value>, headers: &mut HeaderMap) {
        for param in &self.mirrored {
            let value = param.mirror(arguments);
            let name = HeaderName::try_from(param.header());
            if let (Some(Ok(value)), Ok(name)) = (value.map(HeaderValue::try_from), name) {
                headers.insert(name, value);
            }
        }
    }

    /// Checks what a tool returned against what it announced. A schema that cannot be used checks
    /// nothing; references to other documents are never followed.
    ///
    /// # Errors
    ///
    /// The first field that does not fit.
    pub(super) fn check(&self, tool: &str, content: Option<&Raw>) -> Result<()> {
        let Some(schema) = &self.output else {
            return Ok(());
        };
        let Some(content) = content else {
            return Err(Error::internal(format!(
                "tool `{tool}` announced structured content and returned none"
            )));
        };
        let validator = self.validator.get_or_init(|| compile(tool, schema));
        let Some(validator) = validator else {
            return Ok(());
        };
        let content: Value = content.decode()?;
        validator.validate(&content).map_err(|error| {
            Error::internal(format!(
                "tool `{tool}` returned what its schema does not allow: {}",
                describe(&error)
            ))
        })
    }
}

fn compile(tool: &str, schema: &JsonSchema) -> Option<Validator> {
    if schema.as_str().len() > MAX_SCHEMA {
        tracing::warn!(tool, "schema is too large to check results against");
        return None;
    }
    let built = schema.to_value().map_err(|e| e.to_string()).and_then(|s| {
        // Patterns come from the server: only an engine without backtracking may run them.
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&s)
            .map_err(|e| describe(&e))
    });
    built
        .inspect_err(|error| tracing::warn!(tool, %error, "results are not checked"))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, input: &str, output: Option<&str>) -> Tool {
        Tool {
            output_schema: output.map(|o| JsonSchema::parse(o).unwrap()),
            ..Tool::new(name, JsonSchema::parse(input).unwrap())
        }
    }

    const MARKED: &str = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"count":{"type":"integer","x-mcp-header":"Count"}}},
        "dry":{"type":"boolean","x-mcp-header":"Dry"},"plain":{"type":"string"}}}"#;

    #[test]
    fn marked_arguments_stand_in_headers() {
        let tools = Tools::default();
        tools.learn(vec![tool("t", MARKED, None)], true);
        let known = tools.get("t").unwrap();
        let mirrored = |arguments: Value| {
            let mut headers = HeaderMap::new();
            known.mirror(arguments.as_object().unwrap(), &mut headers);
            let mut all: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            all.sort();
            all
        };
        assert_eq!(
            mirrored(json!({"region": "über", "deep": {"count": -7}, "dry": true, "plain": "x"})),
            [
                "mcp-param-count: -7",
                "mcp-param-dry: true",
                "mcp-param-region: =?base64?w7xiZXI=?="
            ]
        );
        assert_eq!(mirrored(json!({"region": ""})), ["mcp-param-region: "]);
        assert!(mirrored(json!({"region": null, "deep": {"count": 1.5}})).is_empty());
    }

    #[test]
    fn tools_with_wrong_marks_are_left_out_over_http_alone() {
        let wrong = r#"{"type":"object","properties":{"n":{"type":"number","x-mcp-header":"N"}}}"#;
        let list = || vec![tool("bad", wrong, None), tool("good", MARKED, None)];
        let tools = Tools::default();
        let usable = tools.learn(list(), true);
        assert_eq!(usable.len(), 1);
        assert!(tools.get("bad").is_none());
        assert_eq!(tools.learn(list(), false).len(), 2);
    }

    #[test]
    fn results_fit_what_was_announced() {
        let check = |schema: &str, content: Option<&str>| {
            let tools = Tools::default();
            tools.learn(vec![tool("t", "{}", Some(schema))], true);
            let content = content.map(|c| Raw::parse(c.to_owned()).unwrap());
            tools.get("t").unwrap().check("t", content.as_ref())
        };
        let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}}}"#;
        assert!(check(schema, Some(r#"{"n":1}"#)).is_ok());
        let error = check(schema, Some(r#"{"n":"one"}"#)).unwrap_err();
        assert!(error.message().contains("`t`"), "{error}");
        assert!(check(schema, None).is_err());
        let elsewhere = r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#;
        assert!(check(elsewhere, Some("1")).is_ok(), "nothing is fetched");
        assert!(check(r#"{"$schema":"urn:unknown"}"#, Some("1")).is_ok());
    }
}
