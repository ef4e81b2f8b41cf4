//! Arguments that are governed: parsed once, exactly.
//!
//! Validation, policy, the digest, what an approver is shown and the bytes that are sent on all come
//! from one [`Args`], so they cannot mean different things. JSON that two readers could take
//! differently is refused: members given twice, half surrogates, numbers no reader can hold. Numbers
//! keep every digit; binary floating point would give 9007199254740992 and 9007199254740993 one digest.
//!
//! # Canonical form
//!
//! No white space. Members sorted by the UTF-8 bytes of their names, which is the order of code points
//! (RFC 8785 sorts by UTF-16 code units and differs above U+FFFF). Strings with the short escapes for
//! `"`, `\`, and U+0008, U+0009, U+000A, U+000C, U+000D, with `\u00xx` in lower case for other control
//! characters, and otherwise as they are: no Unicode normalisation. Numbers as [`Number`] writes them.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    error::RpcError,
    raw::{Raw, complaint},
};

mod number;
mod parse;
mod write;

pub use number::Number;

/// Stands before the canonical form where it is hashed, so that the digest means nothing else.
pub const DIGEST_DOMAIN: &str = "fastmcp/args/v1\n";

/// Bounds on arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgsLimits {
    /// The most levels of objects and arrays, the root included. 64; values above
    /// [`ArgsLimits::MAX_DEPTH`] count as that.
    pub depth: usize,
    /// The most bytes of the text. 1 MiB.
    pub bytes: usize,
    /// The most values, objects and arrays included. 100 000.
    pub nodes: usize,
    /// The most characters of a number. 1000.
    pub number: usize,
    /// The largest exponent of a number, either way, as it is written. 1000. No number may be
    /// larger than a 64-bit floating-point number can be, whatever this says.
    pub exponent: u32,
}

impl ArgsLimits {
    /// The depth that no configuration exceeds: reading and dropping go down the tree by recursion.
    pub const MAX_DEPTH: usize = 256;
}

impl Default for ArgsLimits {
    fn default() -> Self {
        Self {
            depth: 64,
            bytes: 1 << 20,
            nodes: 100_000,
            number: 1000,
            exponent: 1000,
        }
    }
}

/// A value inside arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, exactly.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Self>),
    /// Members by name.
    Object(BTreeMap<String, Self>),
}

/// Arguments that were parsed within limits; an object.
///
/// Only [`Args::parse`] and what checks as it does can make one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    members: BTreeMap<String, Node>,
}

/// Why arguments are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgsError {
    /// Where, as a JSON Pointer (RFC 6901); empty for the arguments as a whole. At most 256 bytes.
    pub path: String,
    /// Why.
    pub reason: ArgsReason,
}

/// Why arguments are refused, without where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsReason {
    /// The root is something else.
    #[error("must be an object")]
    NotAnObject,
    /// Not JSON.
    #[error("is not JSON at byte {0}")]
    Syntax(usize),
    /// A name stands twice in one object.
    #[error("is given twice; give it once")]
    Duplicate,
    /// Half of a surrogate pair, or another escape that is no character.
    #[error("holds an escape that is no character at byte {0}; write the character itself")]
    Character(usize),
    /// Longer than [`ArgsLimits::bytes`].
    #[error("are longer than {0} bytes")]
    Bytes(usize),
    /// Deeper than [`ArgsLimits::depth`].
    #[error("nests deeper than {0} levels")]
    Depth(usize),
    /// More values than [`ArgsLimits::nodes`].
    #[error("has more than {0} values altogether")]
    Nodes(usize),
    /// A number with more characters than [`ArgsLimits::number`].
    #[error("is a number of more than {0} characters")]
    Number(usize),
    /// A number beyond [`ArgsLimits::exponent`], or beyond a 64-bit floating-point number.
    #[error("is a number out of range")]
    Range,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the arguments: {}", self.reason)
        } else {
            write!(f, "argument `{}` {}", self.path, self.reason)
        }
    }
}

impl std::error::Error for ArgsError {}

impl From<ArgsError> for RpcError {
    fn from(error: ArgsError) -> Self {
        Self::invalid_params(error.to_string())
    }
}

