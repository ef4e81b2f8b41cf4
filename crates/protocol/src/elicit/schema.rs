//! The schemas that a form may have: flat, with fields of few kinds.
//!
//! Source: MCP 2026-07-28, client/elicitation, "Requested Schema"; schema, `PrimitiveSchemaDefinition`.

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
    ser::{SerializeStruct as _, Serializer},
};
use serde_json::{Number, Value};

use crate::ordered::Ordered;

mod wire;

/// The fields of a form, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ElicitSchema {
    /// The dialect, where it is named.
    pub dialect: Option<String>,
    /// The fields.
    pub properties: Ordered<PrimitiveSchema>,
    /// The names of the fields that must be filled in.
    pub required: Vec<String>,
}

impl ElicitSchema {
    /// Adds a field that must be filled in, in place of an earlier one of that name.
    #[must_use]
    pub fn required(mut self, name: impl Into<String>, field: impl Into<PrimitiveSchema>) -> Self {
        let name = name.into();
        if !self.required.contains(&name) {
            self.required.push(name.clone());
        }
        self.properties.set(name, field.into());
        self
    }

    /// Adds a field that may stay empty, in place of an earlier one of that name.
    #[must_use]
    pub fn optional(mut self, name: impl Into<String>, field: impl Into<PrimitiveSchema>) -> Self {
        let name = name.into();
        self.required.retain(|taken| *taken != name);
        self.properties.set(name, field.into());
        self
    }
}

impl Serialize for ElicitSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ElicitSchema", 4)?;
        if let Some(dialect) = &self.dialect {
            out.serialize_field("$schema", dialect)?;
        }
        out.serialize_field("type", "object")?;
        out.serialize_field("properties", &self.properties)?;
        if !self.required.is_empty() {
            out.serialize_field("required", &self.required)?;
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for ElicitSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "$schema")]
            dialect: Option<String>,
            #[serde(rename = "type")]
            kind: String,
            properties: Ordered<PrimitiveSchema>,
            #[serde(default)]
            required: Option<Vec<String>>,
        }
        let Wire {
            dialect,
            kind,
            properties,
            required,
        } = Wire::deserialize(deserializer)?;
        if kind != "object" {
            return Err(D::Error::custom("`type` of a form must be `object`"));
        }
        Ok(Self {
            dialect,
            properties,
            required: required.unwrap_or_default(),
        })
    }
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PrimitiveSchema {
    /// Text.
    String(StringSchema),
    /// A number.
    Number(NumberSchema),
    /// Yes or no.
    Boolean(BooleanSchema),
    /// One of several choices.
    Single(SingleSelect),
    /// Some of several choices.
    Multi(MultiSelect),
}

impl PrimitiveSchema {
    /// The name of the field for people.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::String(schema) => schema.title.as_deref(),
            Self::Number(schema) => schema.title.as_deref(),
            Self::Boolean(schema) => schema.title.as_deref(),
            Self::Single(schema) => schema.title.as_deref(),
            Self::Multi(schema) => schema.title.as_deref(),
        }
    }

    /// What fills the field where the user leaves it alone.
    #[must_use]
    pub fn default(&self) -> Option<Value> {
        match self {
            Self::String(schema) => schema.default.clone().map(Value::String),
            Self::Number(schema) => schema.default.clone().map(Value::Number),
            Self::Boolean(schema) => schema.default.map(Value::Bool),
            Self::Single(schema) => schema.default.clone().map(Value::String),
            Self::Multi(schema) => schema.default.clone().map(Value::from),
        }
    }
}

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StringFormat {
    /// A day. Source: RFC 3339, `full-date`.
    Date,
    /// A moment. Source: RFC 3339, `date-time`.
    DateTime,
    /// An e-mail address.
    Email,
    /// A URI.
    Uri,
}

/// Text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StringSchema {
    /// The name for people.
    pub title: Option<String>,
    /// What to fill in.
    pub description: Option<String>,
    /// The fewest characters.
    pub min_length: Option<u64>,
    /// The most characters.
    pub max_length: Option<u64>,
    /// The format.
    pub format: Option<StringFormat>,
    /// What fills the field where the user leaves it alone.
    pub default: Option<String>,
}

impl StringSchema {
    /// Text of the format `format`.
    #[must_use]
    pub fn of(format: StringFormat) -> Self {
        Self {
            format: Some(format),
            ..Self::default()
        }
    }
}

