//! Completing the arguments of prompts and resource templates.
//!
//! Source: MCP 2026-07-28, server/utilities/completion.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
};

use crate::{
    content::Meta,
    jsonrpc::Text,
    raw::{from_object, from_optional_object},
};

/// The most values that one answer carries.
pub const MAX_VALUES: usize = 100;

/// Whose argument is completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Reference<'a> {
    /// A prompt's.
    #[serde(rename = "ref/prompt")]
    Prompt {
        /// The prompt's name.
        name: Cow<'a, str>,
    },
    /// A resource template's.
    #[serde(rename = "ref/resource")]
    Resource {
        /// The template, or a URI of its form.
        uri: Cow<'a, str>,
    },
}

impl<'de: 'a, 'a> Deserialize<'de> for Reference<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(rename = "type", borrow)]
            kind: Text<'a>,
            #[serde(borrow, default)]
            name: Option<Text<'a>>,
            #[serde(borrow, default)]
            uri: Option<Text<'a>>,
        }
        let Wire {
            kind: Text(kind),
            name,
            uri,
        } = from_object(deserializer)?;
        match &*kind {
            "ref/prompt" => {
                let Text(name) = name.ok_or_else(|| D::Error::missing_field("name"))?;
                Ok(Self::Prompt { name })
            }
            "ref/resource" => {
                let Text(uri) = uri.ok_or_else(|| D::Error::missing_field("uri"))?;
                Ok(Self::Resource { uri })
            }
            other => Err(D::Error::unknown_variant(
                other,
                &["ref/prompt", "ref/resource"],
            )),
        }
    }
}

/// The argument that is completed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CompleteArgument<'a> {
    /// The argument's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// What is there of its value.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
}

/// What is known besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CompleteContext {
    /// The arguments that are filled in already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<BTreeMap<String, String>>,
}

/// The parameters of `completion/complete`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CompleteParams<'a> {
    /// Whose argument is completed.
    #[serde(rename = "ref", borrow)]
    pub reference: Reference<'a>,
    /// The argument.
    #[serde(borrow, deserialize_with = "from_object")]
    pub argument: CompleteArgument<'a>,
    /// What is known besides.
    #[serde(
        default,
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<CompleteContext>,
}

impl CompleteParams<'_> {
    /// The same, with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> CompleteParams<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        CompleteParams {
            reference: match self.reference {
                Reference::Prompt { name } => Reference::Prompt { name: owned(name) },
                Reference::Resource { uri } => Reference::Resource { uri: owned(uri) },
            },
            argument: CompleteArgument {
                name: owned(self.argument.name),
                value: owned(self.argument.value),
            },
            context: self.context,
        }
    }
}

/// Values that complete an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// The values, the best first; at most [`MAX_VALUES`].
    pub values: Vec<String>,
    /// How many there are altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Whether there are more than these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
}

impl Completion {
    /// The first [`MAX_VALUES`] of `values`, which are all there are.
    #[must_use]
    pub fn new(mut values: Vec<String>) -> Self {
        let total = values.len();
        values.truncate(MAX_VALUES);
        Self {
            has_more: Some(total > values.len()),
            total: u64::try_from(total).ok(),
            values,
        }
    }
}

/// The result of `completion/complete`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct CompleteResult {
    /// The values.
    pub completion: Completion,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl From<Completion> for CompleteResult {
    fn from(completion: Completion) -> Self {
        Self {
            completion,
            meta: None,
        }
    }
}

impl CompleteResult {
    /// As [`Completion::new`].
    #[must_use]
    pub fn new(values: Vec<String>) -> Self {
        Self {
            completion: Completion::new(values),
            meta: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    #[test]
    fn params_borrow() {
        let raw = Raw::parse(
            r#"{"argument":{"value":"py","name":"language"},"ref":{"name":"review","type":"ref/prompt"},"context":{"arguments":{"a":"b"}}}"#,
        )
        .unwrap();
        let params: CompleteParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert!(matches!(
            params.reference,
            Reference::Prompt {
                name: Cow::Borrowed("review")
            }
        ));
        assert!(matches!(params.argument.value, Cow::Borrowed("py")));
        assert_eq!(params.context.clone().unwrap().arguments.unwrap()["a"], "b");
        assert_eq!(
            serde_json::to_string(&params).unwrap(),
            r#"{"ref":{"type":"ref/prompt","name":"review"},"argument":{"name":"language","value":"py"},"context":{"arguments":{"a":"b"}}}"#
        );
    }

    #[test]
    fn refusals_name_the_field() {
        let refusal = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            Raw::decode_params::<CompleteParams<'_>>(Some(&raw))
                .unwrap_err()
                .message
                .to_string()
        };
        let argument = r#""argument":{"name":"a","value":""}"#;
        assert_eq!(
            refusal(&format!(r#"{{"ref":{{"type":"ref/prompt"}},{argument}}}"#)),
            "`params.ref`: missing field `name`"
        );
        assert!(
            refusal(&format!(r#"{{"ref":{{"type":"ref/tool"}},{argument}}}"#))
                .starts_with("`params.ref`: unknown variant")
        );
        assert!(
            refusal(r#"{"ref":{"type":"ref/resource","uri":"a"},"argument":{"name":1}}"#)
                .starts_with("`params.argument.name`")
        );
    }

    #[test]
    fn an_answer_carries_a_hundred_values() {
        let values = |n: usize| (0..n).map(|i| i.to_string()).collect();
        let all = Completion::new(values(100));
        assert_eq!(
            (all.values.len(), all.total, all.has_more),
            (100, Some(100), Some(false))
        );
        let some = Completion::new(values(101));
        assert_eq!(
            (some.values.len(), some.total, some.has_more),
            (100, Some(101), Some(true))
        );
    }
}
