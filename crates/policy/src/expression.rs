//! Expressions of Cedar, evaluated on the request itself.
//!
//! To put a request to Cedar costs values, entities and an evaluator, most of all where arguments are read. What policies written in Cedar
//! mostly say of it has few forms: those stand here. INVARIANT: a term comes to what Cedar's own evaluator makes of the expression, in Cedar's
//! order, and to nothing exactly where that fails; a property test compares them over all forms. What has any other form is no term and is left
//! to Cedar: arithmetic, records, entities but in a policy's head, the caller's scopes, extension types but for comparisons of decimals.

use std::borrow::Cow;
use std::collections::BTreeSet;

use cedar_policy::{EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint};
use serde_json::Value as Json;

use crate::argument::{self, Seen};
use crate::attribute::Attribute;
use crate::check::{Facts, View, argument};
use crate::reads::Reads;

/// How deep terms may stand in each other; what is deeper is left to Cedar.
const DEPTH_MAX: usize = 128;

/// An expression of a form that is known here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    Flag(bool),
    Number(i64),
    /// In ten-thousandths.
    Decimal(i64),
    Text(String),
    Texts(BTreeSet<String>),
    Numbers(BTreeSet<i64>),
    /// An attribute of caller, tool or context.
    Attribute(Attribute),
    /// Whether that is there.
    Has(Attribute),
    /// Whether the call's arguments are known.
    HasArguments,
    /// The argument at a path, where it is of a kind.
    Tag(Kind, String),
    HasTag(Kind, String),
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    /// If the first, then the second, else the third.
    Choice(Box<[Self; 3]>),
    Compared(Comparison, Box<[Self; 2]>),
    Empty(Box<Self>),
    Like(Box<Self>, Pattern),
}

/// A question about two values, neither of which is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    AtMost,
    DecimalLess,
    DecimalAtMost,
    Contains,
    ContainsAll,
    ContainsAny,
}

/// The types of arguments: see [`crate::schema::ARGUMENT_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Name,
    Text,
    Flag,
    Number,
    Decimal,
    List,
    Mixed,
}

/// What stands between the wildcards of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<String>);