impl Args {
    /// Parses `text`; absent arguments are an empty object.
    ///
    /// # Errors
    ///
    /// [`ArgsError`], where `text` is not an object or could be read in two ways, or a limit is exceeded.
    pub fn parse(text: Option<&Raw>, limits: &ArgsLimits) -> Result<Self, ArgsError> {
        Self::parse_str(text.map_or("{}", Raw::as_str), limits)
    }

    /// Parses the `arguments` member of decoded parameters; absent arguments are an empty object.
    ///
    /// # Errors
    ///
    /// As [`Args::parse`].
    pub fn parse_value(text: Option<&RawValue>, limits: &ArgsLimits) -> Result<Self, ArgsError> {
        Self::parse_str(text.map_or("{}", RawValue::get), limits)
    }

    /// Parses a text of which nothing is known yet.
    ///
    /// # Errors
    ///
    /// As [`Args::parse`].
    pub fn parse_str(text: &str, limits: &ArgsLimits) -> Result<Self, ArgsError> {
        parse::object(text, limits).map(|members| Self { members })
    }

    /// Writes `value` and parses what was written.
    ///
    /// # Errors
    ///
    /// As [`Args::parse`]; also where `value` cannot be written as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T, limits: &ArgsLimits) -> Result<Self, ArgsError> {
        let text = serde_json::to_string(value).map_err(|_| ArgsError {
            path: String::new(),
            reason: ArgsReason::Syntax(0),
        })?;
        Self::parse_str(&text, limits)
    }

    /// The canonical form; two arguments have the same one exactly if they are equal.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        write::canonical(&self.members).into_bytes()
    }

    /// What is hashed: [`DIGEST_DOMAIN`] and the canonical form.
    #[must_use]
    pub fn digest_input(&self) -> Vec<u8> {
        let mut input = DIGEST_DOMAIN.as_bytes().to_vec();
        input.extend_from_slice(write::canonical(&self.members).as_bytes());
        input
    }

    /// The canonical form as a JSON text: what is sent on.
    ///
    /// It is the digested text itself, so that no reader can take `1` and `1.0` for different calls.
    #[must_use]
    pub fn to_raw(&self) -> Raw {
        write::raw(&self.members)
    }

    /// The arguments as a value, for validation and policy alone.
    ///
    /// Numbers become integers where they fit 64 bits, else the nearest 64-bit floating-point number.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(
            self.members
                .iter()
                .map(|(name, node)| (name.clone(), node.to_value()))
                .collect(),
        )
    }

    /// Decodes the arguments into `T`.
    ///
    /// # Errors
    ///
    /// A sentence that names the argument which does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        let text = write::canonical(&self.members);
        serde_json::from_str(&text).map_err(|_| complaint::<T>("arguments", &text))
    }

    /// The value at `path`, a JSON Pointer (RFC 6901) such as `/customer/name` or `/items/0`.
    ///
    /// The empty path names the arguments as a whole, which are no [`Node`]: nothing is found there.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        let mut segments = path.strip_prefix('/')?.split('/').map(unescape);
        let mut node = self.members.get(&*segments.next()?)?;
        for segment in segments {
            node = match node {
                Node::Object(members) => members.get(&*segment)?,
                Node::Array(items) => items.get(index(&segment)?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The argument named `name`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Node> {
        self.members.get(name)
    }

    /// The arguments, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Node)> {
        self.members
            .iter()
            .map(|(name, node)| (name.as_str(), node))
    }

    /// These arguments without the one named `name`.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut members = self.members.clone();
        members.remove(name);
        Self { members }
    }

    /// Whether there are no arguments.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Node {
    /// The string, where this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, where this is one.
    #[must_use]
    pub const fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The canonical form of this value.
    #[must_use]
    pub fn canonical(&self) -> String {
        write::node(self)
    }

    /// As [`Args::to_value`].
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => number.to_value(),
            Self::String(text) => Value::String(text.clone()),
            Self::Array(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, node)| (name.clone(), node.to_value()))
                    .collect(),
            ),
        }
    }
}

fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// An index of RFC 6901: digits without a leading zero.
fn index(segment: &str) -> Option<usize> {
    let plain = segment == "0"
        || (!segment.starts_with('0') && segment.bytes().all(|b| b.is_ascii_digit()));
    if plain { segment.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
