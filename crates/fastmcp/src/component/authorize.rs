//! Who may use a component: checks, and how they are put together.
//!
//! A check is a function of the caller and the component. The same check filters lists, refuses calls, and
//! decides on completions and subscriptions, at every door: stdio and the process itself have a
//! [local caller](fastmcp_auth::Caller::local), who is checked as any other.
//!
//! ```
//! use fastmcp::{authorize::{Decision, any, require_roles, require_scopes}, prelude::*};
//!
//! /// Deletes everything.
//! #[tool]
//! async fn wipe() -> &'static str {
//!     "gone"
//! }
//!
//! # fn example() -> Result<()> {
//! use fastmcp::IntoTool as _;
//! let server = FastMcp::new("demo")
//!     .tool(wipe.into_tool().auth(any((require_roles(["admin"]), require_scopes(["data:wipe"])))))
//!     // For all components: callers of a tenant alone.
//!     .authorize(|caller, _| Decision::hide_unless(caller.tenant().is_some()))
//!     .build()?;
//! # Ok(())
//! # }
//! ```

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use fastmcp_auth::Caller;

use super::Component;
use crate::error::Error;

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The caller may use the component.
    Allow,
    /// The caller needs these scopes, all of them. Lists do not show the component; a call is refused, over
    /// HTTP with a challenge that names them, so that the client can get a token that has them.
    NeedScopes(Vec<String>),
    /// The caller may not, and is told this. Lists do not show the component.
    Refuse(Cow<'static, str>),
    /// The component does not exist for this caller: lists do not show it, and a call is answered as one of
    /// an unknown component is.
    Hide,
}

impl Decision {
    /// Refuses with `reason` unless `allowed`.
    pub fn refuse_unless(allowed: bool, reason: impl Into<Cow<'static, str>>) -> Self {
        if allowed {
            Self::Allow
        } else {
            Self::Refuse(reason.into())
        }
    }

    /// Hides the component unless `allowed`.
    #[must_use]
    pub const fn hide_unless(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Hide }
    }

    /// Whether it is [`Self::Allow`].
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow)
    }

    /// What both say: the stricter of two refusals, and all scopes that are needed.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Hide, _) | (_, Self::Hide) => Self::Hide,
            (Self::Allow, other) | (other, Self::Allow) => other,
            (Self::Refuse(reason), _) | (_, Self::Refuse(reason)) => Self::Refuse(reason),
            (Self::NeedScopes(mut scopes), Self::NeedScopes(more)) => {
                for scope in more {
                    if !scopes.contains(&scope) {
                        scopes.push(scope);
                    }
                }
                Self::NeedScopes(scopes)
            }
        }
    }

    /// What one of both says: the milder of two refusals, the first of two alike.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let strictness = |decision: &Self| match decision {
            Self::Allow => 0,
            Self::NeedScopes(_) => 1,
            Self::Refuse(_) => 2,
            Self::Hide => 3,
        };
        if strictness(&other) < strictness(&self) {
            other
        } else {
            self
        }
    }

    /// Why a call ends here; `None` where it does not.
    pub(crate) fn refusal(self, component: &Component) -> Option<Error> {
        match self {
            Self::Allow => None,
            Self::NeedScopes(scopes) => Some(Error::insufficient_scope(&scopes)),
            Self::Refuse(reason) => Some(Error::forbidden(reason)),
            Self::Hide => {
                let shown: String = component.key().chars().take(128).collect();
                Some(Error::not_found(format!(
                    "unknown {} `{shown}`",
                    component.kind().as_str()
                )))
            }
        }
    }
}

/// Decides whether a caller may use a component: any function of the two. It is asked often, with every list
/// and call, so it should look at what it is handed and wait for nothing.
pub trait Check: Send + Sync + 'static {
    /// Whether `caller` may use `component`.
    fn decide(&self, caller: &Caller, component: &Component) -> Decision;
}

impl<F> Check for F
where
    F: Fn(&Caller, &Component) -> Decision + Send + Sync + 'static,
{
    fn decide(&self, caller: &Caller, component: &Component) -> Decision {
        self(caller, component)
    }
}

