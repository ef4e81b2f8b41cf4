//! JSON texts that are kept as they came.

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytestring::ByteString;
use serde::{
    Serialize,
    de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    error::RpcError,
    jsonrpc::{Text, push_str},
};

/// The longest complaint about ill-typed parameters, in bytes; the rest is cut off.
const COMPLAINT: usize = 300;

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

    /// Serialises `value`, and the object in which it stands alone under `name`: the texts of both.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub fn under<T: Serialize + ?Sized>(
        name: &str,
        value: &T,
    ) -> Result<(String, Self), serde_json::Error> {
        let text = serde_json::to_string(value)?;
        let mut object = String::with_capacity(text.len() + name.len() + 5);
        object.push('{');
        push_str(&mut object, name);
        object.push(':');
        object.push_str(&text);
        object.push('}');
        Ok((text, Self(object.into())))
    }

    /// Keeps `text`, which was written by this crate and is JSON.
    pub(crate) const fn written(text: ByteString) -> Self {
        Self(text)
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

    /// `part`, which was read from this text, as a text of its own.
    #[must_use]
    pub fn part(&self, part: &RawValue) -> Self {
        Self::slice(&self.0, part)
    }

    /// Decodes the parameters of a request into `T`; absent parameters are an empty object.
    ///
    /// # Errors
    ///
    /// `-32602` that names the field, when the parameters do not have the shape of `T`.
    pub fn decode_params<'a, T: Deserialize<'a>>(params: Option<&'a Self>) -> Result<T, RpcError> {
        let text = params.map_or("{}", Self::as_str);
        serde_json::from_str(text)
            .map_err(|_| RpcError::invalid_params(complaint::<T>("params", text)))
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

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

/// Says which field of `text` does not fit `T`.
///
/// Reads `text` again with a reader that keeps track of where it is: only refusals pay for that.
pub(crate) fn complaint<'a, T: Deserialize<'a>>(root: &str, text: &'a str) -> String {
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut message = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => format!("`{root}` has text after its end"),
        Err(error) => {
            let path = error.path().to_string();
            let cause = error.into_inner().to_string();
            // The position means nothing to a peer: it counts from the start of `root`.
            let cause = cause
                .split_once(" at line ")
                .map_or(&*cause, |(said, _)| said);
            if path == "." {
                format!("`{root}`: {cause}")
            } else {
                format!("`{root}.{path}`: {cause}")
            }
        }
    };
    truncate(&mut message, COMPLAINT);
    message
}

/// Cuts `text` to at most `limit` bytes, between characters, the mark of the cut included.
pub(crate) fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let room = limit.saturating_sub('…'.len_utf8());
        text.truncate(text.floor_char_boundary(room));
        text.push('…');
    }
}

/// Reads an optional string without copying it. For `deserialize_with`: serde borrows only bare `Cow`s.
pub(crate) fn optional_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    Option::<Text<'a>>::deserialize(deserializer).map(|text| text.map(|Text(text)| text))
}

/// Reads an optional object and keeps its text; null counts as absent.
pub(crate) fn optional_object<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    let value = Option::<&'a RawValue>::deserialize(deserializer)?;
    match value {
        Some(value) if !value.get().starts_with('{') => {
            Err(de::Error::custom("expected an object"))
        }
        value => Ok(value),
    }
}

/// Reads an object and keeps its text.
pub(crate) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
    Raw::deserialize(deserializer).and_then(require_object)
}

/// `value`, where it is an object.
pub(crate) fn require_object<E: de::Error>(value: Raw) -> Result<Raw, E> {
    if value.is_object() {
        Ok(value)
    } else {
        Err(E::custom("expected an object"))
    }
}

/// Reads a struct from an object alone; derived structs also read themselves from lists.
pub(crate) fn from_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

/// As [`from_object`]; null counts as absent.
pub(crate) fn from_optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Wrapped<T>(T);
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_object(deserializer).map(Self)
        }
    }
    let value = Option::<Wrapped<T>>::deserialize(deserializer)?;
    Ok(value.map(|Wrapped(value)| value))
}

/// Reads a value that is present, null included. For `Option<Raw>` where null is a value.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(default, borrow, deserialize_with = "optional_text")]
        cursor: Option<Cow<'a, str>>,
        #[serde(default, borrow, deserialize_with = "optional_object")]
        arguments: Option<&'a RawValue>,
    }

    #[test]
    fn params_borrow_from_the_text() {
        let raw = Raw::parse(r#"{"name":"n","cursor":"c","arguments":{"a": 1.0}}"#).unwrap();
        let params: Params<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert!(matches!(params.name, Cow::Borrowed("n")));
        assert!(matches!(params.cursor, Some(Cow::Borrowed("c"))));
        assert_eq!(
            raw.part(params.arguments.unwrap()).as_str(),
            r#"{"a": 1.0}"#
        );
    }

    #[test]
    fn refusal_names_the_field() {
        let refusal = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            Raw::decode_params::<Params<'_>>(Some(&raw))
                .unwrap_err()
                .message
                .to_string()
        };
        assert_eq!(
            refusal(r#"{"name":7}"#),
            "`params.name`: invalid type: integer `7`, expected a string"
        );
        assert_eq!(
            refusal(r#"{"name":"x","cursor":[]}"#),
            "`params.cursor`: invalid type: sequence, expected a string"
        );
        assert_eq!(
            refusal(r#"{"name":"x","arguments":[]}"#),
            "`params.arguments`: expected an object"
        );
        assert_eq!(refusal("{}"), "`params`: missing field `name`");
        assert!(refusal(&format!(r#"{{"name":["{}"]}}"#, "ä".repeat(1000))).len() < 400);
    }

    #[test]
    fn a_value_under_a_name_is_an_object() {
        let (text, object) = Raw::under("a\"b", &[1, 2]).unwrap();
        assert_eq!((&*text, object.as_str()), ("[1,2]", r#"{"a\"b":[1,2]}"#));
        assert!(Raw::parse(object.into_inner()).is_ok());
    }

    #[test]
    fn absent_params_are_an_empty_object() {
        let error = Raw::decode_params::<Params<'_>>(None).unwrap_err();
        assert_eq!(error.message, "`params`: missing field `name`");
    }
}
