//! Prompts: definitions and what they render to.
//!
//! Source: MCP 2026-07-28, server/prompts.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    content::{ContentBlock, Icon, Meta, Role},
    error::RpcError,
    mrtr::{InputResponses, optional_responses},
    raw,
};

/// An argument of a prompt; its value is always a string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PromptArgument {
    /// The name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be given. False where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

impl PromptArgument {
    /// The argument `name`.
    pub fn new(name: impl Into<String>, required: bool) -> Self {
        Self {
            name: name.into(),
            required: Some(required),
            ..Self::default()
        }
    }
}

/// The definition of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Prompt {
    /// The name that renders it.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<PromptArgument>>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Prompt {
    /// The prompt `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// The result of `prompts/list`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPromptsResult {
    /// The prompts of this page.
    pub prompts: Vec<Prompt>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `prompts/get`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GetPromptParams<'a> {
    /// The prompt's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The arguments, an object of strings, as sent; see [`Self::strings`].
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub arguments: Option<&'a RawValue>,
    /// Answers to what an earlier round asked.
    #[serde(
        default,
        deserialize_with = "optional_responses",
        skip_serializing_if = "Option::is_none"
    )]
    pub input_responses: Option<InputResponses>,
    /// The state that an earlier round handed out, unchanged.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_state: Option<Cow<'a, str>>,
}

impl GetPromptParams<'_> {
    /// The arguments by name.
    ///
    /// # Errors
    ///
    /// `-32602` that names an argument which is not a string.
    pub fn strings(&self) -> Result<BTreeMap<String, String>, RpcError> {
        let text = self.arguments.map_or("{}", RawValue::get);
        serde_json::from_str(text).map_err(|_| {
            RpcError::invalid_params(raw::complaint::<BTreeMap<String, String>>(
                "params.arguments",
                text,
            ))
        })
    }
}

/// A message of a rendered prompt.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: ContentBlock,
}

impl PromptMessage {
    /// Said by the person.
    pub fn user(content: impl Into<ContentBlock>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }

    /// Said by the model.
    pub fn assistant(content: impl Into<ContentBlock>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.into(),
        }
    }
}

/// The result of `prompts/get`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GetPromptResult {
    /// What the prompt is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The messages, in order.
    pub messages: Vec<PromptMessage>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    #[test]
    fn arguments_are_strings() {
        let read = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            let params: GetPromptParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
            params.strings().map_err(|e| e.message.to_string())
        };
        assert_eq!(read(r#"{"name":"p"}"#), Ok(BTreeMap::new()));
        assert_eq!(
            read(r#"{"name":"p","arguments":{"a":"b"}}"#).unwrap()["a"],
            "b"
        );
        assert_eq!(
            read(r#"{"name":"p","arguments":{"n":1}}"#).unwrap_err(),
            "`params.arguments.n`: invalid type: integer `1`, expected a string"
        );
    }

    #[test]
    fn messages_are_made_from_text() {
        assert_eq!(
            serde_json::to_string(&PromptMessage::user("hi")).unwrap(),
            r#"{"role":"user","content":{"type":"text","text":"hi"}}"#
        );
    }
}
