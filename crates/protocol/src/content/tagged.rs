//! Decoding by the member `type`, once, in whatever order the members come.
//!
//! Peers write `type` first, and then its struct reads the rest directly. Where it comes later,
//! the members before it are kept as texts and read again. Nothing is tried out and guessed, and
//! what is not known is kept as it came.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{CowStrDeserializer, MapAccessDeserializer},
    },
};
use serde_json::value::RawValue;

use crate::{
    jsonrpc::{Text, push_str},
    raw::Raw,
};

/// A union whose members are told apart by `type`.
pub(crate) trait Tagged: Sized {
    /// The values of `type` that are known.
    const TAGS: &'static [&'static str];

    /// Decodes the members other than `type`; ignores `type` where it is among them.
    fn decode<'de, D: Deserializer<'de>>(tag: &str, body: D) -> Result<Self, D::Error>;

    /// Keeps an object whose `type` is not among [`Self::TAGS`].
    fn unknown(text: Raw) -> Self;
}

/// Reads a tagged object.
pub(crate) fn read<'de, D: Deserializer<'de>, T: Tagged>(deserializer: D) -> Result<T, D::Error> {
    struct Block<T>(PhantomData<T>);
    impl<'de, T: Tagged> Visitor<'de> for Block<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with a `type`")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            read_map(map)
        }
    }
    deserializer.deserialize_map(Block(PhantomData))
}

/// Reads a tagged object of which nothing has been read yet.
pub(crate) fn read_map<'de, A: MapAccess<'de>, T: Tagged>(mut map: A) -> Result<T, A::Error> {
    let mut kept = Kept::default();
    while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
        if key != "type" {
            kept.push(&key, &map.next_value::<Box<RawValue>>()?);
            continue;
        }
        let Text(tag) = map.next_value::<Text<'de>>()?;
        let known = T::TAGS.contains(&&*tag);
        if known && kept.text.is_empty() {
            return T::decode(&tag, MapAccessDeserializer::new(Rest(map)));
        }
        kept.push_tag(&tag);
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if key == "type" {
                return Err(A::Error::duplicate_field("type"));
            }
            kept.push(&key, &map.next_value::<Box<RawValue>>()?);
        }
        let text = kept.finish();
        return if known {
            T::decode(&tag, &mut serde_json::Deserializer::from_str(&text))
                .map_err(A::Error::custom)
        } else {
            Raw::parse(text).map(T::unknown).map_err(A::Error::custom)
        };
    }
    Err(A::Error::missing_field("type"))
}

/// The members after `type`; a second `type` is refused rather than skipped.
struct Rest<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(NotType(seed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

struct NotType<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for NotType<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let Text(key) = Text::deserialize(deserializer)?;
        if key == "type" {
            return Err(D::Error::duplicate_field("type"));
        }
        let key: CowStrDeserializer<'_, D::Error> = key.into_deserializer();
        self.0.deserialize(key)
    }
}

/// An object that is written again, member by member.
#[derive(Default)]
struct Kept {
    text: String,
}

impl Kept {
    fn push(&mut self, key: &str, value: &RawValue) {
        self.key(key);
        self.text.push_str(value.get());
    }

    fn push_tag(&mut self, tag: &str) {
        self.key("type");
        push_str(&mut self.text, tag);
    }

    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_str(&mut self.text, key);
        self.text.push(':');
    }

    fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}
