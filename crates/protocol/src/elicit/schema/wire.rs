//! Fields of forms as JSON Schema.

use std::borrow::Cow;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
    ser::Serializer,
};
use serde_json::{Number, Value};

use super::{
    BooleanSchema, Choice, Choices, MultiSelect, NumberSchema, PrimitiveSchema, SingleSelect,
    StringFormat, StringSchema,
};

type Values<'a> = Option<Cow<'a, [String]>>;
type Titled<'a> = Option<Cow<'a, [Choice]>>;

/// Every keyword that a field may have; `type` and the keywords at hand tell which kind it is.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<StringFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<Number>,
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    values: Values<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enum_names: Values<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of: Titled<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Items<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    String,
    Number,
    Integer,
    Boolean,
    Array,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Items<'a> {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    values: Values<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any_of: Titled<'a>,
}

impl Serialize for PrimitiveSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let common = |kind, title, description| Wire {
            kind,
            title: Option::as_deref(title).map(Cow::Borrowed),
            description: Option::as_deref(description).map(Cow::Borrowed),
            default: self.default(),
            ..Wire::default()
        };
        match self {
            Self::String(schema) => Wire {
                min_length: schema.min_length,
                max_length: schema.max_length,
                format: schema.format,
                ..common(Kind::String, &schema.title, &schema.description)
            },
            Self::Number(schema) => Wire {
                minimum: schema.minimum.clone(),
                maximum: schema.maximum.clone(),
                ..common(
                    if schema.integer {
                        Kind::Integer
                    } else {
                        Kind::Number
                    },
                    &schema.title,
                    &schema.description,
                )
            },
            Self::Boolean(schema) => common(Kind::Boolean, &schema.title, &schema.description),
            Self::Single(schema) => {
                let (values, one_of) = split(&schema.choices);
                Wire {
                    values,
                    enum_names: schema.enum_names.as_deref().map(Cow::Borrowed),
                    one_of,
                    ..common(Kind::String, &schema.title, &schema.description)
                }
            }
            Self::Multi(schema) => {
                let (values, any_of) = split(&schema.choices);
                Wire {
                    min_items: schema.min_items,
                    max_items: schema.max_items,
                    items: Some(Items {
                        kind: values.is_some().then_some(Kind::String),
                        values,
                        any_of,
                    }),
                    ..common(Kind::Array, &schema.title, &schema.description)
                }
            }
        }
        .serialize(serializer)
    }
}

fn split(choices: &Choices) -> (Values<'_>, Titled<'_>) {
    match choices {
        Choices::Untitled(values) => (Some(Cow::Borrowed(values)), None),
        Choices::Titled(choices) => (None, Some(Cow::Borrowed(choices))),
    }
}

fn join<E: serde::de::Error>(
    values: Values<'_>,
    titled: Titled<'_>,
    keywords: &str,
) -> Result<Choices, E> {
    match (values, titled) {
        (Some(values), None) => Ok(Choices::Untitled(values.into_owned())),
        (None, Some(choices)) => Ok(Choices::Titled(choices.into_owned())),
        _ => Err(E::custom(format_args!(
            "a field to choose from has one of {keywords}"
        ))),
    }
}

impl<'de> Deserialize<'de> for PrimitiveSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let title = wire.title.map(Cow::into_owned);
        let description = wire.description.map(Cow::into_owned);
        match wire.kind {
            Kind::String if wire.values.is_some() || wire.one_of.is_some() => {
                Ok(Self::Single(SingleSelect {
                    title,
                    description,
                    choices: join(wire.values, wire.one_of, "`enum` and `oneOf`")?,
                    enum_names: wire.enum_names.map(Cow::into_owned),
                    default: default(wire.default)?,
                }))
            }
            Kind::String => Ok(Self::String(StringSchema {
                title,
                description,
                min_length: wire.min_length,
                max_length: wire.max_length,
                format: wire.format,
                default: default(wire.default)?,
            })),
            Kind::Number | Kind::Integer => Ok(Self::Number(NumberSchema {
                integer: wire.kind == Kind::Integer,
                title,
                description,
                minimum: wire.minimum,
                maximum: wire.maximum,
                default: default(wire.default)?,
            })),
            Kind::Boolean => Ok(Self::Boolean(BooleanSchema {
                title,
                description,
                default: default(wire.default)?,
            })),
            Kind::Array => {
                let items = wire.items.ok_or_else(|| D::Error::missing_field("items"))?;
                if items.kind.is_some_and(|kind| kind != Kind::String) {
                    return Err(D::Error::custom("`items.type` must be `string`"));
                }
                Ok(Self::Multi(MultiSelect {
                    title,
                    description,
                    choices: join(items.values, items.any_of, "`items.enum` and `items.anyOf`")?,
                    min_items: wire.min_items,
                    max_items: wire.max_items,
                    default: default(wire.default)?,
                }))
            }
        }
    }
}

fn default<T: serde::de::DeserializeOwned, E: serde::de::Error>(
    value: Option<Value>,
) -> Result<Option<T>, E> {
    value
        .map(serde_json::from_value)
        .transpose()
        .map_err(|e| E::custom(format_args!("`default` does not fit the field: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_written() {
        for text in [
            r#"{"type":"string","title":"t","description":"d","minLength":1,"maxLength":9,"format":"date-time","default":"x"}"#,
            r#"{"type":"integer","minimum":18,"maximum":120,"default":30}"#,
            r#"{"type":"number","minimum":0.5,"default":1.5}"#,
            r#"{"type":"boolean","default":true}"#,
            r#"{"type":"string","enum":["a","b"],"default":"a"}"#,
            r#"{"type":"string","enum":["a","b"],"enumNames":["A","B"]}"#,
            r#"{"type":"string","oneOf":[{"const":"a","title":"A"}]}"#,
            r#"{"type":"array","minItems":1,"maxItems":2,"items":{"type":"string","enum":["a","b"]},"default":["a"]}"#,
            r#"{"type":"array","items":{"anyOf":[{"const":"a","title":"A"}]}}"#,
        ] {
            let schema: PrimitiveSchema = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&schema).unwrap(), text);
        }
    }

    #[test]
    fn what_no_form_can_show_is_refused() {
        let refusal = |text: &str| {
            serde_json::from_str::<PrimitiveSchema>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(refusal(r#"{"type":"object"}"#).contains("unknown variant `object`"));
        assert!(refusal(r#"{"type":"array"}"#).contains("missing field `items`"));
        assert!(
            refusal(r#"{"type":"array","items":{"type":"number","enum":["a"]}}"#)
                .contains("`items.type`")
        );
        assert!(
            refusal(r#"{"type":"string","enum":["a"],"oneOf":[]}"#)
                .contains("one of `enum` and `oneOf`")
        );
        assert!(
            refusal(r#"{"type":"boolean","default":"yes"}"#)
                .contains("`default` does not fit the field")
        );
        assert!(refusal("{}").contains("missing field `type`"));
    }
}
