//! Sampling: a server asks the client's model.
//!
//! Source: MCP 2026-07-28, client/sampling; deprecated there.

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
    ser::Serializer,
};

use crate::{
    content::{
        ContentBlock, JsonObject, MediaContent, Meta, Role, Tagged, TextContent, one_or_many,
        read_tagged,
    },
    raw::{self, Raw},
    tool::Tool,
};

/// A piece of a message to or from a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplingContent {
    /// Text.
    Text(TextContent),
    /// An image.
    Image(MediaContent),
    /// A sound.
    Audio(MediaContent),
    /// The model wants a tool to be called.
    ToolUse(ToolUseContent),
    /// What the tool answered.
    ToolResult(ToolResultContent),
    /// A type that this crate does not know, as it came.
    #[serde(untagged)]
    Unknown(Raw),
}

impl SamplingContent {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextContent::new(text))
    }

    /// The text, where this is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(content) => Some(&content.text),
            _ => None,
        }
    }
}

impl Tagged for SamplingContent {
    const TAGS: &'static [&'static str] = &["text", "image", "audio", "tool_use", "tool_result"];

    fn decode<'de, D: Deserializer<'de>>(tag: &str, body: D) -> Result<Self, D::Error> {
        match tag {
            "text" => TextContent::deserialize(body).map(Self::Text),
            "image" => MediaContent::deserialize(body).map(Self::Image),
            "audio" => MediaContent::deserialize(body).map(Self::Audio),
            "tool_use" => ToolUseContent::deserialize(body).map(Self::ToolUse),
            "tool_result" => ToolResultContent::deserialize(body).map(Self::ToolResult),
            other => Err(D::Error::unknown_variant(other, Self::TAGS)),
        }
    }

    fn unknown(text: Raw) -> Self {
        Self::Unknown(text)
    }
}

impl<'de> Deserialize<'de> for SamplingContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_tagged(deserializer)
    }
}

/// The model wants a tool to be called.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ToolUseContent {
    /// What the result refers to.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, an object, as they came.
    #[serde(deserialize_with = "raw::object")]
    pub input: Raw,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// What a tool answered to the model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResultContent {
    /// The [`ToolUseContent::id`].
    pub tool_use_id: String,
    /// What the model reads.
    pub content: Vec<ContentBlock>,
    /// What programs read.
    #[serde(
        default,
        deserialize_with = "raw::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub structured_content: Option<Raw>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// A message to or from a model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SamplingMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said; one piece is written without a list.
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    pub content: Vec<SamplingContent>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl SamplingMessage {
    /// Text said by the person.
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: vec![SamplingContent::text(text)],
            meta: None,
        }
    }

    /// Text said by the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: vec![SamplingContent::text(text)],
            meta: None,
        }
    }
}

/// Writes one piece without a list: revisions before 2025-11-25 know no lists here.
fn one_or_list<S: Serializer>(
    content: &[SamplingContent],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match content {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

/// A name that a wanted model should have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ModelHint {
    /// A part of the model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which model is wanted; each priority runs from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelPreferences {
    /// Names, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Vec<ModelHint>>,
    /// How much cost matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_priority: Option<f64>,
    /// How much speed matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_priority: Option<f64>,
    /// How much ability matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intelligence_priority: Option<f64>,
}

/// Whose context goes into the prompt. Deprecated beyond `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IncludeContext {
    /// Of all servers.
    AllServers,
    /// Of none.
    None,
    /// Of the server that asks.
    ThisServer,
}

/// Whether the model may or must use tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoiceMode {
    /// It decides.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must.
    Required,
}

/// How the model uses tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ToolChoice {
    /// Whether it may or must; it decides where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ToolChoiceMode>,
}

/// The parameters of `sampling/createMessage`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateMessageParams {
    /// The conversation.
    pub messages: Vec<SamplingMessage>,
    /// Which model is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_preferences: Option<ModelPreferences>,
    /// The system prompt; the client may change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Whose context goes into the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_context: Option<IncludeContext>,
    /// The temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens to make.
    pub max_tokens: u64,
    /// Texts at which the model stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Passed to the model's provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Tools that the model may use, where the client declared `sampling.tools`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// How the model uses tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
}

impl CreateMessageParams {
    /// Asks for at most `max_tokens` in answer to `messages`.
    #[must_use]
    pub fn new(messages: Vec<SamplingMessage>, max_tokens: u64) -> Self {
        Self {
            messages,
            max_tokens,
            ..Self::default()
        }
    }

    /// Whether the client needs `sampling.tools` for this.
    #[must_use]
    pub const fn needs_tools(&self) -> bool {
        self.tools.is_some() || self.tool_choice.is_some()
    }
}

/// A question of the user, to be answered in at most 1,024 tokens.
impl From<String> for CreateMessageParams {
    fn from(text: String) -> Self {
        let asked = SamplingMessage {
            role: Role::User,
            content: vec![SamplingContent::text(text)],
            meta: None,
        };
        Self::new(vec![asked], 1_024)
    }
}

impl From<&str> for CreateMessageParams {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// What a client answers to `sampling/createMessage`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateMessageResult {
    /// Who speaks: the model.
    pub role: Role,
    /// What it said; one piece is written without a list.
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    pub content: Vec<SamplingContent>,
    /// Which model it was.
    pub model: String,
    /// Why it stopped: `endTurn`, `stopSequence`, `maxTokens`, `toolUse`, or another word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl CreateMessageResult {
    /// Text said by `model`.
    pub fn text(text: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: vec![SamplingContent::text(text)],
            model: model.into(),
            stop_reason: Some("endTurn".to_owned()),
            meta: None,
        }
    }

    /// The first text that the model said.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.content.iter().find_map(SamplingContent::as_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_needs_no_list() {
        let one = r#"{"role":"user","content":{"type":"text","text":"hi"}}"#;
        let message: SamplingMessage = serde_json::from_str(one).unwrap();
        assert_eq!(message, SamplingMessage::user("hi"));
        assert_eq!(serde_json::to_string(&message).unwrap(), one);
        let listed: SamplingMessage =
            serde_json::from_str(r#"{"role":"user","content":[{"type":"text","text":"hi"}]}"#)
                .unwrap();
        assert_eq!(listed, message);
    }

    #[test]
    fn tool_use_keeps_its_input() {
        let text = r#"{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"t","input":{"n":1.10}},{"type":"tool_result","toolUseId":"1","content":[]}],"model":"m"}"#;
        let result: CreateMessageResult = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&result).unwrap(), text);
        let wrong = r#"{"type":"tool_use","id":"1","name":"t","input":[]}"#;
        assert!(serde_json::from_str::<SamplingContent>(wrong).is_err());
    }
}
