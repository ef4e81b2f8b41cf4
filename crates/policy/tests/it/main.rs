//! The policy as a whole: against a second interpreter, against its promises, and the built-in policy against the tables of its guide.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test by its attribute, not the helpers that tests share"
)]

mod built_in;
mod fuzzed;
mod generate;
mod guide;
mod labels;
mod load;
mod native;
mod oracle;
mod promise;
#[cfg(feature = "prove")]
mod prove;
mod regression;

use fastmcp_policy::{Action, Context, Decision, PolicySet, Request, Resource, Sources, Subject};
use jiff::Timestamp;

/// A Friday, 09:30 UTC.
pub(crate) const NOW: &str = "2026-11-20T09:30:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// Loads one YAML text.
pub(crate) fn load(text: &str) -> PolicySet {
    PolicySet::load(&Sources::new().with_yaml("policies.yml", text), 1)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Asks for a call of a tool, with nothing special about the circumstances.
pub(crate) fn invoke(set: &PolicySet, subject: &Subject, tool: &Resource) -> Decision {
    ask(set, Action::ToolsInvoke, subject, Some(tool))
}

pub(crate) fn ask(
    set: &PolicySet,
    action: Action,
    subject: &Subject,
    resource: Option<&Resource>,
) -> Decision {
    set.decide(&Request {
        action,
        subject,
        resource,
        context: &Context::at(now()),
    })
}
