//! The answer, and the sentence that a refused caller reads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::action::Action;
use crate::obligation::{ConsentLevel, Obligation};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The request may go on, once its obligations are met.
    Allow,
    /// The request is refused.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Why a request was allowed or refused. Its `Display` is written for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// At least one rule allows, none denies, every scope is held.
    Allowed {
        /// The rules that allow, sorted.
        rules: Vec<String>,
    },
    /// No rule allows the request.
    NoRuleAllows {
        /// The action asked for.
        action: Action,
        /// The tool, where the action has one.
        tool: Option<String>,
    },
    /// A rule denies the request.
    RuleDenies {
        /// The rules that deny, sorted.
        rules: Vec<String>,
        /// The first such rule's description.
        description: Option<String>,
    },
    /// The rules allow, but the caller lacks scopes. A step-up can mend it.
    MissingScope {
        /// The scopes that are missing.
        scopes: Vec<String>,
    },
    /// A deny rule could not be evaluated, which denies.
    RuleFailed {
        /// The rules that failed, sorted.
        rules: Vec<String>,
    },
    /// The request lacks something, or holds something that rules cannot judge exactly.
    Undecidable {
        /// What is missing or cannot be judged.
        what: String,
    },
    /// A part of the request exceeds its bound.
    TooLarge {
        /// The part.
        field: &'static str,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { rules } => {
                write!(f, "{} {}", Ticked(rules), plural(rules, "allows", "allow"))
            }
            Self::NoRuleAllows {
                action,
                tool: Some(tool),
            } => write!(f, "no rule allows `{action}` on `{tool}`"),
            Self::NoRuleAllows { action, tool: None } => write!(f, "no rule allows `{action}`"),
            Self::RuleDenies { rules, description } => {
                write!(f, "{} {}", Ticked(rules), plural(rules, "denies", "deny"))?;
                description
                    .iter()
                    .try_for_each(|text| write!(f, ": {text}"))
            }
            Self::MissingScope { scopes } => {
                f.write_str(plural(scopes, "missing scope ", "missing scopes "))?;
                list(f, scopes)
            }
            Self::RuleFailed { rules } => {
                write!(f, "{} could not be evaluated, which denies", Ticked(rules))
            }
            Self::Undecidable { what } => write!(f, "policy cannot decide: {what}"),
            Self::TooLarge { field } => write!(f, "`{field}` is larger than policy accepts"),
        }
    }
}

/// Rule ids in a sentence: "rule `a`", "rules `a`, `b`".
struct Ticked<'a>(&'a [String]);

impl fmt::Display for Ticked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(plural(self.0, "rule ", "rules "))?;
        list(f, self.0)
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names
        .iter()
        .enumerate()
        .try_for_each(|(at, name)| write!(f, "{}`{name}`", if at == 0 { "" } else { ", " }))
}

fn plural(of: &[String], one: &'static str, many: &'static str) -> &'static str {
    if of.len() == 1 { one } else { many }
}

/// Which policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyVersion {
    /// SHA-256 over the policy texts, in lower-case hex. The order and the names of the files do not matter.
    pub hash: Arc<str>,
    /// The number that the owner of the set gave it; grows with each reload.
    pub epoch: u64,
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)?;
        f.write_str("@")?;
        self.epoch.fmt(f)
    }
}

impl Serialize for PolicyVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Whether the request may go on.
    pub effect: Effect,
    /// Why; its `Display` is the text for the caller.
    pub reason: Reason,
    /// The rules that made the decision, sorted: those that allow and those that oblige, or those that deny.
    pub policy_ids: Vec<String>,
    /// What an allowed call must still do. Empty when denied.
    pub obligations: BTreeSet<Obligation>,
    /// The policy that decided.
    pub version: PolicyVersion,
}

impl Decision {
    /// Says whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// Returns the consent that the call has to wait for, if it has to.
    #[must_use]
    pub fn confirmation(&self) -> Option<ConsentLevel> {
        self.obligations.iter().find_map(|duty| match duty {
            Obligation::Confirm { level } => Some(*level),
            _ => None,
        })
    }

    /// Says whether the call needs a ticket: it waits for a confirmation or may run only once.
    #[must_use]
    pub fn needs_ticket(&self) -> bool {
        !self.obligations.is_empty()
    }

    pub(crate) fn deny(reason: Reason, policy_ids: Vec<String>, version: &PolicyVersion) -> Self {
        Self {
            effect: Effect::Deny,
            reason,
            policy_ids,
            obligations: BTreeSet::new(),
            version: version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn reasons_read_as_sentences() {
        let texts = [
            Reason::Allowed {
                rules: names(&["a", "b"]),
            },
            Reason::NoRuleAllows {
                action: Action::ToolsInvoke,
                tool: Some("ads:createCampaign".to_owned()),
            },
            Reason::NoRuleAllows {
                action: Action::CatalogList,
                tool: None,
            },
            Reason::RuleDenies {
                rules: names(&["tenant-isolation"]),
                description: Some("a tool of another tenant".to_owned()),
            },
            Reason::MissingScope {
                scopes: names(&["ads.write", "tools.invoke:write"]),
            },
            Reason::RuleFailed {
                rules: names(&["x"]),
            },
            Reason::TooLarge {
                field: "subject.roles",
            },
        ]
        .map(|reason| reason.to_string());
        assert_eq!(
            texts,
            [
                "rules `a`, `b` allow",
                "no rule allows `tools.invoke` on `ads:createCampaign`",
                "no rule allows `catalog:list`",
                "rule `tenant-isolation` denies: a tool of another tenant",
                "missing scopes `ads.write`, `tools.invoke:write`",
                "rule `x` could not be evaluated, which denies",
                "`subject.roles` is larger than policy accepts",
            ]
        );
    }
}
