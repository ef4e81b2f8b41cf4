//! The checks of a server and its components, before the gate that the server was given.

use std::sync::Arc;

use fastmcp_auth::Caller;
use futures_util::future::BoxFuture;

use super::{Class, Gate, Input, Leaf, Outcome, Target};
use crate::{
    call::Kind,
    component::{Component, Decision, SharedCheck, authorize},
    context::Context,
    error::{Error, Result},
};

/// A gate behind checks: nothing that they refuse reaches it.
pub(crate) struct Authorized {
    gate: Arc<dyn Gate>,
    checks: Vec<SharedCheck>,
}

impl Authorized {
    pub(crate) fn new(gate: Arc<dyn Gate>, checks: Vec<SharedCheck>) -> Self {
        Self { gate, checks }
    }

    /// Whether every component is checked.
    pub(crate) const fn checks_all(&self) -> bool {
        !self.checks.is_empty()
    }

    /// What the checks of the server and of the component say.
    pub(crate) fn decide(&self, caller: &Caller, component: &Component) -> Decision {
        if self.checks.is_empty() && component.checks().is_empty() {
            return Decision::Allow;
        }
        authorize::decide(&self.checks, caller, component).and(authorize::decide(
            component.checks(),
            caller,
            component,
        ))
    }
}

impl std::fmt::Debug for Authorized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorized")
            .field("gate", &self.gate)
            .field("checks", &self.checks.len())
            .finish()
    }
}

impl Gate for Authorized {
    fn class(&self, caller: &Caller) -> Class {
        self.gate.class(caller)
    }

    fn exists(&self, caller: &Caller, component: &Component) -> bool {
        self.gate.exists(caller, component) && self.decide(caller, component) != Decision::Hide
    }

    fn visible(&self, caller: &Caller, component: &Component) -> bool {
        self.gate.visible(caller, component) && self.decide(caller, component).is_allowed()
    }

    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        let decision = self.decide(context.caller(), target.component());
        match decision.refusal(target.component()) {
            Some(error) => Box::pin(async move { Err(error) }),
            None => self.gate.invoke(context, target, input, leaf),
        }
    }

    fn refused(
        &self,
        context: Context,
        target: Target,
        input: Input,
        error: Error,
    ) -> BoxFuture<'_, Error> {
        match self
            .decide(context.caller(), target.component())
            .refusal(target.component())
        {
            Some(error) => Box::pin(async move { error }),
            None => self.gate.refused(context, target, input, error),
        }
    }

    fn unknown<'a>(
        &'a self,
        context: Context,
        kind: Kind,
        name: &'a str,
        error: Error,
    ) -> BoxFuture<'a, Error> {
        self.gate.unknown(context, kind, name, error)
    }
}
