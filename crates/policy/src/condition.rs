//! One line of a rule's `when`: an attribute, an operator, and what it is compared with.
//!
//! The spellings, all of which end in the same few types:
//!
//! - `attribute: value` equals (for a set: contains); `attribute: [a, b]` equals one of them (for a set: shares one of them);
//! - `attribute_in: [..]` says the same of a single value, `attribute_any: [..]` of a set;
//! - `attribute: "!= other"`, `"attribute != other": true` and `"attribute !=": other` say that it does not; `attribute: "== other"` that it
//!   does. `other` is a value or an attribute.
//!
//! What stands left of the colon is taken apart in [`crate::key`].

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::attribute::{Attribute, Kind, WEEKDAYS};
use crate::error::Fault;
use crate::key::{self, Form, Key};
use crate::label::{FORM, is_label};
use crate::yaml::{Node, Value};

/// The most values of one condition.
const VALUES_MAX: usize = 1_000;
/// The most bytes of one value.
const VALUE_MAX: usize = 1_024;

/// A condition as `policies.yml` states it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) attribute: Attribute,
    pub(crate) test: Test,
}

/// What is asked of the attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// It is (or, for a set, shares) one of these.
    AnyOf(Vec<Literal>),
    /// It is none of these.
    NoneOf(Vec<Literal>),
    /// It equals (or, for a set, contains) the other attribute.
    Same(Attribute),
    /// It does not.
    Differs(Attribute),
    /// It lies before this moment.
    Before(Timestamp),
    /// It lies at this moment or later.
    After(Timestamp),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Literal {
    Text(String),
    Int(i64),
    Bool(bool),
}

impl Condition {
    /// Says whether the condition names who the caller is. Only such a condition lets a rule with a duty grant: "anybody but" names nobody.
    pub(crate) fn names_subject(&self) -> bool {
        self.attribute.is_subject() && matches!(self.test, Test::AnyOf(_))
    }

    /// Every attribute that the condition reads.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        let other = match &self.test {
            Test::Same(other) | Test::Differs(other) => Some(other),
            _ => None,
        };
        std::iter::once(&self.attribute).chain(other)
    }

    /// Says whether the condition reads the context.
    pub(crate) fn reads_context(&self) -> bool {
        self.attributes()
            .any(|attribute| attribute.context_name().is_some())
    }

    /// The texts that an any-of test on `attribute` accepts; `None` for every other condition.
    pub(crate) fn accepted(&self, attribute: &Attribute) -> Option<impl Iterator<Item = &str>> {
        match &self.test {
            Test::AnyOf(values) if self.attribute == *attribute => {
                Some(values.iter().filter_map(|value| match value {
                    Literal::Text(text) => Some(text.as_str()),
                    Literal::Int(_) | Literal::Bool(_) => None,
                }))
            }
            _ => None,
        }
    }

    /// Reads one entry of `when`, all spellings.
    pub(crate) fn parse(text: &str, node: &Node) -> Result<Self, Fault> {
        let Key { attribute, form } = Key::parse(text, &node.value)?;
        let reader = Reader {
            key: text,
            attribute: &attribute,
        };
        let test = match form {
            Form::Before => Test::Before(reader.moment(node)?),
            Form::After => Test::After(reader.moment(node)?),
            Form::In | Form::Any => Test::AnyOf(reader.list(node)?),
            Form::Plain => reader.value_form(node)?,
            Form::Not => reader.negated(node)?,
            Form::Differs(_) if node.value != Value::Bool(true) => {
                return Err(Fault::Shape {
                    key: text.to_owned(),
                    expected: "`true`",
                    found: node.value.shape(),
                });
            }
            Form::Differs(other) => reader.other(other)?.negated(),
        };
        Ok(Self { attribute, test })
    }
}

impl Test {
    fn negated(self) -> Self {
        match self {
            Self::AnyOf(values) => Self::NoneOf(values),
            Self::Same(other) => Self::Differs(other),
            other => other,
        }
    }
}

/// Reads values for one attribute.
struct Reader<'a> {
    key: &'a str,
    attribute: &'a Attribute,
}

