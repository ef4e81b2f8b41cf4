//! What can be decided of a request that is only known in part.
//!
//! A table of roles and tools knows neither the caller's name nor the arguments; a record of the past holds arguments as digests alone. For
//! such requests the answer is the set of what may come out. INVARIANT: whatever the unknown parts are, what [`PolicySet::decide`] says is in
//! the set; the set may hold more than can really come out, never less.
//!
//! [`PolicySet::decide`]: crate::PolicySet::decide

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Authorizer, EvalResult, Expression, PolicySet, eval_expression};
use serde::{Serialize, Serializer};

use crate::attribute::Attribute;
use crate::compile::{Clause, Role, Unit};
use crate::decision::{Decision, Effect};
use crate::obligation::{ConsentLevel, Obligation, join};
use crate::prepare::Question;

/// A part of a request that may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The caller's name.
    Sub,
    /// The token's claims, but for those that are named as known.
    Claims,
    /// The call's arguments.
    Arguments,
    /// The client program.
    Client,
    /// The caller's address.
    Ip,
    /// The moment.
    Time,
    /// The correlation id.
    CorrId,
    /// What the caller has read.
    Labels,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 8] = [
        Self::Sub,
        Self::Claims,
        Self::Arguments,
        Self::Client,
        Self::Ip,
        Self::Time,
        Self::CorrId,
        Self::Labels,
    ];

    fn of_context(name: &str) -> Option<Self> {
        Some(match name {
            "arguments" => Self::Arguments,
            "client" => Self::Client,
            "ip" => Self::Ip,
            "corr_id" => Self::CorrId,
            "labels" => Self::Labels,
            "time" | "hour" | "weekday" => Self::Time,
            _ => return None,
        })
    }
}

/// What of a request is not known. What it holds for these parts is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    parts: BTreeSet<Part>,
    claims: BTreeSet<String>,
}

impl Unknown {
    /// These parts are unknown.
    #[must_use]
    pub fn parts(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            parts: parts.into_iter().collect(),
            claims: BTreeSet::new(),
        }
    }

    /// Names claims that are known, present or not, although the others are not.
    #[must_use]
    pub fn but_claims(mut self, paths: impl IntoIterator<Item = String>) -> Self {
        self.claims.extend(paths);
        self
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn has_claim(&self, path: &str) -> bool {
        self.has(Part::Claims) && !self.claims.contains(path)
    }

    fn has_attribute(&self, attribute: &Attribute) -> bool {
        match attribute {
            Attribute::Sub => self.has(Part::Sub),
            Attribute::Claim(path) => self.has_claim(path),
            other => other
                .context_name()
                .and_then(Part::of_context)
                .is_some_and(|part| self.has(part)),
        }
    }

    /// Whether the policy reads anything of it.
    fn touches(&self, unit: &Unit) -> bool {
        let context = unit.reads.context.iter();
        (unit.reads.sub && self.has(Part::Sub))
            || unit.reads.claims.iter().any(|path| self.has_claim(path))
            || context
                .filter_map(|name| Part::of_context(name))
                .any(|part| self.has(part))
    }
}

/// What may become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is refused.
    Deny,
    /// It goes on as it is.
    Allow,
    /// It goes on once it is confirmed.
    Confirm(ConsentLevel),
}

impl Verdict {
    /// Reads what [`fmt::Display`] writes; `confirm` alone is the weakest consent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => match text {
                "deny" => Some(Self::Deny),
                "allow" => Some(Self::Allow),
                "confirm" => Some(Self::Confirm(ConsentLevel::Client)),
                _ => None,
            },
            Some(("confirm", level)) => ConsentLevel::from_name(level).map(Self::Confirm),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Allow => f.write_str("allow"),
            Self::Confirm(level) => write!(f, "confirm:{level}"),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Decision {
    /// What becomes of the request, in one word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.effect, self.confirmation()) {
            (Effect::Deny, _) => Verdict::Deny,
            (Effect::Allow, None) => Verdict::Allow,
            (Effect::Allow, Some(level)) => Verdict::Confirm(level),
        }
    }
}