/// A number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberSchema {
    /// Whether it is a whole number.
    pub integer: bool,
    /// The name for people.
    pub title: Option<String>,
    /// What to fill in.
    pub description: Option<String>,
    /// The smallest value.
    pub minimum: Option<Number>,
    /// The largest value.
    pub maximum: Option<Number>,
    /// What fills the field where the user leaves it alone.
    pub default: Option<Number>,
}

impl NumberSchema {
    /// A whole number.
    #[must_use]
    pub fn integer() -> Self {
        Self {
            integer: true,
            ..Self::default()
        }
    }

    /// Bounds the value, both ends included.
    #[must_use]
    pub fn between(mut self, minimum: impl Into<Number>, maximum: impl Into<Number>) -> Self {
        self.minimum = Some(minimum.into());
        self.maximum = Some(maximum.into());
        self
    }
}

/// Yes or no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooleanSchema {
    /// The name for people.
    pub title: Option<String>,
    /// What to fill in.
    pub description: Option<String>,
    /// What fills the field where the user leaves it alone.
    pub default: Option<bool>,
}

/// A choice with a name for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Choice {
    /// The value that comes back.
    #[serde(rename = "const")]
    pub value: String,
    /// The name for people.
    pub title: String,
}

/// What there is to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choices {
    /// Values that need no other name.
    Untitled(Vec<String>),
    /// Values with names for people.
    Titled(Vec<Choice>),
}

impl Choices {
    /// Values that need no other name.
    pub fn untitled<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Untitled(values.into_iter().map(Into::into).collect())
    }

    /// Values with names for people.
    pub fn titled<V: Into<String>, T: Into<String>>(
        choices: impl IntoIterator<Item = (V, T)>,
    ) -> Self {
        Self::Titled(
            choices
                .into_iter()
                .map(|(value, title)| Choice {
                    value: value.into(),
                    title: title.into(),
                })
                .collect(),
        )
    }

    /// Whether `value` can be chosen.
    #[must_use]
    pub fn has(&self, value: &str) -> bool {
        match self {
            Self::Untitled(values) => values.iter().any(|v| v == value),
            Self::Titled(choices) => choices.iter().any(|c| c.value == value),
        }
    }
}

/// One of several choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleSelect {
    /// The name for people.
    pub title: Option<String>,
    /// What to choose.
    pub description: Option<String>,
    /// The choices.
    pub choices: Choices,
    /// Names for [`Choices::Untitled`], in their order, as 2025-06-18 writes them. Deprecated.
    pub enum_names: Option<Vec<String>>,
    /// What is chosen where the user leaves it alone.
    pub default: Option<String>,
}

impl SingleSelect {
    /// One of `choices`.
    #[must_use]
    pub const fn new(choices: Choices) -> Self {
        Self {
            title: None,
            description: None,
            choices,
            enum_names: None,
            default: None,
        }
    }
}

/// Some of several choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSelect {
    /// The name for people.
    pub title: Option<String>,
    /// What to choose.
    pub description: Option<String>,
    /// The choices.
    pub choices: Choices,
    /// The fewest to choose.
    pub min_items: Option<u64>,
    /// The most to choose.
    pub max_items: Option<u64>,
    /// What is chosen where the user leaves it alone.
    pub default: Option<Vec<String>>,
}

impl MultiSelect {
    /// Some of `choices`.
    #[must_use]
    pub const fn new(choices: Choices) -> Self {
        Self {
            title: None,
            description: None,
            choices,
            min_items: None,
            max_items: None,
            default: None,
        }
    }
}

macro_rules! fields {
    ($($schema:ident => $variant:ident, $default:ty;)*) => {$(
        impl From<$schema> for PrimitiveSchema {
            fn from(schema: $schema) -> Self {
                Self::$variant(schema)
            }
        }

        impl $schema {
            /// Names the field for people.
            #[must_use]
            pub fn with_title(mut self, title: impl Into<String>) -> Self {
                self.title = Some(title.into());
                self
            }

            /// Says what the field is for.
            #[must_use]
            pub fn with_description(mut self, description: impl Into<String>) -> Self {
                self.description = Some(description.into());
                self
            }

            /// Says what fills the field where the user leaves it alone.
            #[must_use]
            pub fn with_default(mut self, default: impl Into<$default>) -> Self {
                self.default = Some(default.into());
                self
            }
        }
    )*};
}

fields! {
    StringSchema => String, String;
    NumberSchema => Number, Number;
    BooleanSchema => Boolean, bool;
    SingleSelect => Single, String;
    MultiSelect => Multi, Vec<String>;
}