/// What a term comes to.
#[derive(Debug)]
enum Value<'a> {
    Flag(bool),
    Number(i64),
    Decimal(i64),
    Text(&'a str),
    Set(Set<'a>),
}

#[derive(Debug)]
enum Set<'a> {
    Texts(Cow<'a, BTreeSet<String>>),
    /// Those of an argument.
    List(BTreeSet<&'a str>),
    Numbers(&'a BTreeSet<i64>),
}

impl Term {
    /// Reads an expression in Cedar's JSON form; `None` where it has a form that is not known here.
    ///
    /// Source: Cedar policy language guide, "JSON policy format".
    pub(crate) fn of(expression: &Json) -> Option<Self> {
        read(expression, DEPTH_MAX)
    }

    /// Both, the second only where the first is true.
    pub(crate) fn and(self, other: Self) -> Self {
        Self::And(Box::new([self, other]))
    }

    /// Conditions of a policy, one after the other.
    pub(crate) fn of_conditions(conditions: &[Json]) -> Option<Self> {
        if conditions.len() > DEPTH_MAX {
            return None;
        }
        let each = conditions.iter().map(|condition| {
            let body = Self::of(condition.get("body")?)?;
            match condition.get("kind")?.as_str()? {
                "when" => Some(body),
                "unless" => Some(Self::Not(Box::new(body))),
                _ => None,
            }
        });
        let all: Vec<_> = each.collect::<Option<_>>()?;
        Some(
            all.into_iter()
                .reduce(Self::and)
                .unwrap_or(Self::Flag(true)),
        )
    }

    /// Says whether it reads nothing but this, so that what is prepared for these reads is all that it needs.
    pub(crate) fn is_within(&self, reads: &Reads) -> bool {
        let all = |terms: &[Self]| terms.iter().all(|term| term.is_within(reads));
        match self {
            Self::Flag(_) | Self::Number(_) | Self::Decimal(_) => true,
            Self::Text(_) | Self::Texts(_) | Self::Numbers(_) => true,
            Self::Attribute(attribute) | Self::Has(attribute) => is_read(attribute, reads),
            Self::HasArguments => reads.reads_arguments(),
            Self::Tag(kind, path) | Self::HasTag(kind, path) => {
                let kinds = reads.typed.iter().filter_map(|typed| typed.get(path));
                let mut kinds = kinds.flatten();
                reads.reads_arguments()
                    && reads.arguments.contains(path)
                    && kinds.any(|name| Kind::of(name) == Some(*kind))
            }
            Self::Not(term) | Self::Empty(term) | Self::Like(term, _) => term.is_within(reads),
            Self::And(both) | Self::Or(both) | Self::Compared(_, both) => all(&**both),
            Self::Choice(parts) => all(&**parts),
        }
    }

    /// Says whether it holds; `None` where Cedar could not evaluate it.
    pub(crate) fn holds(&self, facts: Facts<'_>) -> Option<bool> {
        match self.value(facts)? {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    fn value<'a>(&'a self, facts: Facts<'a>) -> Option<Value<'a>> {
        let arguments = facts.request.context.arguments;
        let flag = match self {
            Self::Flag(flag) => *flag,
            Self::Number(number) => return Some(Value::Number(*number)),
            Self::Decimal(number) => return Some(Value::Decimal(*number)),
            Self::Text(text) => return Some(Value::Text(text)),
            Self::Texts(texts) => return Some(Value::Set(Set::Texts(Cow::Borrowed(texts)))),
            Self::Numbers(numbers) => return Some(Value::Set(Set::Numbers(numbers))),
            Self::Attribute(attribute) => return attribute_of(attribute, facts),
            Self::Has(attribute) => attribute_of(attribute, facts).is_some(),
            Self::HasArguments => arguments.is_some(),
            Self::Tag(kind, path) => return tag(*kind, arguments?, path),
            Self::HasTag(kind, path) => tag(*kind, arguments?, path).is_some(),
            Self::Not(term) => !term.holds(facts)?,
            Self::And(both) => {
                let [left, right] = &**both;
                left.holds(facts)? && right.holds(facts)?
            }
            Self::Or(both) => {
                let [left, right] = &**both;
                left.holds(facts)? || right.holds(facts)?
            }
            Self::Choice(parts) => {
                let [test, then, otherwise] = &**parts;
                let chosen = if test.holds(facts)? { then } else { otherwise };
                return chosen.value(facts);
            }
            Self::Compared(comparison, both) => {
                let [left, right] = &**both;
                comparison.holds(&left.value(facts)?, &right.value(facts)?)?
            }
            Self::Empty(set) => match set.value(facts)? {
                Value::Set(set) => set.every(|_| false),
                _ => return None,
            },
            Self::Like(text, pattern) => match text.value(facts)? {
                Value::Text(text) => pattern.fits(text),
                _ => return None,
            },
        };
        Some(Value::Flag(flag))
    }
}

impl Comparison {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        Some(match (self, left, right) {
            (Self::Equal, left, right) => left.is(right),
            (Self::Less, Value::Number(left), Value::Number(right))
            | (Self::DecimalLess, Value::Decimal(left), Value::Decimal(right)) => left < right,
            (Self::AtMost, Value::Number(left), Value::Number(right))
            | (Self::DecimalAtMost, Value::Decimal(left), Value::Decimal(right)) => left <= right,
            (Self::Contains, Value::Set(set), value) => set.has(value),
            (Self::ContainsAll, Value::Set(set), Value::Set(other)) => {
                other.every(|value| set.has(value))
            }
            (Self::ContainsAny, Value::Set(set), Value::Set(other)) => {
                !other.every(|value| !set.has(value))
            }
            _ => return None,
        })
    }
}

impl Value<'_> {
    /// Values of different types are different.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Flag(left), Self::Flag(right)) => left == right,
            (Self::Number(left), Self::Number(right))
            | (Self::Decimal(left), Self::Decimal(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Set(left), Self::Set(right)) => {
                left.every(|value| right.has(value)) && right.every(|value| left.has(value))
            }
            _ => false,
        }
    }
}

impl Set<'_> {
    fn has(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Texts(set), Value::Text(text)) => set.contains(*text),
            (Self::List(set), Value::Text(text)) => set.contains(text),
            (Self::Numbers(set), Value::Number(number)) => set.contains(number),
            _ => false,
        }
    }

    fn every(&self, test: impl Fn(&Value<'_>) -> bool) -> bool {
        match self {
            Self::Texts(set) => set.iter().all(|text| test(&Value::Text(text))),
            Self::List(set) => set.iter().all(|text| test(&Value::Text(text))),
            Self::Numbers(set) => set.iter().all(|number| test(&Value::Number(*number))),
        }
    }
}

