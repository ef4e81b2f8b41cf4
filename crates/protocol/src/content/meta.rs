//! `_meta`, which most readers pass over.

use std::{
    fmt, mem,
    sync::{Arc, OnceLock},
};

use bytestring::ByteString;
use serde::{Deserialize, Serialize, de::Deserializer, ser::Serializer};
use serde_json::Value;

use super::JsonObject;
use crate::raw::{self, Raw};

/// The `_meta` of a definition, a content block, a result or a notification.
///
/// It stays as it came until a member is asked for: most are handed on, or dropped, and never looked at. Integers beyond
/// 64 bits are read as floating-point numbers; an object with a number beyond those, or half a surrogate pair, is refused.
///
/// ```
/// use fastmcp_protocol::content::Meta;
///
/// let meta: Meta = serde_json::from_str(r#"{"a": 1}"#)?;
/// assert_eq!(meta.get("a"), Some(&1.into()));
/// assert_eq!(meta, Meta::default().with("a", 1));
/// # Ok::<(), serde_json::Error>(())
/// ```
// Behind a pointer: few have any, and what they belong to is moved often. A clone costs a reference count.
#[derive(Clone, Default)]
pub struct Meta(Arc<Kept>);

#[derive(Default)]
struct Kept {
    /// As it came, an object; none where it was put together here.
    text: Option<Raw>,
    members: OnceLock<JsonObject>,
}

impl Meta {
    /// Keeps `text` as it is.
    ///
    /// # Errors
    ///
    /// When it is no JSON object, or one that cannot be read.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, serde_json::Error> {
        Self::checked(Raw::parse(text).and_then(raw::require_object)?)
    }

    /// Reads what may be JSON and yet have no value: what is read later must not turn out to be nothing.
    fn checked(text: Raw) -> Result<Self, serde_json::Error> {
        if is_surely_readable(text.as_str()) {
            return Ok(Self::kept(text));
        }
        let members = text.decode::<JsonObject>()?;
        let meta = Self::kept(text);
        let _unset = meta.0.members.set(members);
        Ok(meta)
    }

    /// Writes `value`, which is an object, once and for all.
    ///
    /// # Errors
    ///
    /// When it cannot be written as a JSON object.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Self::checked(Raw::of(value).and_then(raw::require_object)?)
    }

    fn kept(text: Raw) -> Self {
        Self(Arc::new(Kept {
            text: Some(text),
            members: OnceLock::new(),
        }))
    }

    /// The JSON text, where it stands as it came.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.0.text.as_ref().map(Raw::as_str)
    }

    fn read(&self) -> &JsonObject {
        let Kept { text, members } = &*self.0;
        let read = |text: &Raw| text.decode().unwrap_or_default();
        members.get_or_init(|| text.as_ref().map(read).unwrap_or_default())
    }

    /// The member named `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.read().get(key)
    }

    /// Every member.
    pub fn members(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.read().iter()
    }

    /// Whether there is a member named `key`. Tells without reading it in nearly every case.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        // Where nothing is escaped, a member's name stands in the text as it is. Its end is looked for first.
        let ends = |text: &str| match key.as_bytes() {
            [.., first, second] => has_pair(text, |one, two| (one == *first) & (two == *second)),
            _ => true,
        };
        let may_have =
            |text: &str| text.as_bytes().contains(&b'\\') || (ends(text) && text.contains(key));
        self.as_text().is_none_or(may_have) && self.get(key).is_some()
    }

    /// Sets the member named `key`.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let mut members = JsonObject::from(mem::take(self));
        members.insert(key.into(), value.into());
        *self = members.into();
    }

    /// As [`Self::set`].
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Decodes it into `T`; members that `T` has no word for are passed over.
    ///
    /// # Errors
    ///
    /// When it does not have the shape of `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        match &self.0.text {
            Some(text) => text.decode(),
            None => T::deserialize(self.read()),
        }
    }
}

/// Whether a JSON text surely holds nothing that is well-formed and yet has no value: no number that could be too large, no
/// half of a surrogate pair, none of the keys that `serde_json` keeps to itself, no more levels than are read. Nearly all do.
fn is_surely_readable(text: &str) -> bool {
    // The largest number has 309 digits, and 128 levels are read.
    text.len() <= 250
        && !has_pair(text, |one, two| {
            (one.is_ascii_digit() & (two | 0x20 == b'e'))
                | ((one == b'\\') & (two == b'u'))
                | ((one == b'$') & (two == b's'))
        })
}

/// Whether two bytes of a text that follow each other are `sought`. It does not stop where they are, so that the compiler
/// takes many steps at once.
fn has_pair(text: &str, sought: impl Fn(u8, u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |found, (one, two)| found | sought(*one, *two))
}

