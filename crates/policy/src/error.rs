//! Why a policy does not load. Every fault names the file, the rule and what would be right.

use std::fmt;

use crate::action::Action;

/// The most problems that one [`LoadError`] lists.
const PROBLEMS_MAX: usize = 50;

/// A policy that was not loaded, with everything that is wrong with it (at most the first 50).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    problems: Vec<Problem>,
}

impl LoadError {
    /// Returns the problems, in the order of the texts. Never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One fault of a text that Cedar or its compiler told.
    #[cfg(feature = "prove")]
    pub(crate) fn of(file: &str, message: &str) -> Self {
        Self {
            problems: vec![Problem {
                file: file.to_owned(),
                at: None,
                rule: None,
                fault: Fault::Cedar {
                    message: message.to_owned(),
                },
            }],
        }
    }

    /// Fails if anything was found.
    pub(crate) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.truncate(PROBLEMS_MAX);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut problems = self.problems.iter();
        f.write_str("policy not loaded")?;
        if let (Some(only), 1) = (self.problems.first(), self.problems.len()) {
            return write!(f, ": {only}");
        }
        problems.try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for LoadError {}

/// One thing that is wrong with a policy text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the text, as [`Sources`](crate::Sources) was given it.
    pub file: String,
    /// Where in it, as far as it is known.
    pub at: Option<Place>,
    /// The rule's id, if the fault lies in a rule that has one.
    pub rule: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.at.iter().try_for_each(|at| write!(f, ":{at}"))?;
        f.write_str(": ")?;
        self.rule
            .iter()
            .try_for_each(|rule| write!(f, "rule `{rule}`: "))?;
        write!(f, "{}", self.fault)
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters; `None` where the line says enough, as in `policies.yml`.
    pub column: Option<u64>,
}

impl Place {
    /// A line of `policies.yml`; 0 is none.
    pub(crate) fn line(line: u64) -> Option<Self> {
        (line > 0).then_some(Self { line, column: None })
    }

