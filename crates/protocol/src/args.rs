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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Args, ArgsError> {
        Args::parse_str(text, &ArgsLimits::default())
    }

    fn canonical(text: &str) -> String {
        String::from_utf8(parse(text).unwrap().canonical()).unwrap()
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn order_space_and_spelling_do_not_matter() {
        assert_eq!(
            canonical("{ \"b\" : [ 1.0 , 1e0, 10E-1, -0, 0.0 ],\t\"a\":\"\\u0041\\/\\n\" }"),
            r#"{"a":"A/\n","b":[1,1,1,0,0]}"#
        );
        assert_eq!(
            canonical(r#"{"𐀀":1,"\uffff":2,"\ud83d\ude00":3}"#),
            "{\"\u{ffff}\":2,\"𐀀\":1,\"😀\":3}"
        );
    }

    #[test]
    fn neighbours_beyond_53_bits_differ() {
        let a = parse(r#"{"n":9007199254740992}"#).unwrap();
        let b = parse(r#"{"n":9007199254740993}"#).unwrap();
        assert_ne!(a.digest_input(), b.digest_input());
        assert_ne!(a, b);
        assert_eq!(b.to_raw().as_str(), r#"{"n":9007199254740993}"#);
    }

    #[test]
    fn digest_has_a_domain() {
        assert_eq!(parse("{}").unwrap().digest_input(), b"fastmcp/args/v1\n{}");
    }

    #[test]
    fn absent_arguments_are_empty() {
        let args = Args::parse(None, &ArgsLimits::default()).unwrap();
        assert!(args.is_empty());
        assert_eq!(args, Args::default());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(
            refusal(r#"{"a":{"b":1,"\u0062":2}}"#),
            "argument `/a/b` is given twice; give it once"
        );
        assert_eq!(
            refusal(r#"{"a":["\ud800"]}"#),
            "argument `/a/0` holds an escape that is no character at byte 6; write the character itself"
        );
        assert!(refusal(r#"{"\udc00":1}"#).contains("no character"));
        assert!(refusal(r#"{"a":"\udc00\ud800"}"#).contains("no character"));
    }

    #[test]
    fn only_objects_are_arguments() {
        for text in ["[]", "null", "1", r#""a""#, "true"] {
            assert_eq!(refusal(text), "the arguments: must be an object", "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{}}",
            "{} x",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,}"#,
            r#"{a:1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":NaN}"#,
            r#"{"a":tru}"#,
            r#"{"a":truex}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"\x"}"#,
            r#"{"a":"}"#,
            r#"{"a":1 2}"#,
            "\u{feff}{}",
            "{\u{a0}}",
            r#"{"a":"\u12"}"#,
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(
                    error.reason,
                    ArgsReason::Syntax(_) | ArgsReason::Character(_) | ArgsReason::NotAnObject
                ),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let limits = ArgsLimits {
            depth: 3,
            bytes: 40,
            nodes: 4,
            number: 5,
            exponent: 9,
        };
        let check = |text: &str| Args::parse_str(text, &limits).map_err(|e| e.to_string());
        assert!(check(r#"{"a":[[1]]}"#).is_ok());
        assert_eq!(
            check(r#"{"a":[[[]]]}"#).unwrap_err(),
            "argument `/a/0/0` nests deeper than 3 levels"
        );
        assert!(check(r#"{"a":[1,1]}"#).is_ok());
        assert_eq!(
            check(r#"{"a":[1,1,1]}"#).unwrap_err(),
            "argument `/a/2` has more than 4 values altogether"
        );
        assert!(check(r#"{"a":12345}"#).is_ok());
        assert_eq!(
            check(r#"{"a":123456}"#).unwrap_err(),
            "argument `/a` is a number of more than 5 characters"
        );
        assert!(check(r#"{"a":1e-9}"#).is_ok());
        assert_eq!(
            check(r#"{"a":1e-10}"#).unwrap_err(),
            "argument `/a` is a number out of range"
        );
        assert_eq!(
            check(&format!(r#"{{"a":"{}"}}"#, "x".repeat(40))).unwrap_err(),
            "the arguments: are longer than 40 bytes"
        );
    }

    #[test]
    fn no_configuration_overflows_the_stack() {
        let limits = ArgsLimits {
            depth: usize::MAX,
            ..ArgsLimits::default()
        };
        let deep = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(Args::parse_str(&deep(ArgsLimits::MAX_DEPTH - 1), &limits).is_ok());
        let error = Args::parse_str(&deep(100_000), &limits).unwrap_err();
        assert_eq!(error.reason, ArgsReason::Depth(ArgsLimits::MAX_DEPTH));
        assert!(error.path.len() <= 260, "{}", error.path.len());
    }

    #[test]
    fn values_are_found_by_pointer() {
        let args = parse(r#"{"a":{"b/c":[10,{"~":"x"}]},"":1}"#).unwrap();
        assert_eq!(
            args.get("/a/b~1c/0")
                .and_then(Node::as_number)
                .map(ToString::to_string)
                .as_deref(),
            Some("10")
        );
        assert_eq!(args.get("/a/b~1c/1/~0").and_then(Node::as_str), Some("x"));
        assert!(args.get("/").is_some());
        for absent in [
            "",
            "a",
            "/a/x",
            "/a/b~1c/00",
            "/a/b~1c/+0",
            "/a/b~1c/2",
            "/a/b~1c/0/0",
        ] {
            assert_eq!(args.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_member_can_be_left_out() {
        let args = parse(r#"{"action_token":"s","n":1}"#).unwrap();
        assert_eq!(args.without("action_token"), parse(r#"{"n":1.0}"#).unwrap());
        assert_eq!(args.without("other"), args);
    }

    #[test]
    fn values_and_types_see_the_same_numbers() {
        #[derive(Debug, serde::Deserialize)]
        struct Call {
            n: u32,
        }
        let args = parse(r#"{"n":1.0}"#).unwrap();
        assert_eq!(args.to_value(), json!({"n":1}));
        assert_eq!(args.decode::<Call>().unwrap().n, 1);
        assert_eq!(
            parse(r#"{"n":"x"}"#).unwrap().decode::<Call>().unwrap_err(),
            "`arguments.n`: invalid type: string \"x\", expected u32"
        );
    }

    #[test]
    fn refusals_become_invalid_params() {
        let error: RpcError = parse("[]").unwrap_err().into();
        assert_eq!(error.code, crate::ErrorCode::INVALID_PARAMS);
    }

    /// JSON values with numbers as texts, so that they can be spelled in several ways.
    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(String),
        Number {
            digits: u64,
            negative: bool,
            scale: i8,
        },
        List(Vec<Self>),
        Map(BTreeMap<String, Self>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            any::<String>().prop_map(|s| Tree::Leaf(serde_json::to_string(&s).unwrap())),
            prop_oneof![Just("null"), Just("true"), Just("false")]
                .prop_map(|s| Tree::Leaf(s.to_owned())),
            (any::<u64>(), any::<bool>(), any::<i8>()).prop_map(|(digits, negative, scale)| {
                Tree::Number {
                    digits,
                    negative,
                    scale,
                }
            }),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Tree::Map),
            ]
        })
    }

    fn root() -> impl Strategy<Value = Tree> {
        prop::collection::btree_map(any::<String>(), tree(), 0..6).prop_map(Tree::Map)
    }

    fn write_tree(tree: &Tree, other: bool, out: &mut String) {
        match tree {
            Tree::Leaf(text) => out.push_str(text),
            Tree::Number {
                digits,
                negative,
                scale,
            } => {
                let sign = if *negative { "-" } else { "" };
                let text = if other {
                    format!("{sign}{digits}.000E{scale:+}")
                } else {
                    format!("{sign}{digits}0e{}", i32::from(*scale) - 1)
                };
                out.push_str(&text);
            }
            Tree::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    write_tree(item, other, out);
                }
                out.push(']');
            }
            Tree::Map(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if other {
                    members.reverse();
                }
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(match (i, other) {
                        (0, _) => "",
                        (_, true) => " ,\n",
                        _ => ",",
                    });
                    out.push_str(&serde_json::to_string(name).unwrap());
                    out.push_str(if other { " : " } else { ":" });
                    write_tree(value, other, out);
                }
                out.push('}');
            }
        }
    }

    fn text(tree: &Tree, other: bool) -> String {
        let mut out = String::new();
        write_tree(tree, other, &mut out);
        out
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(tree in root()) {
            let args = parse(&text(&tree, false)).unwrap();
            let again = parse(args.to_raw().as_str()).unwrap();
            prop_assert_eq!(&again, &args);
            prop_assert_eq!(again.canonical(), args.canonical());
            let raw = args.to_raw();
            prop_assert_eq!(raw.as_str().as_bytes(), args.canonical());
        }

        #[test]
        fn spelling_and_order_do_not_change_the_digest(tree in root()) {
            prop_assert_eq!(
                parse(&text(&tree, false)).unwrap().digest_input(),
                parse(&text(&tree, true)).unwrap().digest_input()
            );
        }

        #[test]
        fn a_changed_value_changes_the_digest(tree in root(), name in any::<String>(), a in tree(), b in tree()) {
            let with = |value: &Tree| {
                let Tree::Map(mut members) = tree.clone() else { unreachable!() };
                members.insert(name.clone(), value.clone());
                parse(&text(&Tree::Map(members), false)).unwrap()
            };
            let (left, right) = (with(&a), with(&b));
            prop_assert_eq!(left == right, left.digest_input() == right.digest_input());
            prop_assert_ne!(left.without(&name).digest_input(), left.digest_input());
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _outcome = parse(&text);
        }

        #[test]
        fn nearly_json_never_panics(text in r#"[\[\]{}",:\\u0-9a-fdeE.+\- tn]{0,60}"#) {
            // What is taken is JSON by serde_json's reading too, and means the same.
            if let Ok(args) = parse(&text) {
                let theirs: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(Args::of(&theirs, &ArgsLimits::default()).is_ok(), true);
                prop_assert_eq!(theirs.as_object().unwrap().len(), args.iter().len());
            }
        }
    }
}
