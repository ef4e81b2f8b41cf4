//! What one caller sees of a server.

use std::sync::Arc;

use fastmcp_auth::Caller;

use super::{Rules, Verdict};
use crate::{component::Component, gate::Gate};

/// The eyes of a caller: what the server shows and hides, what the rules of their session say otherwise, and
/// what the gate, and whoever answers for a component, has to say about the caller.
#[derive(Clone)]
pub(crate) struct Sight<'a> {
    gate: &'a dyn Gate,
    caller: &'a Caller,
    rules: Option<Arc<Rules>>,
}

impl<'a> Sight<'a> {
    pub(crate) const fn new(
        gate: &'a dyn Gate,
        caller: &'a Caller,
        rules: Option<Arc<Rules>>,
    ) -> Self {
        Self {
            gate,
            caller,
            rules,
        }
    }

    /// Who looks.
    pub(crate) const fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Whether their session has rules of its own.
    pub(crate) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether the component is there for them at all.
    pub(crate) fn exists(&self, component: &Component) -> bool {
        self.is_enabled(component)
            && self.gate.exists(self.caller, component)
            && component.exists_behind(self.caller)
    }

    /// Whether their lists show it.
    pub(crate) fn visible(&self, component: &Component) -> bool {
        self.is_enabled(component)
            && self.gate.visible(self.caller, component)
            && component.is_visible_behind(self.caller)
    }

    fn is_enabled(&self, component: &Component) -> bool {
        let said = self.rules.as_ref().and_then(|r| r.decide(component));
        said.map_or(!component.is_disabled(), |said| said == Verdict::Enable)
    }
}
