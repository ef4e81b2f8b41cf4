//! A look for secrets in a JSON text, of which nothing is kept.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};

use super::{Redactor, is_secret_text};

/// As [`Redactor::is_needed`].
pub(super) fn is_needed(
    redactor: &Redactor,
    text: &str,
    levels_left: usize,
) -> Result<bool, serde_json::Error> {
    let look = Look {
        redactor,
        levels_left,
        is_secret: false,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = look.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// A look at one value: whether there is a secret in it.
#[derive(Clone, Copy)]
struct Look<'a> {
    redactor: &'a Redactor,
    levels_left: usize,
    /// Whether its name says that it is one, unless it is null.
    is_secret: bool,
}

impl Look<'_> {
    /// A look at what is one level below. Where there is no level left, the value itself is replaced.
    const fn below(self) -> Self {
        Self {
            redactor: self.redactor,
            levels_left: self.levels_left.saturating_sub(1),
            is_secret: false,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(self.is_secret)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(self.is_secret)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(self.is_secret)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(self.is_secret)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(self.is_secret || is_secret_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut found = self.is_secret || self.levels_left == 0;
        while let Some(below) = items.next_element_seed(self.below())? {
            found |= below;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = self.is_secret || self.levels_left == 0;
        while let Some(Name(name)) = members.next_key()? {
            let member = Self {
                is_secret: self.redactor.is_secret_name(&name),
                ..self.below()
            };
            found |= members.next_value_seed(member)?;
        }
        Ok(found)
    }
}

/// The name of a member, which is copied only where something in it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
