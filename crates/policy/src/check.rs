//! Conditions of rules, tested on the request itself.
//!
//! To put a request to Cedar costs values, entities and an evaluator, mostly for one comparison. The conditions of `policies.yml` have few forms,
//! so they are tested here: those on the context in each call, the others once (see [`crate::settle`]). INVARIANT: a check holds exactly where the expression that [`crate::compile`] writes for its condition is true; a
//! property test compares every decision with Cedar's over all policies.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use crate::argument::{self, Found, Seen, look_up};
use crate::attribute::{Attribute, Kind};
use crate::compile::Missing;
use crate::condition::{Condition, Literal, Test};
use crate::request::Request;
use crate::scope::ScopeSet;

/// A request, and what its caller effectively holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) held: &'a ScopeSet,
}

/// A condition, ready to be tested.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    attribute: Attribute,
    wanted: Wanted,
    negated: bool,
    missing: Missing,
}

#[derive(Debug, Clone)]
enum Wanted {
    /// It is (or, for a set, shares) one of these.
    AnyOf(Values),
    /// It equals (or, for a set, contains) the other attribute.
    Same(Attribute),
    /// It lies before this moment, in milliseconds.
    Before(i128),
}

#[derive(Debug, Clone, Default)]
struct Values {
    texts: BTreeSet<String>,
    numbers: BTreeSet<i64>,
    flags: BTreeSet<bool>,
    networks: Vec<IpNet>,
}

