//! Protocol revisions and their eras.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The era of a protocol revision.
///
/// Source: MCP 2026-07-28, "Versioning and Compatibility", "Terminology".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// `2025-11-25` and earlier: a session opened by `initialize`.
    Legacy,
    /// `2026-07-28` and later: each request carries its version and capabilities.
    Modern,
}

/// A protocol revision that this crate speaks.
///
/// Revisions are dates; they are compared as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum ProtocolVersion {
    /// The first revision with Streamable HTTP, assumed when a legacy peer names none.
    #[serde(rename = "2025-03-26")]
    V2025_03_26,
    /// Structured content, elicitation.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// The last legacy revision.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// The first modern revision.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

impl ProtocolVersion {
    /// Every revision, newest first.
    pub const ALL: &'static [Self] = &[
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
    ];
    /// The newest modern revision.
    pub const LATEST: Self = Self::V2026_07_28;
    /// The newest legacy revision, answered to an `initialize` that names an unknown one.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// What a legacy peer speaks that names no revision.
    ///
    /// Source: MCP 2025-11-25, basic/transports, "Protocol Version Header".
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// The revision named `text`, where it is one of [`Self::ALL`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|v| v.as_str() == text)
    }

    /// The revision's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revisions that `server/discover` names, newest first: those that need no session.
    ///
    /// Source: MCP 2026-07-28, server/discover.
    pub fn discoverable() -> impl Iterator<Item = Self> {
        Self::of(Era::Modern)
    }

    /// The era of this revision.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// The era that a revision of this name belongs to, known or not: names are dates.
    #[must_use]
    pub fn era_of(name: &str) -> Era {
        let date = name.len() == 10 && name.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if date && name >= Self::V2026_07_28.as_str() {
            Era::Modern
        } else {
            Era::Legacy
        }
    }

    /// The revisions of one era, newest first.
    pub fn of(era: Era) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |v| v.era() == era)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
