//! JSON texts that are kept as they came.

use std::fmt;

use bytestring::ByteString;
use serde::{Serialize, de::Deserialize};
use serde_json::value::RawValue;

/// A well-formed JSON text, cheap to clone, never rewritten.
///
/// Slices of one message share that message's buffer, so handing `params` on costs a reference count.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(ByteString);

impl Raw {
    /// Checks that `text` is one JSON value and keeps it.
    ///
    /// # Errors
    ///
    /// When `text` is not well-formed JSON.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        let trimmed = serde_json::from_str::<&RawValue>(&text)?.get();
        Ok(Self(text.slice_ref(trimmed)))
    }

    /// Serialises `value`.
    ///
    /// # Errors
    ///
    /// When `value` cannot be represented as JSON, for example a map with keys that are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self(serde_json::to_string(value)?.into()))
    }

    /// The part of `whole` that `part` borrows from.
    ///
    /// Falls back to a copy when `part` does not borrow from `whole`.
    #[must_use]
    pub fn slice(whole: &ByteString, part: &RawValue) -> Self {
        let text = part.get();
        let outer = whole.as_bytes().as_ptr_range();
        let inner = text.as_bytes().as_ptr_range();
        if outer.start <= inner.start && inner.end <= outer.end {
            Self(whole.slice_ref(text))
        } else {
            Self(text.to_owned().into())
        }
    }

    /// Decodes into `T`.
    ///
    /// # Errors
    ///
    /// When the text does not have the shape of `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a shared string.
    #[must_use]
    pub fn into_inner(self) -> ByteString {
        self.0
    }

    /// Whether the text is a JSON object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Box<RawValue>> for Raw {
    fn from(value: Box<RawValue>) -> Self {
        Self(String::from(Box::<str>::from(value)).into())
    }
}

impl Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}
