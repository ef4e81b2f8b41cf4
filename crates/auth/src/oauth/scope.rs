//! Sets of scopes: what was asked for, what was granted, what a refusal wants.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::claims::read::is_scope;

/// The most scopes that a set holds; further ones are left out.
const MAX_SCOPES: usize = 128;

/// Scopes in the order in which they came, each once; at most 128 of at most 512 bytes.
///
/// Source: RFC 6749, section 3.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Reads scopes that are separated by spaces; what is no scope is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split(' ').collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is one of them.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held == scope)
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub fn covers(&self, others: &Self) -> bool {
        others.0.iter().all(|scope| self.contains(scope))
    }

    /// These and then those of `others` that are not among them.
    #[must_use]
    pub fn union(&self, others: &Self) -> Self {
        self.iter().chain(others.iter()).collect()
    }

    /// The scopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let mut set: Vec<String> = Vec::new();
        for scope in scopes {
            if set.len() == MAX_SCOPES {
                break;
            }
            if is_scope(scope) && !set.iter().any(|held| held == scope) {
                set.push(scope.to_owned());
            }
        }
        Self(set)
    }
}

impl From<String> for Scopes {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

impl fmt::Display for Scopes {
    /// As a `scope` parameter has them: separated by spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_order_and_has_each_scope_once() {
        let scopes = Scopes::parse("b a  b c\u{e9} \"q\" a");
        assert_eq!(scopes.to_string(), "b a");
        assert!(Scopes::parse("").is_empty());
        assert_eq!(scopes.union(&Scopes::parse("c a")).to_string(), "b a c");
        assert!(scopes.covers(&Scopes::parse("a")));
        assert!(scopes.covers(&Scopes::default()));
        assert!(!scopes.covers(&Scopes::parse("a c")));
    }

    #[test]
    fn a_set_is_bounded() {
        let many: Vec<String> = (0..500).map(|n| format!("s{n}")).collect();
        let scopes = Scopes::parse(&many.join(" "));
        assert_eq!(scopes.iter().count(), MAX_SCOPES);
        assert!(Scopes::parse(&"x".repeat(10_000)).is_empty());
        let more = scopes.union(&Scopes::parse("one-more"));
        assert_eq!(more.iter().count(), MAX_SCOPES);
    }
}