/// What may be decided of a request that is known in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// What may come out, one or more.
    pub verdicts: BTreeSet<Verdict>,
    /// The rules that certainly take part: those that deny, or those that allow and oblige.
    pub rules: BTreeSet<String>,
    /// The rules on whose unknown parts it depends. Empty when only one verdict is left.
    pub open: BTreeSet<String>,
}

impl Outlook {
    /// The verdict, where only one is left.
    #[must_use]
    pub fn certain(&self) -> Option<Verdict> {
        match self.verdicts.len() {
            1 => self.verdicts.first().copied(),
            _ => None,
        }
    }

    pub(crate) fn denied(rules: BTreeSet<String>) -> Self {
        Self {
            verdicts: BTreeSet::from([Verdict::Deny]),
            rules,
            open: BTreeSet::new(),
        }
    }
}

/// Whether a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    Maybe,
    No,
}

/// What is known of a request beside its rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The caller lacks a scope that the request needs.
    pub(crate) lacks_scopes: bool,
    /// It is allowed unless a rule denies it.
    pub(crate) needs_no_grant: bool,
}

/// Looks at every policy of a slice.
pub(crate) fn outlook(
    authorizer: &Authorizer,
    units: &[Arc<Unit>],
    question: &Question<'_>,
    unknown: &Unknown,
    standing: Standing,
) -> Outlook {
    let matches: Vec<_> = units
        .iter()
        .map(|unit| (&**unit, matching(authorizer, unit, question, unknown)))
        .collect();
    let of = |role, how| {
        let found = matches
            .iter()
            .filter(move |(unit, found)| unit.role == role && *found == how);
        found.map(|(unit, _)| *unit).collect::<Vec<_>>()
    };
    let denying = of(Role::Forbid, Match::Yes);
    if !denying.is_empty() {
        return Outlook::denied(ids(&denying));
    }
    let (sure, maybe) = (of(Role::Permit, Match::Yes), of(Role::Permit, Match::Maybe));
    let is_granted = standing.needs_no_grant || !sure.is_empty();
    if standing.lacks_scopes || (!is_granted && maybe.is_empty()) {
        return Outlook::denied(ids(&sure));
    }
    let perhaps_denying = of(Role::Forbid, Match::Maybe);
    let (duties, perhaps_duties) = (of(Role::Oblige, Match::Yes), of(Role::Oblige, Match::Maybe));
    let mut verdicts = BTreeSet::new();
    let unjudged: Vec<_> = units
        .iter()
        .filter(|unit| may_be_unjudged(unit, unknown))
        .map(|unit| &**unit)
        .collect();
    if !is_granted || !perhaps_denying.is_empty() || !unjudged.is_empty() {
        verdicts.insert(Verdict::Deny);
    }
    if !is_granted {
        // Only what may permit is left: if it does, the duties of the same rule come with it.
        for permit in &maybe {
            let own = perhaps_duties.iter().filter(|duty| duty.id == permit.id);
            let certain: Vec<_> = duties.iter().chain(own).copied().collect();
            verdicts.extend(allowed(&certain, &perhaps_duties));
        }
    } else {
        verdicts.extend(allowed(&duties, &perhaps_duties));
    }
    let mut open = BTreeSet::new();
    if verdicts.len() > 1 {
        open = ids(&perhaps_denying);
        open.extend(ids(&unjudged));
        open.extend(ids(&perhaps_duties));
        if !is_granted {
            open.extend(ids(&maybe));
        }
    }
    let mut rules = ids(&sure);
    rules.extend(ids(&duties));
    Outlook {
        verdicts,
        rules,
        open,
    }
}

