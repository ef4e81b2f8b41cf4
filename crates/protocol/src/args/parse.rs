//! Reading arguments.
//!
//! A reader of our own, because what must not be lost here is lost by all others: members given
//! twice, digits, and the place of the trouble. Strings are unescaped by `serde_json`.

use std::{borrow::Cow, collections::BTreeMap};

use super::{ArgsError, ArgsLimits, ArgsReason, Node, Number};

/// The longest path that a refusal names, in bytes.
const PATH: usize = 256;

/// Reads a text that is one object.
pub(super) fn object(text: &str, limits: &ArgsLimits) -> Result<BTreeMap<String, Node>, ArgsError> {
    let refuse = |reason| ArgsError {
        path: String::new(),
        reason,
    };
    if text.len() > limits.bytes {
        return Err(refuse(ArgsReason::Bytes(limits.bytes)));
    }
    let mut reader = Reader {
        text,
        at: 0,
        nodes: 0,
        limits,
        depth: limits.depth.min(ArgsLimits::MAX_DEPTH),
    };
    reader.space();
    if reader.peek().is_some_and(|byte| byte != b'{') {
        return Err(refuse(ArgsReason::NotAnObject));
    }
    let root = reader.value(1).map_err(Fail::locate)?;
    reader.space();
    match root {
        Node::Object(members) if reader.at == text.len() => Ok(members),
        _ => Err(refuse(ArgsReason::Syntax(reader.at))),
    }
}

/// A refusal on its way up, which gathers the names it passes, the innermost first.
struct Fail {
    path: Vec<String>,
    reason: ArgsReason,
}

impl Fail {
    fn inside(mut self, segment: impl FnOnce() -> String) -> Self {
        self.path.push(segment());
        self
    }

    fn locate(self) -> ArgsError {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            path.push('/');
            path.push_str(&segment.replace('~', "~0").replace('/', "~1"));
            if path.len() > PATH {
                break;
            }
        }
        crate::raw::truncate(&mut path, PATH);
        ArgsError {
            path,
            reason: self.reason,
        }
    }
}

impl From<ArgsReason> for Fail {
    fn from(reason: ArgsReason) -> Self {
        Self {
            path: Vec::new(),
            reason,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Always between characters: only ASCII is stepped over, and strings as a whole.
    at: usize,
    nodes: usize,
    limits: &'a ArgsLimits,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, level: usize) -> Result<Node, Fail> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(ArgsReason::Nodes(self.limits.nodes).into());
        }
        match self.peek() {
            Some(b'{') => self.members(level),
            Some(b'[') => self.items(level),
            Some(b'"') => Ok(Node::String(self.string()?.into_owned())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            _ => Err(self.syntax()),
        }
    }

    fn members(&mut self, level: usize) -> Result<Node, Fail> {
        self.open(level)?;
        let mut members = BTreeMap::new();
        if self.take(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax());
            }
            let name = self.string()?.into_owned();
            if members.contains_key(&name) {
                return Err(Fail::from(ArgsReason::Duplicate).inside(|| name));
            }
            self.space();
            if !self.take(b':') {
                return Err(self.syntax());
            }
            self.space();
            match self.value(level + 1) {
                Ok(value) => members.insert(name, value),
                Err(fail) => return Err(fail.inside(|| name)),
            };
            self.space();
            if self.take(b'}') {
                return Ok(Node::Object(members));
            }
            if !self.take(b',') {
                return Err(self.syntax());
            }
            self.space();
        }
    }

    fn items(&mut self, level: usize) -> Result<Node, Fail> {
        self.open(level)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Node::Array(items));
        }
        loop {
            let index = items.len();
            items.push(
                self.value(level + 1)
                    .map_err(|fail| fail.inside(|| index.to_string()))?,
            );
            self.space();
            if self.take(b']') {
                return Ok(Node::Array(items));
            }
            if !self.take(b',') {
                return Err(self.syntax());
            }
            self.space();
        }
    }

    /// Steps over an opening bracket and the space behind it.
    fn open(&mut self, level: usize) -> Result<(), Fail> {
        if level > self.depth {
            return Err(ArgsReason::Depth(self.depth).into());
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fail> {
        let start = self.at;
        let mut escaped = false;
        for (offset, byte) in self.rest().bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = start + offset + 1;
                    let token = self.text.get(start..self.at).unwrap_or_default();
                    return read_string(token).ok_or_else(|| ArgsReason::Character(start).into());
                }
                0..=0x1f => {
                    self.at = start + offset;
                    return Err(self.syntax());
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        Err(self.syntax())
    }

    fn number(&mut self) -> Result<Node, Fail> {
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.syntax());
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.syntax());
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.syntax());
            }
        }
        let token = self.text.get(start..self.at).unwrap_or_default();
        Ok(Node::Number(Number::read(token, self.limits)?))
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        count
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node, Fail> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(node)
        } else {
            Err(self.syntax())
        }
    }

    fn space(&mut self) {
        let count = self
            .rest()
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.at += count;
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn syntax(&self) -> Fail {
        ArgsReason::Syntax(self.at).into()
    }
}

/// Unescapes a token in quotes.
fn read_string(token: &str) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(token).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