impl Reader<'_> {
    fn value_form(&self, node: &Node) -> Result<Test, Fault> {
        let Value::Text(text) = &node.value else {
            return self.values(node).map(Test::AnyOf);
        };
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("!=") {
            return self.other(rest.trim()).map(Test::negated);
        }
        if let Some(rest) = text.strip_prefix("==") {
            return self.other(rest.trim());
        }
        self.literal(&node.value)
            .map(|literal| Test::AnyOf(vec![literal]))
    }

    /// `"a !=": b`, where `b` may be a list.
    fn negated(&self, node: &Node) -> Result<Test, Fault> {
        match &node.value {
            Value::Text(text) => self.other(text.trim()).map(Test::negated),
            _ => self.values(node).map(Test::NoneOf),
        }
    }

    /// The right side after an operator: an attribute, or a value of the left side's kind.
    fn other(&self, text: &str) -> Result<Test, Fault> {
        if Attribute::looks_like(text) {
            return self.comparable(key::name(text)?);
        }
        let literal = match (self.attribute.kind(), text) {
            (Kind::Bool | Kind::Argument, "true") => Literal::Bool(true),
            (Kind::Bool | Kind::Argument, "false") => Literal::Bool(false),
            (Kind::Hour | Kind::Argument, number) => match number.parse() {
                Ok(number) => self.literal(&Value::Int(number))?,
                Err(_) => self.literal(&Value::Text(text.to_owned()))?,
            },
            _ => self.literal(&Value::Text(text.to_owned()))?,
        };
        Ok(Test::AnyOf(vec![literal]))
    }

    fn comparable(&self, other: Attribute) -> Result<Test, Fault> {
        let textual = |kind| matches!(kind, Kind::Text | Kind::Weekday);
        // Wildcard scopes are expanded against values that are known when the policy loads; another attribute is not.
        let fits = match self.attribute.kind() {
            Kind::Set => *self.attribute != Attribute::Scopes && textual(other.kind()),
            Kind::Text | Kind::Weekday | Kind::Claim | Kind::Argument => textual(other.kind()),
            Kind::Bool => other.kind() == Kind::Bool,
            Kind::Hour | Kind::Address | Kind::Time => false,
        };
        if fits {
            return Ok(Test::Same(other));
        }
        Err(Fault::Incomparable {
            left: self.attribute.to_string(),
            right: other.to_string(),
        })
    }

    /// A list or a single value.
    fn values(&self, node: &Node) -> Result<Vec<Literal>, Fault> {
        match &node.value {
            Value::List(_) => self.list(node),
            single => self.literal(single).map(|literal| vec![literal]),
        }
    }

    fn list(&self, node: &Node) -> Result<Vec<Literal>, Fault> {
        let Value::List(entries) = &node.value else {
            return Err(Fault::Shape {
                key: self.key.to_owned(),
                expected: "a list",
                found: node.value.shape(),
            });
        };
        if entries.is_empty() {
            return Err(Fault::Empty {
                key: self.key.to_owned(),
            });
        }
        if entries.len() > VALUES_MAX {
            return Err(Fault::TooLarge {
                what: "the number of values of a condition",
                limit: VALUES_MAX,
            });
        }
        entries
            .iter()
            .map(|entry| self.literal(&entry.value))
            .collect()
    }

    fn literal(&self, value: &Value) -> Result<Literal, Fault> {
        let shape = |expected| Fault::Shape {
            key: self.key.to_owned(),
            expected,
            found: value.shape(),
        };
        match (self.attribute.kind(), value) {
            (Kind::Time, _) => Err(Fault::Suffix {
                key: self.key.to_owned(),
                suffix: "==",
                instead: "`context.time_before` or `context.time_after`",
            }),
            (Kind::Bool | Kind::Argument, Value::Bool(flag)) => Ok(Literal::Bool(*flag)),
            (Kind::Claim, Value::Bool(flag)) => Ok(Literal::Text(flag.to_string())),
            (Kind::Claim, Value::Int(number)) => Ok(Literal::Text(number.to_string())),
            (Kind::Argument, Value::Int(number)) => Ok(Literal::Int(*number)),
            (Kind::Hour, Value::Int(hour)) if (0..24).contains(hour) => Ok(Literal::Int(*hour)),
            (Kind::Hour, _) => Err(shape("an hour from 0 to 23")),
            (Kind::Bool, _) => Err(shape("`true` or `false`")),
            (_, Value::Text(text)) => self.text(text),
            (Kind::Argument | Kind::Claim, _) => Err(shape("text, a whole number or a boolean")),
            _ => Err(shape("text (put it in quotes)")),
        }
    }

    fn text(&self, text: &str) -> Result<Literal, Fault> {
        let key = || self.key.to_owned();
        if text.is_empty() {
            return Err(Fault::Empty { key: key() });
        }
        if text.len() > VALUE_MAX {
            return Err(Fault::TooLarge {
                what: "the length of a value",
                limit: VALUE_MAX,
            });
        }
        if text.trim() != text {
            return Err(Fault::Value {
                key: key(),
                value: text.to_owned(),
                expected: "a value that can be compared: it has spaces at its ends",
            });
        }
        if text.starts_with(['!', '=', '<', '>', '~']) {
            return Err(Fault::UnknownOperator {
                key: key(),
                value: text.to_owned(),
            });
        }
        if let Some(attribute) = Attribute::meant(text) {
            return Err(Fault::BareReference {
                key: key(),
                value: text.to_owned(),
                attribute,
            });
        }
        match self.attribute {
            Attribute::Ip => network(text)
                .map(Literal::Text)
                .ok_or_else(|| Fault::Value {
                    key: key(),
                    value: text.to_owned(),
                    expected: "an address or a network such as `10.0.0.0/8`",
                }),
            Attribute::Weekday if !WEEKDAYS.contains(&text) => Err(Fault::UnknownValue {
                key: key(),
                value: text.to_owned(),
                valid: WEEKDAYS.to_vec(),
            }),
            Attribute::Labels if !is_label(text) => Err(Fault::Value {
                key: key(),
                value: text.to_owned(),
                expected: FORM,
            }),
            Attribute::ToolId
            | Attribute::ProviderId
            | Attribute::Roles
            | Attribute::SafetyTags
                if text.contains('*') =>
            {
                Err(Fault::Pattern {
                    key: key(),
                    value: text.to_owned(),
                })
            }
            _ => Ok(Literal::Text(text.to_owned())),
        }
    }

    fn moment(&self, node: &Node) -> Result<Timestamp, Fault> {
        let Value::Text(text) = &node.value else {
            return Err(Fault::Shape {
                key: self.key.to_owned(),
                expected: "a time in quotes",
                found: node.value.shape(),
            });
        };
        text.trim().parse().map_err(|_| Fault::Value {
            key: self.key.to_owned(),
            value: text.clone(),
            expected: "a time such as `2027-01-31T18:00:00Z`",
        })
    }
}