/// What may come of an allowed request: with what certainly obliges, and with each duty that perhaps comes on top.
fn allowed(certain: &[&Unit], perhaps: &[&Unit]) -> BTreeSet<Verdict> {
    let verdict = |units: &mut dyn Iterator<Item = &&Unit>| {
        let duties = join(units.flat_map(|unit| &unit.duties));
        let level = duties.iter().find_map(|duty| match duty {
            Obligation::Confirm { level } => Some(*level),
            _ => None,
        });
        level.map_or(Verdict::Allow, Verdict::Confirm)
    };
    let base = verdict(&mut certain.iter());
    let more = perhaps
        .iter()
        .map(|unit| verdict(&mut certain.iter().chain([unit])));
    more.chain([base]).collect()
}

/// Whether some arguments could not be judged exactly, which denies: those of no type under which the policy looks, lists of lists or beyond
/// bounds, and those that stand in two places, as a dotted path can.
fn may_be_unjudged(unit: &Unit, unknown: &Unknown) -> bool {
    unknown.has(Part::Arguments) && unit.reads.reads_arguments()
}

fn ids(units: &[&Unit]) -> BTreeSet<String> {
    units.iter().map(|unit| unit.id.to_string()).collect()
}

fn matching(
    authorizer: &Authorizer,
    unit: &Unit,
    question: &Question<'_>,
    unknown: &Unknown,
) -> Match {
    // What cannot be evaluated: a grant is void, a deny rule denies, an obligation obliges.
    let failed = match unit.role {
        Role::Permit => Match::No,
        Role::Forbid | Role::Oblige => Match::Yes,
    };
    if !unknown.touches(unit) {
        let Ok(alone) = PolicySet::from_policies([unit.policy.clone()]) else {
            return failed;
        };
        let response = authorizer.is_authorized(&question.request, &alone, &question.entities);
        let diagnostics = response.diagnostics();
        return match (
            diagnostics.reason().next().is_some(),
            diagnostics.errors().next().is_some(),
        ) {
            (_, true) => failed,
            (true, false) => Match::Yes,
            (false, false) => Match::No,
        };
    }
    let known = |clause: &&Clause| !clause.attributes.iter().any(|a| unknown.has_attribute(a));
    for clause in unit.clauses.iter().filter(known) {
        match holds(&clause.expression, question) {
            Some(true) => {}
            Some(false) => return Match::No,
            None => return failed,
        }
    }
    Match::Maybe
}

