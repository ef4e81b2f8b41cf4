//! Checks of arguments that no schema can say.

use std::{fmt, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, de};

use crate::error::{Error, Result};

/// Why a value is not valid, and which part of it.
///
/// ```
/// use fastmcp::Invalid;
///
/// let invalid = Invalid::new("must not be empty").at("query");
/// assert_eq!(invalid.to_string(), "`query`: must not be empty");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    path: String,
    message: String,
}

impl Invalid {
    /// A value that is not valid, and why. The text is shown to the client.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }

    /// Says in which field, or within which, the value stands.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => field.to_owned(),
            path if path.starts_with('[') => format!("{field}{path}"),
            path => format!("{field}.{path}"),
        };
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "`{path}`: {}", self.message),
        }
    }
}

impl std::error::Error for Invalid {}

/// Checks a value beyond what its type and schema say, and may put it in order before.
///
/// Arguments whose type implements it are checked before the handler runs, in lists and options too.
/// What is nested deeper in a type of one's own is checked where it is a [`Valid`], or where its
/// owner's `validate` does it.
///
/// ```
/// use fastmcp::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct SearchQuery {
///     #[schemars(length(min = 1, max = 500))]
///     query: String,
/// }
///
/// impl Validate for SearchQuery {
///     fn validate(&mut self) -> Result<(), Invalid> {
///         self.query = self.query.trim().to_owned();
///         match self.query.contains(';') {
///             true => Err(Invalid::new("must not contain `;`").at("query")),
///             false => Ok(()),
///         }
///     }
/// }
///
/// /// Searches.
/// #[tool]
/// async fn search(search: SearchQuery) -> String {
///     search.query
/// }
/// ```
pub trait Validate {
    /// Checks the value.
    ///
    /// # Errors
    ///
    /// When it is not valid; the client is told why.
    fn validate(&mut self) -> std::result::Result<(), Invalid>;
}

impl<T: Validate> Validate for Option<T> {
    fn validate(&mut self) -> std::result::Result<(), Invalid> {
        self.as_mut().map_or(Ok(()), T::validate)
    }
}

impl<T: Validate> Validate for Box<T> {
    fn validate(&mut self) -> std::result::Result<(), Invalid> {
        T::validate(self)
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn validate(&mut self) -> std::result::Result<(), Invalid> {
        for (index, item) in self.iter_mut().enumerate() {
            item.validate().map_err(|e| e.at(&format!("[{index}]")))?;
        }
        Ok(())
    }
}

/// A value that is checked as it is decoded, wherever it stands: within other types, and in the
/// arguments of [`ToolBuilder::new`](crate::ToolBuilder::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Valid<T>(pub T);

impl<T> Deref for Valid<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Validate> Deserialize<'de> for Valid<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut value = T::deserialize(deserializer)?;
        value.validate().map_err(de::Error::custom)?;
        Ok(Self(value))
    }
}

impl<T: JsonSchema> JsonSchema for Valid<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The error of an argument that was refused.
pub(crate) fn refused(invalid: &Invalid) -> Error {
    Error::validation(format!("invalid arguments: {invalid}"))
}

/// What a function that checks an argument may return.
///
/// # Errors
///
/// The refusal, with the argument's name.
pub(crate) fn outcome<E: fmt::Display>(
    name: &str,
    outcome: std::result::Result<(), E>,
) -> Result<()> {
    outcome.map_err(|e| refused(&Invalid::new(e.to_string()).at(name)))
}