impl Pattern {
    fn of(elements: &[Json]) -> Option<Self> {
        let mut parts = vec![String::new()];
        for element in elements {
            match element.get("Literal").and_then(Json::as_str) {
                Some(text) => parts.last_mut()?.push_str(text),
                None if element == "Wildcard" => parts.push(String::new()),
                None => return None,
            }
        }
        Some(Self(parts))
    }

    /// Each wildcard stands for any text, so that what comes first fits best.
    fn fits(&self, text: &str) -> bool {
        let (first, last, between) = match self.0.as_slice() {
            [first, between @ .., last] => (first, last, between),
            [only] => return text == only,
            [] => return false,
        };
        let inner = text.strip_prefix(first.as_str());
        let mut inner = inner.and_then(|text| text.strip_suffix(last.as_str()));
        for part in between {
            let split = inner.and_then(|text| text.split_once(part.as_str()));
            inner = split.map(|(_, after)| after);
        }
        inner.is_some()
    }
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "kind" => Self::Name,
            "text" => Self::Text,
            "flag" => Self::Flag,
            "number" => Self::Number,
            "decimal" => Self::Decimal,
            "list" => Self::List,
            "mixed" => Self::Mixed,
            _ => return None,
        })
    }
}

fn is_read(attribute: &Attribute, reads: &Reads) -> bool {
    match attribute {
        Attribute::Sub => reads.sub,
        Attribute::Claim(path) => reads.claims.contains(path),
        Attribute::Labels => reads.reads_labels() && reads.any_label,
        // Of these, more than a name is to be known, and no term has them.
        Attribute::Scopes | Attribute::Argument(_) => false,
        other => other
            .context_name()
            .is_none_or(|name| reads.context.contains(name)),
    }
}

/// Returns an attribute; `None` where it is missing.
fn attribute_of<'a>(attribute: &Attribute, facts: Facts<'a>) -> Option<Value<'a>> {
    Some(match View::of(attribute, facts)? {
        View::Text(text) => Value::Text(text),
        View::Set(set) => Value::Set(Set::Texts(set)),
        View::Flag(flag) => Value::Flag(flag),
        View::Hour(hour) => Value::Number(hour),
        View::Scopes(_) | View::Address(_) | View::Moment(_) | View::Argument(_) => return None,
    })
}

/// Returns an argument where it is of a kind: what [`crate::entity::arguments`] has for it.
fn tag<'a>(kind: Kind, arguments: &'a Json, path: &str) -> Option<Value<'a>> {
    Some(match (kind, argument(arguments, path)?) {
        (Kind::Name, seen) => Value::Text(seen.kind()),
        (Kind::Text, Seen::Text(text)) => Value::Text(text),
        (Kind::Flag, Seen::Flag(flag)) => Value::Flag(flag),
        (Kind::Number, Seen::Number(number)) => Value::Number(argument::whole(number)?),
        (Kind::Decimal, Seen::Number(number)) => Value::Decimal(argument::scaled(number)?),
        (Kind::List, Seen::List(texts)) => Value::Set(Set::List(texts.into_iter().collect())),
        (Kind::Mixed, Seen::Mixed(entries)) => {
            let entries = entries.iter().filter_map(argument::entry);
            Value::Set(Set::Texts(Cow::Owned(entries.collect())))
        }
        _ => return None,
    })
}

