//! A JSON object that is written while it is filled.

use std::{borrow::Cow, fmt, io::Write as _, ops::Range};

use serde_json::{Map, Value};

use super::line::{Canonical, MAX_DEPTH, checked_key, draft_error, push_text};
use crate::error::AuditError;

/// A JSON object of a [`Draft`](super::Draft), in its canonical form.
///
/// A member is written when it is put in, so that no tree is built of what is the same in record after record. Members
/// may come in any order; a key that comes again replaces what it had. What cannot be recorded is said when the record is
/// appended: a key that begins with `$serde_json::private::`, and objects and lists more than 16 deep.
///
/// ```
/// use fastmcp_audit::{Draft, Object, Status};
///
/// let mut attributes = Object::default();
/// attributes.texts("roles", ["analyst"]).flag("read_only", true);
/// let mut draft = Draft::event("tools.invoke", Status::Success);
/// draft.details.get_or_insert_default().object("attributes", &attributes);
/// ```
#[derive(Clone, Default)]
pub struct Object {
    /// The values, one after the other.
    text: Vec<u8>,
    members: Vec<(Cow<'static, str>, Range<usize>)>,
    /// Levels of objects and lists below this one.
    below: usize,
    refused: Option<String>,
}

/// How much text, in bytes, and how many members there is room for from the first on.
const USUAL_TEXT: usize = 256;
const USUAL_MEMBERS: usize = 8;

impl Object {
    /// Puts in a text; `null` where there is none.
    pub fn text<'t>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<Option<&'t str>>,
    ) -> &mut Self {
        match value.into() {
            Some(value) => self.member(key.into(), |to| push_text(to, value)),
            None => self.null(key),
        }
    }

    /// Puts in a list of texts.
    pub fn texts<'t>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = &'t str>,
    ) -> &mut Self {
        self.below = self.below.max(1);
        self.member(key.into(), |to| {
            to.push(b'[');
            for (at, value) in values.into_iter().enumerate() {
                if at > 0 {
                    to.push(b',');
                }
                push_text(to, value);
            }
            to.push(b']');
        })
    }

    /// Puts in `true` or `false`.
    pub fn flag(&mut self, key: impl Into<Cow<'static, str>>, value: bool) -> &mut Self {
        self.member(key.into(), |to| {
            to.extend_from_slice(if value { b"true" } else { b"false" });
        })
    }

    /// Puts in a count.
    pub fn count(&mut self, key: impl Into<Cow<'static, str>>, value: u64) -> &mut Self {
        self.member(key.into(), |to| {
            // Writing to a vector cannot fail.
            let _ = write!(to, "{value}");
        })
    }

    /// Puts in `null`.
    pub fn null(&mut self, key: impl Into<Cow<'static, str>>) -> &mut Self {
        self.member(key.into(), |to| to.extend_from_slice(b"null"))
    }

    /// Puts in another object, as it is by now.
    pub fn object(&mut self, key: impl Into<Cow<'static, str>>, value: &Self) -> &mut Self {
        self.below = self.below.max(1 + value.below);
        if self.refused.is_none() {
            self.refused.clone_from(&value.refused);
        }
        self.member(key.into(), |to| value.write(to))
    }

    /// Puts in any value. A number that is no integer of 64 bits is written as the text of its digits.
    pub fn put(&mut self, key: impl Into<Cow<'static, str>>, value: &Value) -> &mut Self {
        let key = key.into();
        let mut refused = None;
        self.below = self.below.max(levels(value, &mut refused));
        self.member(key, |to| {
            let written = serde_json::to_writer(&mut *to, &Canonical(value));
            let failed = written.err().map(|error| error.to_string());
            refused = refused.take().or(failed);
        });
        self.refused = self.refused.take().or(refused);
        self
    }

    /// Whether nothing was put in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Reads what is under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        let (_, value) = self.members.iter().find(|(there, _)| there == key)?;
        serde_json::from_slice(self.text.get(value.clone())?).ok()
    }

    /// The name of what takes most of it.
    pub(super) fn longest(&self) -> Option<&str> {
        let longest = self.members.iter().max_by_key(|(_, value)| value.len());
        longest.map(|(key, _)| &**key)
    }

    fn member(&mut self, key: Cow<'static, str>, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        if let Err(problem) = checked_key(&key) {
            self.refused.get_or_insert(problem);
        }
        if self.members.is_empty() {
            // Few objects need more, and none grows by every member that comes.
            self.text.reserve(USUAL_TEXT);
            self.members.reserve(USUAL_MEMBERS);
        }
        let begins = self.text.len();
        write(&mut self.text);
        let value = begins..self.text.len();
        match self.members.iter_mut().find(|(there, _)| *there == key) {
            Some((_, place)) => *place = value,
            None => self.members.push((key, value)),
        }
        self
    }

    /// Says whether it can be recorded as `field`.
    pub(super) fn check(&self, field: &'static str) -> Result<(), AuditError> {
        if let Some(problem) = &self.refused {
            return Err(draft_error(field, problem.clone()));
        }
        if self.below >= MAX_DEPTH {
            return Err(draft_error(
                field,
                format!("is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        Ok(())
    }

    /// Writes it, its keys in the order of their bytes.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let sorted = |members: &[(Cow<'_, str>, Range<usize>)]| {
            members.is_sorted_by(|(one, _), (next, _)| one.as_bytes() < next.as_bytes())
        };
        if sorted(&self.members) {
            return self.write_in_order(self.members.iter(), to);
        }
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(key, _)| key.as_bytes());
        self.write_in_order(members.into_iter(), to);
    }

    fn write_in_order<'m>(
        &self,
        members: impl Iterator<Item = &'m (Cow<'static, str>, Range<usize>)>,
        to: &mut Vec<u8>,
    ) {
        to.push(b'{');
        for (at, (key, value)) in members.enumerate() {
            if at > 0 {
                to.push(b',');
            }
            push_text(to, key);
            to.push(b':');
            // What was written is there.
            to.extend_from_slice(self.text.get(value.clone()).unwrap_or_default());
        }
        to.push(b'}');
    }
}

