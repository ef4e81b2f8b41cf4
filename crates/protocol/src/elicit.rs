//! Elicitation: a server asks the user.
//!
//! Source: MCP 2026-07-28, client/elicitation.

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
    ser::{SerializeStruct as _, Serializer},
};

use crate::content::JsonObject;

mod check;
mod schema;

pub use check::{Problem, Unfit};
pub use schema::{
    BooleanSchema, Choice, Choices, ElicitSchema, MultiSelect, NumberSchema, PrimitiveSchema,
    SingleSelect, StringFormat, StringSchema,
};

/// The parameters of `elicitation/create`, told apart by `mode`; absent means a form.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ElicitParams {
    /// Shows a form. Must not ask for secrets.
    Form(ElicitForm),
    /// Sends the user to an address.
    Url(ElicitUrl),
}

/// A form.
#[derive(Clone, Debug, PartialEq)]
pub struct ElicitForm {
    /// What is asked, for people.
    pub message: String,
    /// The fields.
    pub requested_schema: ElicitSchema,
}

/// An address that the user is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElicitUrl {
    /// What is asked, for people.
    pub message: String,
    /// The address. Must hold nothing about the user, and must not be signed in already.
    pub url: String,
}

impl ElicitParams {
    /// A form.
    pub fn form(message: impl Into<String>, requested_schema: ElicitSchema) -> Self {
        Self::Form(ElicitForm {
            message: message.into(),
            requested_schema,
        })
    }

    /// An address.
    pub fn url(message: impl Into<String>, url: impl Into<String>) -> Self {
        Self::Url(ElicitUrl {
            message: message.into(),
            url: url.into(),
        })
    }

    /// Whether the user is sent to an address.
    #[must_use]
    pub const fn is_url(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// What is asked, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Form(form) => &form.message,
            Self::Url(url) => &url.message,
        }
    }
}

impl Serialize for ElicitParams {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ElicitParams", 3)?;
        match self {
            Self::Form(form) => {
                out.serialize_field("mode", "form")?;
                out.serialize_field("message", &form.message)?;
                out.serialize_field("requestedSchema", &form.requested_schema)?;
            }
            Self::Url(url) => {
                out.serialize_field("mode", "url")?;
                out.serialize_field("message", &url.message)?;
                out.serialize_field("url", &url.url)?;
            }
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for ElicitParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Mode {
            #[default]
            Form,
            Url,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(default)]
            mode: Mode,
            message: String,
            requested_schema: Option<ElicitSchema>,
            url: Option<String>,
        }
        let Wire {
            mode,
            message,
            requested_schema,
            url,
        } = Wire::deserialize(deserializer)?;
        match mode {
            Mode::Form => {
                let requested_schema =
                    requested_schema.ok_or_else(|| D::Error::missing_field("requestedSchema"))?;
                Ok(Self::Form(ElicitForm {
                    message,
                    requested_schema,
                }))
            }
            Mode::Url => {
                let url = url.ok_or_else(|| D::Error::missing_field("url"))?;
                Ok(Self::Url(ElicitUrl { message, url }))
            }
        }
    }
}

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ElicitAction {
    /// Sent the form, or agreed to open the address.
    Accept,
    /// Said no.
    Decline,
    /// Went away without saying.
    Cancel,
}

/// What a client answers to `elicitation/create`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ElicitResult {
    /// What the user did.
    pub action: ElicitAction,
    /// The fields of an accepted form; unchecked, see [`ElicitSchema::check`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<JsonObject>,
}

impl ElicitResult {
    /// The form was sent.
    #[must_use]
    pub const fn accept(content: JsonObject) -> Self {
        Self {
            action: ElicitAction::Accept,
            content: Some(content),
        }
    }

    /// The address was opened.
    #[must_use]
    pub const fn accept_url() -> Self {
        Self {
            action: ElicitAction::Accept,
            content: None,
        }
    }

    /// The user said no.
    #[must_use]
    pub const fn decline() -> Self {
        Self {
            action: ElicitAction::Decline,
            content: None,
        }
    }

    /// The user went away.
    #[must_use]
    pub const fn cancel() -> Self {
        Self {
            action: ElicitAction::Cancel,
            content: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    fn read(text: &str) -> Result<ElicitParams, String> {
        let raw = Raw::parse(text.to_owned()).unwrap();
        Raw::decode_params(Some(&raw)).map_err(|e| e.message.to_string())
    }

    #[test]
    fn absent_mode_is_a_form() {
        let text = r#"{"message":"m","requestedSchema":{"type":"object","properties":{}}}"#;
        let params = read(text).unwrap();
        assert_eq!(params, ElicitParams::form("m", ElicitSchema::default()));
        assert_eq!(
            serde_json::to_string(&params).unwrap(),
            r#"{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{}}}"#
        );
    }

    #[test]
    fn legacy_address_loses_only_its_id() {
        let text =
            r#"{"mode":"url","message":"m","url":"https://a.example/x","elicitationId":"e"}"#;
        assert_eq!(
            read(text).unwrap(),
            ElicitParams::url("m", "https://a.example/x")
        );
    }

    #[test]
    fn refusals_name_the_field() {
        assert_eq!(
            read(r#"{"message":"m"}"#).unwrap_err(),
            "`params`: missing field `requestedSchema`"
        );
        assert_eq!(
            read(r#"{"mode":"url","message":"m"}"#).unwrap_err(),
            "`params`: missing field `url`"
        );
        assert!(
            read(r#"{"mode":"voice","message":"m"}"#)
                .unwrap_err()
                .starts_with("`params.mode`: unknown variant")
        );
        assert!(serde_json::from_str::<ElicitResult>(r#"{"action":"maybe"}"#).is_err());
        assert!(
            serde_json::from_str::<ElicitResult>(r#"{"action":"accept","content":[]}"#).is_err()
        );
    }
}