fn read(expression: &Json, depth: usize) -> Option<Term> {
    let depth = depth.checked_sub(1)?;
    let mut entries = expression.as_object()?.iter();
    let (Some((operator, parts)), None) = (entries.next(), entries.next()) else {
        return None;
    };
    let part = |name: &str| read(parts.get(name)?, depth);
    let one = |name| Some(Box::new(part(name)?));
    let both = || Some(Box::new([part("left")?, part("right")?]));
    let compared = |comparison| Some(Term::Compared(comparison, both()?));
    // `left > right` is `right < left`: both are evaluated in any case.
    let turned = |comparison| {
        let sides = Box::new([part("right")?, part("left")?]);
        Some(Term::Compared(comparison, sides))
    };
    match operator.as_str() {
        "Value" => constant(parts),
        "Set" => constants(parts.as_array()?.iter().map(|entry| entry.get("Value"))),
        "!" => Some(Term::Not(one("arg")?)),
        "neg" => match part("arg")? {
            Term::Number(number) => number.checked_neg().map(Term::Number),
            _ => None,
        },
        "&&" => Some(Term::And(both()?)),
        "||" => Some(Term::Or(both()?)),
        "if-then-else" => {
            let parts = [part("if")?, part("then")?, part("else")?];
            Some(Term::Choice(Box::new(parts)))
        }
        "==" => compared(Comparison::Equal),
        "!=" => Some(Term::Not(Box::new(compared(Comparison::Equal)?))),
        "<" => compared(Comparison::Less),
        "<=" => compared(Comparison::AtMost),
        ">" => turned(Comparison::Less),
        ">=" => turned(Comparison::AtMost),
        "contains" => compared(Comparison::Contains),
        "containsAll" => compared(Comparison::ContainsAll),
        "containsAny" => compared(Comparison::ContainsAny),
        "isEmpty" => Some(Term::Empty(one("arg")?)),
        "like" => {
            let pattern = Pattern::of(parts.get("pattern")?.as_array()?)?;
            Some(Term::Like(one("left")?, pattern))
        }
        "." => attribute(parts).map(Term::Attribute),
        "has" if parts.get("attr")? == "arguments" => {
            (variable(parts.get("left")?)? == "context").then_some(Term::HasArguments)
        }
        "has" => attribute(parts).map(Term::Has),
        "getTag" => tagged(parts, Term::Attribute, Term::Tag),
        "hasTag" => tagged(parts, Term::Has, Term::HasTag),
        _ => extension(operator, parts, depth),
    }
}

/// Reads the comparisons of decimals, and a decimal that is written out.
fn extension(operator: &str, arguments: &Json, depth: usize) -> Option<Term> {
    let arguments = arguments.as_array()?;
    if let ("decimal", [text]) = (operator, arguments.as_slice()) {
        return decimal(text.get("Value")?.as_str()?);
    }
    let [left, right] = arguments.as_slice() else {
        return None;
    };
    let (left, right) = (read(left, depth)?, read(right, depth)?);
    let (comparison, sides) = match operator {
        "lessThan" => (Comparison::DecimalLess, [left, right]),
        "lessThanOrEqual" => (Comparison::DecimalAtMost, [left, right]),
        "greaterThan" => (Comparison::DecimalLess, [right, left]),
        "greaterThanOrEqual" => (Comparison::DecimalAtMost, [right, left]),
        _ => return None,
    };
    Some(Term::Compared(comparison, Box::new(sides)))
}

/// A whole part, a point, and one to four digits. Cedar takes no more, and some that is refused here.
fn decimal(text: &str) -> Option<Term> {
    let (whole, fraction) = text.split_once('.')?;
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = !whole.is_empty() && (1..=4).contains(&fraction.len());
    (is_plain && is_digits(whole) && is_digits(fraction))
        .then(|| argument::scaled_of(text))?
        .map(Term::Decimal)
}

/// What the head of a policy says of the caller and of the tool; what it says of the action, its reach does. `None` where it has another form.
pub(crate) fn head(principal: &PrincipalConstraint, resource: &ResourceConstraint) -> Option<Term> {
    let is = |kind: &EntityTypeName, name| own_kind(kind) == Some(name);
    let of = |uid: &EntityUid, name| is(uid.type_name(), name);
    let principal = match principal {
        PrincipalConstraint::Any => Term::Flag(true),
        PrincipalConstraint::Is(kind) if is(kind, "Caller") => Term::Flag(true),
        PrincipalConstraint::Eq(uid) if of(uid, "Caller") => caller_in(uid)?,
        PrincipalConstraint::In(uid) => caller_in(uid)?,
        PrincipalConstraint::IsIn(kind, uid) if is(kind, "Caller") => caller_in(uid)?,
        _ => return None,
    };
    let resource = match resource {
        ResourceConstraint::Any => Term::Flag(true),
        ResourceConstraint::Is(kind) if is(kind, "Tool") => Term::Has(Attribute::ToolId),
        ResourceConstraint::Eq(uid) if of(uid, "Tool") => tool_in(uid)?,
        ResourceConstraint::In(uid) => tool_in(uid)?,
        ResourceConstraint::IsIn(kind, uid) if is(kind, "Tool") => tool_in(uid)?,
        _ => return None,
    };
    Some(principal.and(resource))
}

