//! The seam between resolving and governing.
//!
//! The framework resolves a call to a [`Target`]; a [`Gate`] decides what becomes of it. The
//! [`Leaf`] is the component's own code: it is consumed by value, so it runs at most once, and only
//! the router makes one, so it runs only through a gate.

mod authorized;

use std::{fmt, sync::Arc, time::Duration};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use futures_util::future::BoxFuture;

use crate::{
    call::Kind,
    component::Component,
    context::{Begin, Context},
    error::{Error, Result},
};

pub use crate::call::{Asks, Input, Outcome, Payload};
pub(crate) use authorized::Authorized;

/// Decides who sees what and what becomes of a call.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Callers of one class see the same lists.
    fn class(&self, caller: &Caller) -> Class;

    /// Whether the component exists for this caller at all. What does not is answered as unknown.
    fn exists(&self, caller: &Caller, component: &Component) -> bool {
        let _ = (caller, component);
        true
    }

    /// Whether the caller's lists show the component. Must agree for callers of one class.
    fn visible(&self, caller: &Caller, component: &Component) -> bool;

    /// Handles one call. Arguments are as the client sent them: a gate that governs parses them
    /// once into [`fastmcp_protocol::args::Args`] and hands the leaf what it parsed.
    ///
    /// # Cancel safety
    ///
    /// The future is polled to its end even when the client goes away; a gate decides itself until
    /// when [`Context::cancellation`] ends the call.
    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>>;

    /// Hears of a call that is refused before [`Gate::invoke`], with what it is refused for, and says what its client is
    /// told: what it brings from an earlier round is not of this call, is damaged or has expired
    /// ([`Context::continues`]), or its headers belie its arguments. A gate that keeps records keeps one of it here.
    /// Where the earlier round can be read, [`Context::gate_state`] is what the gate put into it.
    ///
    /// # Cancel safety
    ///
    /// As [`Gate::invoke`].
    fn refused(
        &self,
        context: Context,
        target: Target,
        input: Input,
        error: Error,
    ) -> BoxFuture<'_, Error> {
        drop((context, target, input));
        Box::pin(async move { error })
    }

    /// Hears of a call that comes to no component, and says what its client is told in place of `error`: nothing has
    /// its name, or nothing that this caller may know of, or it cannot be read. A gate that keeps records keeps one of it
    /// here. Of a resource that is not found, clients are told in the words of the specification whatever the gate says.
    /// It does not hear of what a layer answers, nor of calls of a kind of which the server has nothing at all. Nobody
    /// can be asked anything here.
    ///
    /// # Cancel safety
    ///
    /// As [`Gate::invoke`].
    fn unknown<'a>(
        &'a self,
        context: Context,
        kind: Kind,
        name: &'a str,
        error: Error,
    ) -> BoxFuture<'a, Error> {
        let _ = (context, kind, name);
        Box::pin(async move { error })
    }
}

/// Callers that see the same lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class(pub ByteString);

/// A component that was found for a caller. Only the router makes one.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) component: Arc<Component>,
}

impl Target {
    /// The component.
    #[must_use]
    pub fn component(&self) -> &Component {
        &self.component
    }
}

/// The component's own code, for one call.
pub struct Leaf {
    component: Arc<Component>,
    /// Whether a call that may become a task becomes one here, whatever its plan says: the server that
    /// passed it on did not begin it.
    begins: bool,
}

impl Leaf {
    pub(crate) const fn new(component: Arc<Component>) -> Self {
        Self {
            component,
            begins: false,
        }
    }

    /// The leaf of a call that another server passed on.
    pub(crate) fn passed_on(component: Arc<Component>) -> Self {
        Self {
            begins: !component.begins_task(),
            component,
        }
    }

    /// The same code for another try, where that is the same as one.
    pub(crate) fn again(&self) -> Option<Self> {
        self.component.is_repeatable().then(|| Self {
            component: Arc::clone(&self.component),
            begins: self.begins,
        })
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// What the handler returns.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the handler stops where it awaits.
    pub fn run(self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        let begins = context
            .promotion()
            .is_some_and(|p| self.begins || p.begin() == Begin::AtLeaf);
        if !begins {
            let Some(limit) = self.limit(&context) else {
                return self.component.call(context, input);
            };
            let work = self.component.call(context.clone(), input);
            return context.timed(limit, work);
        }
        Box::pin(async move {
            // The gate has let the call through: from here on it may outlive its answer.
            context.begin_task().await?;
            self.component.call(context, input).await
        })
    }
}

impl Leaf {
    /// How long it may take.
    fn limit(&self, context: &Context) -> Option<Duration> {
        let own = self.component.timeout();
        own.or_else(|| match self.component.kind() {
            Kind::Tool => context.home().tool_timeout(),
            _ => None,
        })
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("component", &self.component.key())
            .finish()
    }
}

/// The gate of servers that have no other: everybody who was let in may use what asks for no scope
/// that they lack.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultGate;

impl Gate for DefaultGate {
    fn class(&self, caller: &Caller) -> Class {
        // A caller without scopes of its own may have all of them (local) or none.
        let Some(scopes) = caller.scopes() else {
            return Class(ByteString::from_static(caller.kind().as_str()));
        };
        let mut scopes: Vec<_> = scopes.iter().collect();
        scopes.sort_unstable();
        Class(
            serde_json::json!([caller.kind().as_str(), scopes])
                .to_string()
                .into(),
        )
    }

    fn visible(&self, caller: &Caller, component: &Component) -> bool {
        caller
            .missing_scopes(component.required_scopes())
            .is_empty()
    }

    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        let missing = context
            .caller()
            .missing_scopes(target.component().required_scopes());
        if !missing.is_empty() {
            let error = Error::insufficient_scope(target.component().required_scopes());
            return Box::pin(async move { Err(error) });
        }
        // Never dropped half-way: a handler that is worth stopping early watches its cancellation.
        leaf.run(context, input)
    }
}
