//! Versions of components.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use crate::error::{Error, Result};

/// Longest version, in bytes.
const MAX_VERSION: usize = 64;

/// The version of a component: `2`, `1.10`, `2.0-rc.1`, `2026-07-28`.
///
/// Numbers count as numbers, and what is missing counts as zero: `1.9` < `1.10`, and `2` is `2.0`. A word
/// makes it a version before the number that it stands behind: `2.0-rc.1` < `2.0`; words count by the
/// alphabet, so that `dev` and `post` have no meaning of their own.
#[derive(Clone, Debug)]
pub struct Version {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// Words come before the end of a version, and numbers after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Word(String),
    Number(u64),
}

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    ///
    /// When it is empty, has more than 64 bytes, or more in it than letters, digits, `.`, `-`, `_` and `+`.
    pub fn parse(text: &str) -> Result<Self> {
        let fits = (1..=MAX_VERSION).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
            && text.bytes().any(|b| b.is_ascii_alphanumeric());
        if !fits {
            let shown: String = text.chars().take(MAX_VERSION).collect();
            return Err(Error::validation(format!(
                "version `{shown}`: use 1 to {MAX_VERSION} letters, digits, `.`, `-`, `_` and `+`"
            )));
        }
        Ok(Self {
            text: text.into(),
            parts: parts(text).into(),
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The numbers and words of a version; a `v` before it means nothing.
fn parts(text: &str) -> Vec<Part> {
    let text = text.to_ascii_lowercase();
    let numbered = text
        .strip_prefix('v')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let mut parts = Vec::new();
    for segment in numbered
        .unwrap_or(&text)
        .split(|c: char| !c.is_ascii_alphanumeric())
    {
        let mut rest = segment;
        while let Some(first) = rest.chars().next() {
            let is_number = first.is_ascii_digit();
            let end = rest
                .find(|c: char| c.is_ascii_digit() != is_number)
                .unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            parts.push(if is_number {
                Part::Number(part.parse().unwrap_or(u64::MAX))
            } else {
                Part::Word(part.to_owned())
            });
            rest = behind;
        }
    }
    // `2` is `2.0`.
    while parts.last() == Some(&Part::Number(0)) {
        parts.pop();
    }
    parts
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let zero = Part::Number(0);
        for at in 0..self.parts.len().max(other.parts.len()) {
            let ours = self.parts.get(at).unwrap_or(&zero);
            let theirs = other.parts.get(at).unwrap_or(&zero);
            let order = ours.cmp(theirs);
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Zeros at the end are gone, so that equal versions have equal parts.
        self.parts.hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which versions: all where nothing is said.
///
/// ```
/// use fastmcp::component::VersionSpec;
///
/// # fn example() -> fastmcp::Result<()> {
/// let second = VersionSpec::new().gte("2.0")?.lt("3.0")?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionSpec {
    eq: Option<Version>,
    gte: Option<Version>,
    lt: Option<Version>,
}

impl VersionSpec {
    /// Every version.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This version alone.
    ///
    /// # Errors
    ///
    /// As [`Version::parse`].
    pub fn eq(mut self, version: &str) -> Result<Self> {
        self.eq = Some(Version::parse(version)?);
        Ok(self)
    }

    /// This version and later ones.
    ///
    /// # Errors
    ///
    /// As [`Version::parse`].
    pub fn gte(mut self, version: &str) -> Result<Self> {
        self.gte = Some(Version::parse(version)?);
        Ok(self)
    }

    /// Earlier versions than this.
    ///
    /// # Errors
    ///
    /// As [`Version::parse`].
    pub fn lt(mut self, version: &str) -> Result<Self> {
        self.lt = Some(Version::parse(version)?);
        Ok(self)
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        self.eq.as_ref().is_none_or(|eq| version == eq)
            && self.gte.as_ref().is_none_or(|gte| version >= gte)
            && self.lt.as_ref().is_none_or(|lt| version < lt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_have_an_order() {
        let rising = [
            "0.9",
            "1.0-alpha",
            "1.0-beta.2",
            "1.0-rc.1",
            "1.0",
            "1.0.1",
            "1.9",
            "1.10",
            "2rc1",
            "2",
            "v3",
            "2026-01-31",
            "2026-07-28",
        ];
        for pair in rising.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("2"), version("2.0.0"));
        assert_eq!(version("v1.2"), version("1.2"));
        assert!(version("99999999999999999999999") > version("1"));
    }

    #[test]
    fn versions_are_checked() {
        let long = "1".repeat(65);
        for wrong in ["", "..", "1 0", "1@2", "ä", long.as_str()] {
            assert!(Version::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_spec_has_bounds() {
        let second = VersionSpec::new().gte("2").unwrap().lt("3").unwrap();
        assert!(second.matches(&version("2.7")));
        assert!(!second.matches(&version("1.9")));
        assert!(!second.matches(&version("3.0")));
        assert!(VersionSpec::new().eq("2").unwrap().matches(&version("2.0")));
        assert!(VersionSpec::new().matches(&version("7")));
    }
}
