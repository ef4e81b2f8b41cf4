//! What a change of the components was about, and whom it concerns.

use std::{collections::HashSet, sync::Arc};

use super::{Kind, Registry, Sight, Snapshot};
use crate::{call::Moved, component::Component};

/// The components of one change.
type Components = Vec<Arc<Component>>;

/// Those of `kind` that came, went or are not what they were; nothing where only their order is another.
pub(super) fn between(before: &Snapshot, after: &Snapshot, kind: Kind) -> Option<Moved> {
    let known: HashSet<[u8; 32]> = before.hashes(kind).collect();
    let there: HashSet<[u8; 32]> = after.hashes(kind).collect();
    let gone = before
        .of_kind(kind)
        .filter(|c| !there.contains(&c.definition_hash()));
    let new = after
        .of_kind(kind)
        .filter(|c| !known.contains(&c.definition_hash()));
    let moved: Components = gone.chain(new).cloned().collect();
    (!moved.is_empty()).then(|| Arc::new(moved) as Moved)
}

impl Registry {
    /// Whether a change may show to who looks. Whoever it cannot concern must not learn of it: a list that changes for
    /// one tenant says nothing to another.
    pub(crate) fn concerns(&self, sight: &Sight<'_>, moved: Option<&Moved>) -> bool {
        let Some(moved) = moved.and_then(|moved| moved.downcast_ref::<Components>()) else {
            return true;
        };
        let snapshot = self.snapshot();
        moved.iter().any(|component| {
            // What is there though no list shows it may stand in front of something that lists did show.
            sight.visible(component) || (sight.exists(component) && snapshot.has_rival(component))
        })
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_auth::Caller;
    use fastmcp_protocol::tool::{JsonSchema, Tool};
    use futures_util::future::BoxFuture;
    use serde_json::json;

    use super::*;
    use crate::{
        call::{Change, Outcome},
        component::Definition,
        context::Context,
        error::Result,
        gate::{Class, Gate, Input, Leaf, Target},
    };

    /// Shows callers what their name begins with, and keeps from them what begins with another's.
    #[derive(Debug)]
    struct Own;

    impl Gate for Own {
        fn class(&self, caller: &Caller) -> Class {
            Class(caller.subject().into())
        }

        fn exists(&self, caller: &Caller, component: &Component) -> bool {
            let key = component.key();
            key.starts_with("all-") || key.starts_with(caller.subject())
        }

        fn visible(&self, caller: &Caller, component: &Component) -> bool {
            self.exists(caller, component) && !component.key().ends_with("-hidden")
        }

        fn invoke(
            &self,
            context: Context,
            _: Target,
            input: Input,
            leaf: Leaf,
        ) -> BoxFuture<'_, Result<Outcome>> {
            leaf.run(context, input)
        }
    }

    fn tool(name: &str, description: &str) -> Arc<Component> {
        let schema = JsonSchema::from_value(&json!({"type": "object"})).unwrap();
        let mut tool = Tool::new(name.to_owned(), schema);
        tool.description = Some(description.to_owned());
        let handler = |_: Context, _: Input| -> BoxFuture<'static, Result<Outcome>> {
            Box::pin(async { Err(crate::Error::internal("nobody calls it")) })
        };
        Arc::new(Component::new(Definition::Tool(tool), handler))
    }

    #[test]
    fn a_change_concerns_whoever_it_may_show_to() {
        let registry = Registry::new(Vec::new()).unwrap();
        let mut heard = registry.hear();
        let [ann, bob] = ["ann", "bob"].map(|name| {
            Caller::local_as(fastmcp_auth::caller::LocalIdentity {
                subject: name.to_owned(),
                ..Default::default()
            })
        });
        let mut told = |change: &dyn Fn(&mut Vec<Arc<Component>>)| {
            registry.edit(|all| change(all)).unwrap();
            let told = heard.try_recv().unwrap();
            assert_eq!(told.change, Change::List(Kind::Tool));
            [&ann, &bob].map(|caller| {
                let sight = Sight::new(&Own, caller, None);
                registry.concerns(&sight, told.moved.as_ref())
            })
        };
        assert_eq!(told(&|all| all.push(tool("ann-1", "a"))), [true, false]);
        assert_eq!(told(&|all| all.push(tool("all-1", "a"))), [true, true]);
        assert_eq!(told(&|all| all[0] = tool("ann-1", "b")), [true, false]);
        assert_eq!(
            told(&|all| all.push(tool("bob-hidden", "a"))),
            [false, false]
        );
        assert_eq!(told(&|all| all.swap(0, 1)), [true, true], "the order alone");
        assert_eq!(
            told(&|all| drop(all.remove(1))),
            [true, false],
            "it is gone"
        );
        registry.notify(Change::List(Kind::Tool));
        assert!(heard.try_recv().unwrap().moved.is_none());
    }
}