/// A check, shared.
pub(crate) type SharedCheck = Arc<dyn Check>;

/// What all of `checks` say together.
pub(crate) fn decide(checks: &[SharedCheck], caller: &Caller, component: &Component) -> Decision {
    let each = checks.iter().map(|check| check.decide(caller, component));
    each.fold(Decision::Allow, Decision::and)
}

/// Demands all of `scopes`. A caller has a scope where its token names it; a local caller that is not narrowed
/// has every one.
pub fn require_scopes<S: Into<String>>(
    scopes: impl IntoIterator<Item = S>,
) -> impl Fn(&Caller, &Component) -> Decision + Clone + Send + Sync + 'static {
    let scopes: Arc<[String]> = scopes.into_iter().map(Into::into).collect();
    move |caller: &Caller, _: &Component| needs(caller, &scopes)
}

/// Demands one of `roles`. A local caller has the roles that
/// [`FastMcp::local_caller`](crate::FastMcp::local_caller) gives it, and none by default.
pub fn require_roles<S: Into<String>>(
    roles: impl IntoIterator<Item = S>,
) -> impl Fn(&Caller, &Component) -> Decision + Clone + Send + Sync + 'static {
    let roles: Arc<BTreeSet<String>> = Arc::new(roles.into_iter().map(Into::into).collect());
    move |caller: &Caller, _: &Component| {
        if caller.roles().iter().any(|role| roles.contains(role)) {
            return Decision::Allow;
        }
        let named: Vec<_> = roles.iter().map(String::as_str).collect();
        Decision::Refuse(format!("role `{}` is needed", named.join("` or `")).into())
    }
}

/// Demands all of `scopes` for components that are tagged `tag`; the others it allows.
pub fn restrict_tag<S: Into<String>>(
    tag: impl Into<String>,
    scopes: impl IntoIterator<Item = S>,
) -> impl Fn(&Caller, &Component) -> Decision + Clone + Send + Sync + 'static {
    let tag: Arc<str> = tag.into().into();
    let scopes: Arc<[String]> = scopes.into_iter().map(Into::into).collect();
    move |caller: &Caller, component: &Component| {
        if component.tags().contains(&*tag) {
            needs(caller, &scopes)
        } else {
            Decision::Allow
        }
    }
}

fn needs(caller: &Caller, scopes: &[String]) -> Decision {
    if scopes.iter().all(|scope| caller.has_scope(scope)) {
        Decision::Allow
    } else {
        Decision::NeedScopes(scopes.to_vec())
    }
}

/// Several checks: a tuple of up to six, an array or a [`Vec`].
pub trait Checks: Send + Sync + 'static {
    /// What they say one after another.
    fn decide_each(&self, caller: &Caller, component: &Component)
    -> impl Iterator<Item = Decision>;
}

impl<C: Check> Checks for Vec<C> {
    fn decide_each(
        &self,
        caller: &Caller,
        component: &Component,
    ) -> impl Iterator<Item = Decision> {
        self.iter()
            .map(move |check| check.decide(caller, component))
    }
}

impl<C: Check, const N: usize> Checks for [C; N] {
    fn decide_each(
        &self,
        caller: &Caller,
        component: &Component,
    ) -> impl Iterator<Item = Decision> {
        self.iter()
            .map(move |check| check.decide(caller, component))
    }
}

macro_rules! checks_of_tuples {
    ($(($($check:ident),+);)*) => {$(
        #[expect(non_snake_case, reason = "a name for each type and its value")]
        impl<$($check: Check),+> Checks for ($($check,)+) {
            fn decide_each(
                &self,
                caller: &Caller,
                component: &Component,
            ) -> impl Iterator<Item = Decision> {
                let ($($check,)+) = self;
                [$($check.decide(caller, component)),+].into_iter()
            }
        }
    )*};
}

checks_of_tuples! {
    (A);
    (A, B);
    (A, B, C);
    (A, B, C, D);
    (A, B, C, D, E);
    (A, B, C, D, E, F);
}

