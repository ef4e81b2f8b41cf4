//! Maps that keep the order in which their members were given.
//!
//! The order of a form's fields and of the questions to a user means something to the person who
//! reads them; neither `BTreeMap` nor `serde_json`'s default map keeps it.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, MapAccess, Visitor},
    ser::Serializer,
};

/// The most members that [`Ordered`] reads from a peer.
pub const MAX_MEMBERS: usize = 256;

/// Members by name, in order, each name once.
///
/// Meant for few members: a look-up walks the list. Reading more than [`MAX_MEMBERS`] or a name
/// twice is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<T>(Vec<(String, T)>);

impl<T> Ordered<T> {
    /// No members.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a member at the end.
    ///
    /// # Errors
    ///
    /// Gives `value` back where `name` is taken.
    pub fn insert(&mut self, name: impl Into<String>, value: T) -> Result<(), T> {
        let name = name.into();
        if self.get(&name).is_some() {
            return Err(value);
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Adds a member at the end, or replaces the value of the one with that name.
    pub fn set(&mut self, name: impl Into<String>, value: T) {
        let name = name.into();
        match self.0.iter_mut().find(|(taken, _)| *taken == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name, value)),
        }
    }

    /// The member named `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(taken, _)| taken == name)
            .map(|(_, value)| value)
    }

    /// The members, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> IntoIterator for Ordered<T> {
    type Item = (String, T);
    type IntoIter = std::vec::IntoIter<(String, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<T> Ordered<T> {
    fn admit<E: de::Error>(&self, name: &str) -> Result<(), E> {
        if self.len() >= MAX_MEMBERS {
            return Err(E::custom(format_args!("more than {MAX_MEMBERS} members")));
        }
        if self.get(name).is_some() {
            return Err(E::custom(format_args!("member `{name}` is given twice")));
        }
        Ok(())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Ordered<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
        let mut members = Ordered::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            members.admit(&name)?;
            members.0.push((name, value));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wire() {
        let text = r#"{"z":1,"a":2,"m":3}"#;
        let members: Ordered<u8> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&members).unwrap(), text);
        assert_eq!(members.get("a"), Some(&2));
    }

    #[test]
    fn a_name_is_given_once() {
        let error = serde_json::from_str::<Ordered<u8>>(r#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert!(
            error.to_string().contains("member `a` is given twice"),
            "{error}"
        );
        let mut members = Ordered::new();
        assert_eq!(members.insert("a", 1), Ok(()));
        assert_eq!(members.insert("a", 2), Err(2));
        members.set("a", 3);
        assert_eq!(members.iter().collect::<Vec<_>>(), [("a", &3)]);
    }

    #[test]
    fn members_are_bounded() {
        let text = |n: usize| {
            let members: Vec<_> = (0..n).map(|i| format!(r#""k{i}":0"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(serde_json::from_str::<Ordered<u8>>(&text(MAX_MEMBERS)).is_ok());
        assert!(serde_json::from_str::<Ordered<u8>>(&text(MAX_MEMBERS + 1)).is_err());
    }
}