    /// Where the byte at `offset` stands.
    pub(crate) fn of(text: &str, offset: usize) -> Option<Self> {
        let before = text.get(..offset)?;
        let line = before.rsplit('\n').next().unwrap_or_default();
        Some(Self {
            line: before.matches('\n').count() as u64 + 1,
            column: Some(line.chars().count() as u64 + 1),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        self.column
            .iter()
            .try_for_each(|column| write!(f, ":{column}"))
    }
}

/// What can be wrong with a policy text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The text is not YAML.
    #[error("not valid YAML: {message}")]
    Yaml {
        /// The parser's message.
        message: String,
    },
    /// A key that stands twice in one map.
    #[error("the key `{key}` stands here a second time{}; one of the two must go", First(*.first))]
    RepeatedKey {
        /// The key.
        key: String,
        /// The line of the first.
        first: Option<u64>,
    },
    /// The text is not Cedar, or does not fit the schema.
    #[error("not valid Cedar: {message}")]
    Cedar {
        /// The parser's or validator's message.
        message: String,
    },
    /// A bound is exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
    },
    /// A value has the wrong shape.
    #[error("`{key}` must be {expected}, found {found}")]
    Shape {
        /// The key whose value it is.
        key: String,
        /// What is expected.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A key that must be there is not.
    #[error("key `{key}` is missing")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A key that nobody knows.
    #[error("unknown key `{key}`{}", Hint(.nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest valid key.
        nearest: Option<String>,
    },
    /// A condition on something that nobody knows.
    #[error("unknown condition `{key}`{}", Hint(.nearest))]
    UnknownCondition {
        /// The condition's key, or the attribute on its right side.
        key: String,
        /// The nearest valid one.
        nearest: Option<String>,
    },
    /// An operator that nobody knows.
    #[error(
        "`{key}`: unknown operator in `{value}`; use a value, a list, `== attribute` or `!= attribute-or-value`"
    )]
    UnknownOperator {
        /// The condition's key.
        key: String,
        /// The value that holds it.
        value: String,
    },
    /// A suffix that does not fit the attribute.
    #[error("`{key}`: `{suffix}` does not fit this attribute; write {instead}")]
    Suffix {
        /// The condition's key.
        key: String,
        /// The suffix.
        suffix: &'static str,
        /// What to write instead.
        instead: &'static str,
    },
    /// A name of an argument or claim that is none, or could be meant as something else.
    #[error(
        "`{key}`: {what}; an argument or claim of exactly that name stands in quotes: `{quoted}`"
    )]
    Name {
        /// The condition's key.
        key: String,
        /// What is wrong with it.
        what: String,
        /// The name in quotes.
        quoted: String,
    },
    /// Two operators on one attribute.
    #[error(
        "`{key}`: two operators do not go together; write `{attribute} !=`, which takes a list too"
    )]
    TwoOperators {
        /// The condition's key.
        key: String,
        /// The attribute.
        attribute: String,
    },
    /// A value that is none of the accepted ones.
    #[error("`{key}`: unknown value `{value}`; use {}", OneOf(.valid))]
    UnknownValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The accepted values.
        valid: Vec<&'static str>,
    },
    /// A role that no file defines.
    #[error("`{key}`: role `{role}` is not defined under `roles`{}", Hint(.nearest))]
    UnknownRole {
        /// The key that names it.
        key: String,
        /// The role.
        role: String,
        /// The nearest defined role.
        nearest: Option<String>,
    },
    /// Two rules with one id.
    #[error("the id `{id}` is used already in {first}; ids are unique over all files")]
    DuplicateId {
        /// The id.
        id: String,
        /// The file of the first use.
        first: String,
    },
    /// Two definitions of one role.
    #[error("role `{role}` is defined already in {first}; list all its scopes in one place")]
    DuplicateRole {
        /// The role.
        role: String,
        /// The file of the first definition.
        first: String,
    },
    /// A list or map without entries.
    #[error("`{key}` is empty; name at least one entry or leave the key out")]
    Empty {
        /// The key.
        key: String,
    },
    /// A rule without conditions.
    #[error("`when` needs at least one condition; a rule for everything names its actions")]
    NoCondition,
    /// A scope that is not one.
    #[error("`{scope}` is not a scope; a `*` stands only at the end, after a dot, as in `mcp.*`")]
    Scope {
        /// The scope.
        scope: String,
    },
    /// An id that is not one.
    #[error("`{id}` is not an id; use 1 to 128 letters, digits, `-`, `_`, `.` and `:`")]
    Id {
        /// The id.
        id: String,
    },
    /// A pattern where only exact values are compared.
    #[error(
        "`{key}`: `{value}` looks like a pattern, but values are compared exactly; use `resource.provider_id`, or `like` in a .cedar file"
    )]
    Pattern {
        /// The condition's key.
        key: String,
        /// The value.
        value: String,
    },
    /// A bare attribute name where a value is expected.
    #[error(
        "`{key}`: `{value}` would be compared as plain text; write `== {attribute}` to compare with the attribute"
    )]
    BareReference {
        /// The condition's key.
        key: String,
        /// The value.
        value: String,
        /// The attribute that it names or nearly names.
        attribute: String,
    },
    /// Two attributes that cannot be compared.
    #[error(
        "`{left}` cannot be compared with `{right}`; compare it with values, or write the rule in a .cedar file"
    )]
    Incomparable {
        /// The left attribute.
        left: String,
        /// The right attribute.
        right: String,
    },
    /// A value that cannot be read as its attribute's type.
    #[error("`{key}`: `{value}` is not {expected}")]
    Value {
        /// The condition's key.
        key: String,
        /// The value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A duty on a rule that denies.
    #[error(
        "`{key}` has no meaning on a rule that denies; make it `effect: allow` or remove the key"
    )]
    DutyOnDeny {
        /// The key.
        key: &'static str,
    },
    /// A duty on a rule about approving.
    #[error(
        "`approvals.decide` is about who may approve, and has no `require_confirmation`, `approver` or `once`; write a rule of its own for them"
    )]
    DutyOnApproval,
    /// A resource condition on an action without resource.
    #[error(
        "`{key}` needs a resource, but the action `{action}` has none; name other actions or remove the condition"
    )]
    NoResource {
        /// The condition's key.
        key: String,
        /// The action.
        action: Action,
    },
    /// A Cedar policy without `@id`.
    #[error("a policy has no id; write `@id(\"...\")` before it")]
    NoId,
    /// A Cedar template.
    #[error("templates are not supported; write the policy out")]
    Template,
    /// A Cedar annotation that nobody knows.
    #[error("unknown annotation `@{key}`{}", Hint(.nearest))]
    UnknownAnnotation {
        /// The annotation.
        key: String,
        /// The nearest valid one.
        nearest: Option<String>,
    },
    /// A Cedar annotation whose value is none of the accepted ones.
    #[error("`@{key}(\"{value}\")`: use {expected}")]
    Annotation {
        /// The annotation.
        key: &'static str,
        /// Its value.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// A tag name that is computed.
    #[error(
        "`hasTag` and `getTag` need a name in quotes, so that only what is read has to be prepared"
    )]
    ComputedTag,
    /// A question that claims nothing, or several things.
    #[error(
        "a question has exactly one of `never`, `always`, `no_more_than`, `same_as` and `never_fails`"
    )]
    OneClaim,
    /// A duty in a question that has no use for it.
    #[error("`without` belongs to `never`: nothing of this kind is allowed without that duty")]
    WithoutNever,
}

impl Fault {
    /// The annotation of a Cedar policy that is at fault, without its `@`.
    pub(crate) fn annotation(&self) -> Option<&str> {
        match self {
            Self::UnknownAnnotation { key, .. } => Some(key),
            Self::Annotation { key, .. } => Some(key),
            Self::DutyOnDeny { key } => key.strip_prefix('@'),
            Self::UnknownRole { key, .. } => key.strip_prefix('@'),
            Self::Id { .. } => Some("id"),
            _ => None,
        }
    }
}

/// The "did you mean" of an error message.
struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|name| write!(f, "; did you mean `{name}`?"))
    }
}

/// Where a repeated key stands first.
struct First(Option<u64>);

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|line| write!(f, ", first on line {line}"))
    }
}

/// The accepted values of an error message.
struct OneOf<'a>(&'a [&'static str]);

impl fmt::Display for OneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        self.0.iter().enumerate().try_for_each(|(at, name)| {
            let before = match at {
                0 => "",
                at if at == last => " or ",
                _ => ", ",
            };
            write!(f, "{before}`{name}`")
        })
    }
}

/// Returns the valid name nearest to `given`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let folded = given.to_lowercase();
    valid
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&folded, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, name)| *distance <= (name.len().max(given.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name.to_owned())
}