/// Allows what all of `checks` allow. Of several refusals the strictest counts; the scopes that they need are
/// told together.
pub fn all(
    checks: impl Checks,
) -> impl Fn(&Caller, &Component) -> Decision + Send + Sync + 'static {
    move |caller: &Caller, component: &Component| {
        checks
            .decide_each(caller, component)
            .fold(Decision::Allow, Decision::and)
    }
}

/// Allows what one of `checks` allows; nothing where there are none. Of several refusals the mildest counts.
pub fn any(
    checks: impl Checks,
) -> impl Fn(&Caller, &Component) -> Decision + Send + Sync + 'static {
    move |caller: &Caller, component: &Component| {
        checks
            .decide_each(caller, component)
            .reduce(Decision::or)
            .unwrap_or(Decision::Hide)
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_auth::caller::LocalIdentity;
    use proptest::prelude::*;

    use super::*;
    use crate::ToolBuilder;

    fn component(tag: &str) -> Component {
        let tool = ToolBuilder::new("t", |(): (), _ctx| async { "done" }).tag(tag);
        tool.build().unwrap()
    }

    fn caller(roles: &[&str], scopes: Option<&[&str]>) -> Caller {
        let own = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Caller::local_as(LocalIdentity {
            roles: own(roles),
            scopes: scopes.map(own),
            ..LocalIdentity::default()
        })
    }

    #[test]
    fn scopes_roles_and_tags_are_demanded() {
        let plain = component("plain");
        let (narrow, wide) = (caller(&["dev"], Some(&["a"])), caller(&[], None));
        let needed = Decision::NeedScopes(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(require_scopes(["a"])(&narrow, &plain), Decision::Allow);
        assert_eq!(require_scopes(["a", "b"])(&narrow, &plain), needed);
        assert_eq!(require_scopes(["a", "b"])(&wide, &plain), Decision::Allow);
        assert_eq!(
            require_scopes(["a"])(&Caller::anonymous(), &plain),
            Decision::NeedScopes(vec!["a".to_owned()])
        );
        assert_eq!(
            require_roles(["ops", "dev"])(&narrow, &plain),
            Decision::Allow
        );
        assert_eq!(
            require_roles(["ops", "admin"])(&wide, &plain),
            Decision::Refuse("role `admin` or `ops` is needed".into())
        );
        let restricted = restrict_tag("danger", ["b"]);
        assert_eq!(restricted(&narrow, &plain), Decision::Allow);
        let danger = component("danger");
        assert!(!restricted(&narrow, &danger).is_allowed());
        assert!(restricted(&wide, &danger).is_allowed());
    }

    fn decision() -> impl Strategy<Value = Decision> {
        prop_oneof![
            Just(Decision::Allow),
            Just(Decision::Hide),
            "[a-c]".prop_map(|reason| Decision::Refuse(reason.into())),
            proptest::collection::vec("[a-c]", 1..3).prop_map(Decision::NeedScopes),
        ]
    }

    proptest! {
        #[test]
        fn all_allows_what_each_allows_and_any_what_one_does(said in proptest::collection::vec(decision(), 0..5)) {
            let (someone, something) = (Caller::local(), component("x"));
            let checks: Vec<_> = said
                .iter()
                .cloned()
                .map(|decision| move |_: &Caller, _: &Component| decision.clone())
                .collect();
            let allowed = |d: &Decision| d.is_allowed();
            let both = all(checks.clone())(&someone, &something);
            let one = super::any(checks)(&someone, &something);
            prop_assert_eq!(both.is_allowed(), said.iter().all(allowed));
            prop_assert_eq!(one.is_allowed(), said.iter().any(allowed));
            // One that hides hides from all; from any, only where all hide.
            let hides = |d: &Decision| *d == Decision::Hide;
            prop_assert_eq!(both == Decision::Hide, said.iter().any(hides));
            prop_assert_eq!(one == Decision::Hide, said.iter().all(hides));
        }
    }
}