/// How many objects and lists are in one another; says of a key if it cannot be recorded.
fn levels(value: &Value, refused: &mut Option<String>) -> usize {
    match value {
        Value::Object(object) => {
            let below = object.iter().map(|(key, value)| {
                if let Err(problem) = checked_key(key) {
                    refused.get_or_insert(problem);
                }
                levels(value, refused)
            });
            1 + below.max().unwrap_or_default()
        }
        Value::Array(array) => {
            let below = array.iter().map(|value| levels(value, refused));
            1 + below.max().unwrap_or_default()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

impl From<Map<String, Value>> for Object {
    fn from(map: Map<String, Value>) -> Self {
        Self::from_iter(map)
    }
}

impl<K: Into<Cow<'static, str>>> FromIterator<(K, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(members: I) -> Self {
        let mut object = Self::default();
        for (key, value) in members {
            object.put(key, &value);
        }
        object
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        self.write(&mut one);
        other.write(&mut two);
        one == two && self.refused == other.refused
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(object: &Object) -> String {
        let mut text = Vec::new();
        object.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn members_stand_in_the_order_of_their_keys() {
        let mut inner = Object::default();
        inner.null("n").flag("b", true);
        let mut object = Object::default();
        object
            .text("z", "say \"why\"\n\u{1}/é")
            .texts("Z", [])
            .texts("a", ["x", "y"])
            .object("m", &inner)
            .put("d", &json!({"f": 1.5, "e": [-1]}))
            .flag("a", false);
        assert_eq!(
            written(&object),
            r#"{"Z":[],"a":false,"d":{"e":[-1],"f":"1.5"},"m":{"b":true,"n":null},"z":"say \"why\"\n\u0001/é"}"#
        );
        object.check("details").unwrap();
        let other = serde_json::from_str::<Map<_, _>>(&written(&object)).unwrap();
        assert_eq!(object, Object::from(other));
    }

    #[test]
    fn what_cannot_be_recorded_is_refused() {
        let refused = |object: &Object| match object.check("details") {
            Err(AuditError::Draft { field, problem }) => format!("{field}: {problem}"),
            other => panic!("{other:?}"),
        };
        let mut magic = Object::default();
        magic.text("$serde_json::private::Number", "1");
        assert!(refused(&magic).contains("rename it"));
        let mut around = Object::default();
        around.object("inner", &magic);
        assert!(refused(&around).contains("rename it"));
        let within = Object::from_iter([("a", json!({"$serde_json::private::RawValue": 1}))]);
        assert!(refused(&within).contains("rename it"));

        let mut deep = Object::default();
        for _ in 0..MAX_DEPTH - 1 {
            deep.check("details").unwrap();
            let mut around = Object::default();
            around.object("a", &deep);
            deep = around;
        }
        deep.check("details").unwrap();
        deep.texts("list", []);
        deep.check("details").unwrap();
        let mut around = Object::default();
        around.object("a", &deep);
        assert!(refused(&around).contains("nested deeper than 16"));
        let mut list = json!(1);
        for _ in 0..MAX_DEPTH {
            list = json!([list]);
        }
        assert!(refused(&Object::from_iter([("a", list)])).contains("nested deeper than 16"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,80}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((".{0,6}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_the_canonical_text_of_its_members(members in prop::collection::vec((".{0,6}", values()), 0..6)) {
            let object: Object = members.clone().into_iter().collect();
            let map: Map<String, Value> = members.into_iter().collect();
            let canonical = serde_json::to_string(&Canonical(&Value::Object(map))).unwrap();
            prop_assert_eq!(written(&object), canonical);
        }
    }
}