/// Reads an address or a network and writes it the way Cedar reads it.
fn network(text: &str) -> Option<String> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text
            .parse::<IpAddr>()
            .ok()
            .map(|address| address.to_canonical().to_string());
    };
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= longest && address.to_canonical() == address).then(|| format!("{address}/{prefix}"))
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.attribute)?;
        match &self.test {
            Test::AnyOf(values) => listed(f, "==", "one of", values),
            Test::NoneOf(values) => listed(f, "!=", "none of", values),
            Test::Same(other) => write!(f, " == {other}"),
            Test::Differs(other) => write!(f, " != {other}"),
            Test::Before(moment) => write!(f, " before {moment}"),
            Test::After(moment) => write!(f, " at or after {moment}"),
        }
    }
}

fn listed(f: &mut fmt::Formatter<'_>, one: &str, many: &str, values: &[Literal]) -> fmt::Result {
    if let [value] = values {
        return write!(f, " {one} {value}");
    }
    write!(f, " {many} ")?;
    values
        .iter()
        .enumerate()
        .try_for_each(|(at, value)| write!(f, "{}{value}", if at == 0 { "" } else { ", " }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// Reads `key: value` written as one line of YAML.
    fn read(line: &str) -> Result<Condition, Fault> {
        let Value::Map(entries) = yaml::parse(line).expect("valid YAML").value else {
            panic!("a map")
        };
        Condition::parse(&entries[0].key, &entries[0].node)
    }

    fn shown(line: &str) -> String {
        match read(line) {
            Ok(condition) => condition.to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn every_spelling_of_the_tenant_rule_is_the_same_condition() {
        let expected = Condition {
            attribute: Attribute::ResourceTenant,
            test: Test::Differs(Attribute::SubjectTenant),
        };
        for line in [
            "resource.tenant: \"!= subject.tenant\"",
            "resource.tenant: \"!=subject.tenant\"",
            "\"resource.tenant != subject.tenant\": true",
            "\"resource.tenant !=\": subject.tenant",
        ] {
            assert_eq!(read(line).as_ref(), Ok(&expected), "{line}");
        }
    }

    #[test]
    fn conditions_are_shown_as_they_are_meant() {
        let cases = [
            (
                "resource.toolId: \"ads:createCampaign\"",
                "resource.toolId == \"ads:createCampaign\"",
            ),
            (
                "resource.toolId_in: [a, b]",
                "resource.toolId one of \"a\", \"b\"",
            ),
            (
                "resource.safety_tags_any: [a, b]",
                "resource.safety_tags one of \"a\", \"b\"",
            ),
            (
                "\"resource.provider_id !=\": [a, b]",
                "resource.provider_id none of \"a\", \"b\"",
            ),
            (
                "resource.provider_id: \"!= mcp\"",
                "resource.provider_id != \"mcp\"",
            ),
            ("resource.read_only: true", "resource.read_only == true"),
            ("\"context.hour !=\": 3", "context.hour != 3"),
            (
                "context.ip: [10.0.0.0/8, \"::1\"]",
                "context.ip one of \"10.0.0.0/8\", \"::1\"",
            ),
            (
                "context.time_after: \"2027-01-01T00:00:00+01:00\"",
                "context.time at or after 2026-12-31T23:00:00Z",
            ),
            (
                "context.arguments.check_in: [1, true, x]",
                "context.arguments.check one of 1, true, \"x\"",
            ),
            (
                "context.arguments.\"check_in\": [1, true, x]",
                "context.arguments.\"check_in\" one of 1, true, \"x\"",
            ),
            (
                "'context.arguments.\"check_in\" !=': [1, x]",
                "context.arguments.\"check_in\" none of 1, \"x\"",
            ),
            (
                "subject.claims.dept_any: [sales, 3]",
                "subject.claims.dept one of \"sales\", \"3\"",
            ),
            (
                "subject.claims.department: \"== resource.classification\"",
                "subject.claims.department == resource.classification",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_is_not_understood_is_refused_with_the_way_out() {
        let cases = [
            (
                "resource.toolid: x",
                "unknown condition `resource.toolid`; did you mean `resource.toolId`?",
            ),
            (
                "subject.role: [x]",
                "unknown condition `subject.role`; did you mean `subject.roles`?",
            ),
            (
                "resource.safety_tag_any: [x]",
                "unknown condition `resource.safety_tag_any`; did you mean `resource.safety_tags`?",
            ),
            (
                "resource.tenant: \"!= subject.tenent\"",
                "unknown condition `subject.tenent`; did you mean `subject.tenant`?",
            ),
            (
                "resource.tenant: \"<> acme\"",
                "`resource.tenant`: unknown operator in `<> acme`; use a value, a list, `== attribute` or `!= attribute-or-value`",
            ),
            (
                "resource.tenant: subject.tenant",
                "`resource.tenant`: `subject.tenant` would be compared as plain text; write `== subject.tenant` to compare with the attribute",
            ),
            (
                "resource.tenant: subject.tenent",
                "`resource.tenant`: `subject.tenent` would be compared as plain text; write `== subject.tenant` to compare with the attribute",
            ),
            (
                "resource.tenant: \"acme \"",
                "`resource.tenant`: `acme ` is not a value that can be compared: it has spaces at its ends",
            ),
            (
                "subject.claims.dept_in: []",
                "`subject.claims.dept_in` is empty; name at least one entry or leave the key out",
            ),
            (
                "\"action !=\": tools.invoke",
                "unknown condition `action !=`; did you mean `action`?",
            ),
            (
                "subject.roles_in: [a]",
                "`subject.roles_in`: `_in` does not fit this attribute; write `_any`, since it holds several values",
            ),
            (
                "resource.toolId_any: [a]",
                "`resource.toolId_any`: `_any` does not fit this attribute; write `_in`, since it holds one value",
            ),
            (
                "resource.toolId: []",
                "`resource.toolId` is empty; name at least one entry or leave the key out",
            ),
            (
                "resource.toolId: \"\"",
                "`resource.toolId` is empty; name at least one entry or leave the key out",
            ),
            (
                "resource.tenant: 12",
                "`resource.tenant` must be text (put it in quotes), found a number",
            ),
            (
                "resource.tenant:",
                "`resource.tenant` must be text (put it in quotes), found nothing",
            ),
            (
                "\"resource.tenant != subject.tenant\": false",
                "`resource.tenant != subject.tenant` must be `true`, found a boolean",
            ),
            (
                "context.hour: 24",
                "`context.hour` must be an hour from 0 to 23, found a number",
            ),
            (
                "context.weekday: mondy",
                "`context.weekday`: unknown value `mondy`; use `monday`, `tuesday`, `wednesday`, `thursday`, `friday`, `saturday` or `sunday`",
            ),
            (
                "context.ip: 10.0.0.0/33",
                "`context.ip`: `10.0.0.0/33` is not an address or a network such as `10.0.0.0/8`",
            ),
            (
                "subject.scopes: \"== resource.toolId\"",
                "`subject.scopes` cannot be compared with `resource.toolId`; compare it with values, or write the rule in a .cedar file",
            ),
            (
                "context.time: \"2027-01-01T00:00:00Z\"",
                "`context.time`: `==` does not fit this attribute; write `context.time_before` or `context.time_after`",
            ),
            (
                "resource.toolId: \"mcp:*\"",
                "`resource.toolId`: `mcp:*` looks like a pattern, but values are compared exactly; use `resource.provider_id`, or `like` in a \
                 .cedar file",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}