/// The name of a type of the schema, none of which stands in a namespace.
pub(crate) fn own_kind(kind: &EntityTypeName) -> Option<&str> {
    let is_own = kind.namespace_components().next().is_none();
    is_own.then(|| kind.basename())
}

/// Whether the caller is somebody, or in a role: everybody is in himself.
fn caller_in(uid: &EntityUid) -> Option<Term> {
    let (comparison, attribute) = match own_kind(uid.type_name())? {
        "Caller" => (Comparison::Equal, Attribute::Sub),
        "Role" => (Comparison::Contains, Attribute::Roles),
        _ => return None,
    };
    Some(attribute_compared(comparison, attribute, uid))
}

/// Whether there is a tool, and it is this one, or of this provider.
fn tool_in(uid: &EntityUid) -> Option<Term> {
    let attribute = match own_kind(uid.type_name())? {
        "Tool" => Attribute::ToolId,
        "Provider" => Attribute::ProviderId,
        _ => return None,
    };
    let is_there = Term::Has(attribute.clone());
    Some(is_there.and(attribute_compared(Comparison::Equal, attribute, uid)))
}

fn attribute_compared(comparison: Comparison, attribute: Attribute, uid: &EntityUid) -> Term {
    let id = uid.id().unescaped().to_owned();
    Term::Compared(
        comparison,
        Box::new([Term::Attribute(attribute), Term::Text(id)]),
    )
}

fn constant(value: &Json) -> Option<Term> {
    match value {
        Json::Bool(flag) => Some(Term::Flag(*flag)),
        Json::Number(number) => number.as_i64().map(Term::Number),
        Json::String(text) => Some(Term::Text(text.clone())),
        Json::Array(entries) => constants(entries.iter().map(Some)),
        Json::Null | Json::Object(_) => None,
    }
}

/// A set that is written out, of texts or of numbers.
fn constants<'a>(entries: impl Iterator<Item = Option<&'a Json>>) -> Option<Term> {
    let (mut texts, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        match entry? {
            Json::String(text) => drop(texts.insert(text.clone())),
            Json::Number(number) => drop(numbers.insert(number.as_i64()?)),
            _ => return None,
        }
    }
    match (texts.is_empty(), numbers.is_empty()) {
        (false, true) => Some(Term::Texts(texts)),
        (true, false) => Some(Term::Numbers(numbers)),
        _ => None,
    }
}

fn variable(expression: &Json) -> Option<&str> {
    expression.get("Var")?.as_str()
}

fn attribute(access: &Json) -> Option<Attribute> {
    let attribute = access.get("attr")?.as_str()?;
    Some(match (variable(access.get("left")?)?, attribute) {
        ("principal", "sub") => Attribute::Sub,
        ("principal", "tenant") => Attribute::SubjectTenant,
        ("principal", "roles") => Attribute::Roles,
        ("resource", "toolId") => Attribute::ToolId,
        ("resource", "provider_id") => Attribute::ProviderId,
        ("resource", "tenant") => Attribute::ResourceTenant,
        ("resource", "public") => Attribute::Public,
        ("resource", "safety_tags") => Attribute::SafetyTags,
        ("resource", "required_scopes") => Attribute::RequiredScopes,
        ("resource", "classification") => Attribute::Classification,
        ("resource", "read_only") => Attribute::ReadOnly,
        ("context", "client") => Attribute::Client,
        ("context", "corr_id") => Attribute::CorrId,
        ("context", "hour") => Attribute::Hour,
        ("context", "weekday") => Attribute::Weekday,
        ("context", "labels") => Attribute::Labels,
        _ => return None,
    })
}

/// `principal.getTag("claim")` or `context.arguments.kind.getTag("path")`.
fn tagged(
    access: &Json,
    of_claim: fn(Attribute) -> Term,
    of_argument: fn(Kind, String) -> Term,
) -> Option<Term> {
    let path = access.get("right")?.get("Value")?.as_str()?.to_owned();
    let left = access.get("left")?;
    if variable(left) == Some("principal") {
        return Some(of_claim(Attribute::Claim(path)));
    }
    let kind = left.get(".")?;
    let arguments = kind.get("left")?.get(".")?;
    let is_arguments = arguments.get("attr")? == "arguments"
        && variable(arguments.get("left")?) == Some("context");
    let kind = Kind::of(kind.get("attr")?.as_str()?)?;
    is_arguments.then(|| of_argument(kind, path))
}

#[cfg(test)]
mod tests;