/// An attribute of a request.
#[derive(Debug)]
pub(crate) enum View<'a> {
    Text(&'a str),
    Set(Cow<'a, BTreeSet<String>>),
    /// Wildcards cover what a rule names.
    Scopes(&'a ScopeSet),
    Flag(bool),
    Hour(i64),
    Address(IpAddr),
    /// In milliseconds.
    Moment(i128),
    /// `None`: the call does not carry it.
    Argument(Option<Seen<'a>>),
}

impl Check {
    /// Prepares a condition.
    ///
    /// # Errors
    ///
    /// A network that is none. The reader of conditions lets none pass.
    pub(crate) fn of(condition: &Condition, missing: Missing) -> Result<Self, String> {
        let values = |values| Values::of(values, condition.attribute.kind());
        let (wanted, negated) = match &condition.test {
            Test::AnyOf(list) => (Wanted::AnyOf(values(list)?), false),
            Test::NoneOf(list) => (Wanted::AnyOf(values(list)?), true),
            Test::Same(other) => (Wanted::Same(other.clone()), false),
            Test::Differs(other) => (Wanted::Same(other.clone()), true),
            Test::Before(moment) => (Wanted::Before(millis(*moment)), false),
            Test::After(moment) => (Wanted::Before(millis(*moment)), true),
        };
        Ok(Self {
            attribute: condition.attribute.clone(),
            wanted,
            negated,
            missing,
        })
    }

    /// Says whether the condition holds. What is missing never satisfies a grant and always a deny rule or an obligation.
    pub(crate) fn holds(&self, facts: Facts<'_>) -> bool {
        let satisfies = self.missing == Missing::Satisfies;
        let Some(left) = View::of(&self.attribute, facts) else {
            return satisfies;
        };
        let found = match &self.wanted {
            Wanted::AnyOf(values) => left.is_one_of(values),
            Wanted::Same(other) => match View::of(other, facts) {
                Some(other) => left.is(&other),
                None => return satisfies,
            },
            Wanted::Before(moment) => matches!(left, View::Moment(time) if time < *moment),
        };
        if self.negated {
            // An argument that the call does not carry differs from everything, which must not widen a grant.
            !found && (satisfies || !matches!(left, View::Argument(None)))
        } else {
            found
        }
    }
}

impl Values {
    fn of(literals: &[Literal], kind: Kind) -> Result<Self, String> {
        let mut values = Self::default();
        for literal in literals {
            match literal {
                Literal::Text(text) if kind == Kind::Address => {
                    values.networks.push(network(text)?);
                }
                Literal::Text(text) => {
                    values.texts.insert(text.clone());
                }
                Literal::Int(number) => {
                    values.numbers.insert(*number);
                }
                Literal::Bool(flag) => {
                    values.flags.insert(*flag);
                }
            }
        }
        Ok(values)
    }

    /// Says whether an argument is one of these, or a list that shares one.
    fn hold(&self, seen: &Seen<'_>) -> bool {
        match seen {
            Seen::Text(text) => self.texts.contains(*text),
            Seen::Flag(flag) => self.flags.contains(flag),
            Seen::Number(number) => {
                argument::whole(number).is_some_and(|whole| self.numbers.contains(&whole))
            }
            Seen::List(texts) => texts.iter().any(|text| self.texts.contains(*text)),
            Seen::Mixed(entries) => entries.iter().any(|entry| self.hold(&Seen::of(entry))),
            // Lists that cannot be judged are refused before anything is tested.
            Seen::Null | Seen::OtherList | Seen::Object | Seen::Oversized => false,
        }
    }
}

/// One address is a network of its own.
fn network(text: &str) -> Result<IpNet, String> {
    let one = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(one)
        .map_err(|_| format!("no network: {text}"))
}

impl<'a> View<'a> {
    /// Looks an attribute up; `None` where it is missing.
    pub(crate) fn of(attribute: &Attribute, facts: Facts<'a>) -> Option<Self> {
        let Facts { request, held } = facts;
        let (subject, context) = (request.subject, request.context);
        Some(match attribute {
            Attribute::Sub => Self::Text(&subject.sub),
            Attribute::SubjectTenant => Self::Text(subject.known_tenant()?),
            Attribute::Roles => Self::set(&subject.roles),
            Attribute::Scopes => Self::Scopes(held),
            Attribute::Claim(path) => {
                Self::Set(Cow::Owned(argument::claim(&subject.claims, path)?))
            }
            Attribute::Client => Self::Text(context.client?),
            Attribute::CorrId => Self::Text(context.corr_id?),
            Attribute::Ip => Self::Address(context.address()?),
            Attribute::Hour => Self::Hour(context.hour()),
            Attribute::Weekday => Self::Text(context.weekday()),
            Attribute::Time => Self::Moment(millis(context.time)),
            Attribute::Labels => context
                .labels
                .map_or(Self::Set(Cow::Owned(BTreeSet::new())), Self::set),
            Attribute::Argument(path) => Self::Argument(argument(context.arguments?, path)),
            of_tool => return Self::of_tool(of_tool, &request),
        })
    }

    fn of_tool(attribute: &Attribute, request: &Request<'a>) -> Option<Self> {
        let tool = request.resource?;
        Some(match attribute {
            Attribute::ToolId => Self::Text(&tool.tool_id),
            Attribute::ProviderId => Self::Text(&tool.provider_id),
            Attribute::ResourceTenant => {
                Self::Text(tool.tenant_seen(request.subject, request.action)?)
            }
            Attribute::Public => Self::Flag(tool.is_public()),
            Attribute::ReadOnly => Self::Flag(tool.read_only),
            Attribute::SafetyTags => Self::set(&tool.safety_tags),
            Attribute::RequiredScopes => Self::set(&tool.required_scopes),
            Attribute::Classification => Self::Text(tool.classification.as_deref()?),
            _ => return None,
        })
    }

    const fn set(values: &'a BTreeSet<String>) -> Self {
        Self::Set(Cow::Borrowed(values))
    }

    fn is_one_of(&self, values: &Values) -> bool {
        match self {
            Self::Text(text) => values.texts.contains(*text),
            Self::Set(set) => set.iter().any(|text| values.texts.contains(text)),
            Self::Hour(hour) => values.numbers.contains(hour),
            Self::Address(address) => values.networks.iter().any(|known| known.contains(address)),
            Self::Argument(Some(seen)) => values.hold(seen),
            Self::Scopes(held) => values.texts.iter().any(|scope| held.covers(scope)),
            Self::Flag(flag) => values.flags.contains(flag),
            Self::Argument(None) | Self::Moment(_) => false,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(text) | Self::Argument(Some(Seen::Text(text))), Self::Text(other)) => {
                text == other
            }
            (Self::Set(set), Self::Text(other)) => set.contains(*other),
            (Self::Flag(flag), Self::Flag(other)) => flag == other,
            _ => false,
        }
    }
}

/// JSON null is no argument. One that stands in several places is refused before anything is tested (see [`crate::entity::check`]).
pub(crate) fn argument<'a>(arguments: &'a Value, path: &str) -> Option<Seen<'a>> {
    match look_up(arguments.as_object()?, path) {
        Found::One(value) => Some(Seen::of(value)).filter(|seen| *seen != Seen::Null),
        Found::Absent | Found::Several => None,
    }
}

/// Rules compare moments to the millisecond, as Cedar does.
fn millis(moment: Timestamp) -> i128 {
    moment.as_nanosecond().div_euclid(1_000_000)
}