impl From<JsonObject> for Meta {
    fn from(members: JsonObject) -> Self {
        Self(Arc::new(Kept {
            text: None,
            members: members.into(),
        }))
    }
}

impl From<Meta> for JsonObject {
    fn from(meta: Meta) -> Self {
        match Arc::try_unwrap(meta.0) {
            Ok(Kept { text, members }) => members
                .into_inner()
                .or_else(|| text?.decode().ok())
                .unwrap_or_default(),
            Err(shared) => Meta(shared).read().clone(),
        }
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        (self.0.text.is_some() && self.0.text == other.0.text) || self.read() == other.read()
    }
}

impl Eq for Meta {}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meta").field(self.read()).finish()
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.text {
            Some(text) => text.serialize(serializer),
            None => self.read().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = raw::object(deserializer)?;
        Self::checked(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"{"b":{"n":1.10},"a":[12345678901234567890123]}"#;

    #[test]
    fn what_is_not_changed_stays_as_it_came() {
        let meta: Meta = serde_json::from_str(TEXT).unwrap();
        assert_eq!(meta.as_text(), Some(TEXT));
        assert_eq!(meta.get("b"), Some(&json!({"n": 1.1})));
        assert_eq!(meta.members().count(), 2);
        assert_eq!(serde_json::to_string(&meta).unwrap(), TEXT);
        assert_eq!(serde_json::to_string(&meta.clone()).unwrap(), TEXT);
        let changed = meta.with("a", 1);
        assert_eq!(changed.as_text(), None);
        assert_eq!(
            serde_json::to_value(&changed).unwrap(),
            json!({"a": 1, "b": {"n": 1.1}})
        );
    }

    #[test]
    fn it_is_what_its_members_are() {
        let came = Meta::parse(r#"{"b":2, "a":1}"#).unwrap();
        let made = Meta::default().with("a", 1).with("b", 2);
        assert_eq!(came, made);
        let shown = Meta::parse(r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(format!("{shown:?}"), format!("{made:?}"));
        assert_ne!(came, made.clone().with("c", 3));
        assert_ne!(Meta::parse("{}").unwrap(), came);
        assert_eq!(Meta::parse("{}").unwrap(), Meta::default());
        assert_eq!(JsonObject::from(came), JsonObject::from(made));
    }

    #[test]
    fn a_part_is_decoded_wherever_it_came_from() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Part {
            a: i64,
        }
        let made = Meta::default().with("a", 1).with("b", 2);
        assert_eq!(made.decode::<Part>().unwrap(), Part { a: 1 });
        let came = Meta::parse(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(came.decode::<Part>().unwrap(), Part { a: 1 });
        assert!(Meta::default().decode::<Part>().is_err());
    }

    #[test]
    fn a_member_is_found_without_reading() {
        for (text, is_there) in [
            (r#"{"a/b":1}"#, true),
            (r#"{"a":1}"#, false),
            (r#"{"a\/b":1}"#, true),
            (r#"{"\u0061/b":1}"#, true),
            (r#"{"a":"a/b"}"#, false),
            (r#"{"a":"\\"}"#, false),
            (r#"{"a":{"a/b":1}}"#, false),
        ] {
            let meta = Meta::parse(text).unwrap();
            assert_eq!(meta.contains("a/b"), is_there, "{text}");
        }
        assert!(Meta::default().with("a/b", 1).contains("a/b"));
        assert!(!Meta::default().contains("a/b"));
    }

    #[test]
    fn what_is_written_once_stays_so() {
        let meta = Meta::of(&json!({"b": 1, "a": [1.5]})).unwrap();
        assert!(meta.as_text().is_some());
        assert_eq!(meta, Meta::default().with("a", json!([1.5])).with("b", 1));
        assert!(Meta::of(&1).is_err());
        assert!(Meta::of("{}").is_err());
    }

    #[test]
    fn it_is_an_object() {
        for wrong in ["[]", "1", r#""{}""#, "{", "{}{}"] {
            assert!(Meta::parse(wrong).is_err(), "{wrong}");
            assert!(serde_json::from_str::<Meta>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<Meta>(json!([])).is_err());
        let beyond = format!(r#"{{"n":{}}}"#, "9".repeat(400));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(147), "]".repeat(147));
        for unreadable in [
            r#"{"n":1e999}"#,
            r#"{"n":-1E999}"#,
            r#"{"s":"\ud800"}"#,
            r#"{"x":{"$serde_json::private::RawValue":1}}"#,
            &beyond,
            &deep,
        ] {
            assert!(Meta::parse(unreadable).is_err(), "{unreadable}");
            assert!(
                serde_json::from_str::<Meta>(unreadable).is_err(),
                "{unreadable}"
            );
        }
        let read = Meta::parse(r#"{"n":1e9,"s":"\u00e9"}"#).unwrap();
        assert_eq!(read.get("s"), Some(&json!("é")));
    }
}