fn holds(expression: &str, question: &Question<'_>) -> Option<bool> {
    let expression: Expression = expression.parse().ok()?;
    match eval_expression(&question.request, &question.entities, &expression) {
        Ok(EvalResult::Bool(holds)) => Some(holds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::generate::{policy, question};
    use crate::{Context, PolicySet as Policies, Request, Resource, Sources, Subject};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the unknown parts are: the questions of one run stand in for each other's unknown parts.
        #[test]
        fn what_is_decided_was_in_the_outlook(policy in policy(1..12), questions in vec(question(), 8), parts in subsequence(Part::ALL.to_vec(), 0..=8)) {
            let set = Policies::load(&Sources::new().with_yaml("p", policy.to_string()), 1).expect("loads");
            let unknown = Unknown::parts(parts.iter().copied());
            let Some(known) = questions.first() else { return Ok(()) };
            let outlook = known.with(|request| set.outlook(request, &unknown));
            for other in &questions {
                let mut mixed = known.clone();
                for part in &parts {
                    match part {
                        Part::Sub => mixed.subject.sub.clone_from(&other.subject.sub),
                        Part::Claims => mixed.subject.claims.clone_from(&other.subject.claims),
                        Part::Arguments => mixed.arguments.clone_from(&other.arguments),
                        Part::Client => mixed.client.clone_from(&other.client),
                        Part::Ip => mixed.ip = other.ip,
                        Part::Time => mixed.time = other.time,
                        Part::CorrId => {}
                        Part::Labels => mixed.labels.clone_from(&other.labels),
                    }
                }
                let decided = mixed.ask(&set).verdict();
                prop_assert!(outlook.verdicts.contains(&decided), "{decided} is not in {outlook:?}");
                if parts.is_empty() && mixed == *known {
                    prop_assert_eq!(outlook.certain(), Some(decided));
                }
            }
        }
    }

    const POLICY: &str = r#"
version: 1
roles: {agent: ["tools.invoke:write"], reader: ["tools.invoke:read"]}
rules:
  - {id: agents, effect: allow, when: {action: tools.invoke, subject.roles: agent}}
  - {id: small, effect: allow, when: {resource.toolId: "t:pay", subject.roles: reader, context.arguments.small: true}}
  - {id: not-bob, effect: deny, when: {resource.toolId: "t:pay", subject.sub: bob}}
  - {id: ask, effect: allow, when: {resource.toolId: "t:wipe", context.arguments.all: true}, require_confirmation: person}
  - {id: eu, effect: deny, when: {resource.toolId: "t:eu", subject.claims.region: "!= eu"}}
"#;

    fn outlook(role: &str, tool: &str, unknown: &Unknown, claims: &[(&str, &str)]) -> Outlook {
        let cedar = "@id(\"amounts\") forbid (principal, action, resource == Tool::\"t:amount\") when { context has arguments && context.arguments.number.hasTag(\"n\") };
            @id(\"named\") forbid (principal == Caller::\"eve\", action, resource == Tool::\"t:eve\");
            @id(\"within\") forbid (principal in Caller::\"eve\", action, resource == Tool::\"t:within\");
            @id(\"meant\") forbid (principal, action, resource == Tool::\"t:meant\") when { Caller::\"eve\" has tenant };
            @id(\"held\") forbid (principal, action, resource == Tool::\"t:held\") when { principal.roles.contains(\"agent\") };";
        let sources = Sources::new().with_yaml("p", POLICY).with_cedar("c", cedar);
        let set = Policies::load(&sources, 1).expect("loads");
        let mut subject = Subject::new("ann").tenant("acme").roles([role]);
        for (name, value) in claims {
            subject = subject.claim(*name, *value);
        }
        let tool = Resource::new(tool, "t").tenant("public");
        let context = Context::at("2026-11-20T09:00:00Z".parse().expect("a time"));
        set.outlook(
            &Request {
                action: crate::Action::ToolsInvoke,
                subject: &subject,
                resource: Some(&tool),
                context: &context,
            },
            unknown,
        )
    }

    #[test]
    fn an_outlook_names_the_rules_on_which_it_depends() {
        let all = Unknown::parts(Part::ALL);
        let words = |role, tool| {
            let outlook = outlook(role, tool, &all, &[]);
            let verdicts: Vec<_> = outlook.verdicts.iter().map(ToString::to_string).collect();
            let open: Vec<_> = outlook.open.into_iter().collect();
            format!("{} [{}]", verdicts.join("|"), open.join(" "))
        };
        assert_eq!(words("agent", "t:any"), "allow []");
        // A list that cannot be judged is denied.
        assert_eq!(words("agent", "t:wipe"), "deny|allow|confirm:person [ask]");
        assert_eq!(words("agent", "t:pay"), "deny|allow [not-bob]");
        assert_eq!(words("agent", "t:eu"), "deny|allow [eu]");
        assert_eq!(words("agent", "t:amount"), "deny|allow [amounts]");
        assert_eq!(words("agent", "t:eve"), "deny|allow [named]");
        assert_eq!(words("agent", "t:within"), "deny|allow [within]");
        assert_eq!(words("agent", "t:meant"), "deny|allow [meant]");
        assert_eq!(words("agent", "t:held"), "deny []");
        assert_eq!(words("reader", "t:any"), "deny []");
        // The rule may match, but a reader lacks the scope of a writing call.
        assert_eq!(words("reader", "t:pay"), "deny []");
    }

    #[test]
    fn a_claim_that_is_known_to_be_absent_is_known() {
        let of = |claims: &[(&str, &str)]| {
            let unknown = Unknown::parts([Part::Claims]).but_claims(["region".to_owned()]);
            outlook("agent", "t:eu", &unknown, claims).certain()
        };
        assert_eq!(of(&[]), Some(Verdict::Deny));
        assert_eq!(of(&[("region", "eu")]), Some(Verdict::Allow));
    }
}
