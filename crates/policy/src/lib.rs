//! Who may do what, with which obligations, and why.
//!
//! Text in, decisions out: this crate reads no file, no environment and no clock. [`Sources`] holds the texts of `policies.yml` and of any
//! `.cedar` files beside it, [`PolicySet::load`] compiles them into one immutable set, [`PolicySet::decide`] answers a [`Request`] and
//! [`PolicySet::explain`] says how the answer came about.
//!
//! The semantics are Cedar's, and only Cedar's: default deny, a forbid always wins, order never matters. What this crate adds:
//!
//! - the strict reading of `policies.yml` (an unknown key, operator, role or value is a load error that names the nearest valid one);
//! - two sets instead of one: *grants* decide, *obligations* say what an allowed call must still do first. A rule that asks for a
//!   confirmation without saying who may call never grants;
//! - closed failure: an attribute that is missing never satisfies a grant and always satisfies a deny rule, and a forbid whose evaluation
//!   fails denies (Cedar alone would skip it);
//! - scopes: a call also needs the scopes that its tool asks for;
//! - slices: of all policies, a request is put only to those whose scope can match;
//! - settling: what these come to for callers whom no policy tells apart, an action and a tool is evaluated once, and kept. Of each call only the
//!   conditions that read the context are left;
//! - two evaluators beside Cedar's: the conditions of rules, and those forms of Cedar that are known, are evaluated on the request itself. The
//!   others are left to Cedar. Every decision is the one that Cedar alone would make of all policies, which property tests hold it to.
//!
//! `docs/policy.md` is the guide for those who write policies.
//!
//! # Examples
//!
//! ```
//! use fastmcp_policy::{Action, Context, Effect, PolicySet, Request, Resource, Sources, Subject};
//!
//! let set = PolicySet::load(&Sources::built_in(), 1)?;
//! let subject = Subject::new("agent-1").tenant("acme").roles(["data-analyst"]);
//! let tool = Resource::new("database:listTables", "database").tenant("public").required_scopes(["database.read"]);
//! let context = Context::at("2026-11-20T09:00:00Z".parse()?);
//! let decision = set.decide(&Request { action: Action::ToolsInvoke, subject: &subject, resource: Some(&tool), context: &context });
//! assert_eq!(decision.effect, Effect::Allow);
//! assert_eq!(decision.policy_ids, ["invoke-database-tools"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The generator of the integration tests also serves the unit tests.
#[cfg(test)]
extern crate self as fastmcp_policy;
#[cfg(test)]
#[path = "../tests/it/generate.rs"]
mod generate;
#[cfg(test)]
mod strange;

mod action;
mod argument;
mod attribute;
mod cache;
mod check;
mod compile;
mod condition;
mod decision;
mod entity;
mod error;
mod explain;
mod expression;
mod key;
mod label;
mod native;
mod obligation;
mod outlook;
mod prepare;
#[cfg(feature = "prove")]
pub mod prove;
mod reads;
mod request;
mod rule;
mod schema;
mod scope;
mod set;
mod settle;
mod slice;
mod source;
mod yaml;

pub use action::Action;
pub use decision::{Decision, Effect, PolicyVersion, Reason};
pub use error::{Fault, LoadError, Place, Problem};
pub use explain::{ConditionLine, Explanation, Outcome, RuleLine, ScopeLine};
pub use label::is_label;
pub use obligation::{ConsentLevel, Obligation};
pub use outlook::{Outlook, Part, Unknown, Verdict};
pub use request::{Context, Request, Resource, Subject};
pub use schema::SCHEMA;
pub use set::{Note, PolicySet};
pub use source::{Source, Sources};

/// The policy that applies when a deployment brings none: the text of the built-in `policies.yml`.
pub const DEFAULT_POLICY: &str = include_str!("../policies.yml");
