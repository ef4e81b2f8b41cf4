//! Values of the server that handlers are handed by their type.

use std::{
    any::{Any, TypeId, type_name},
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwapOption;

/// Values that handlers are handed by their type, one of each: connection pools, clients, settings.
///
/// See [`FastMcp::state`](crate::FastMcp::state) and [`State`](crate::context::State).
#[derive(Clone, Default)]
pub struct Values(HashMap<TypeId, Entry>);

#[derive(Clone)]
struct Entry {
    name: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl Values {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `value`, in place of another of its type.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.insert(value);
        self
    }

    /// Adds `value`; whether it took the place of another of its type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        let entry = Entry {
            name: type_name::<T>(),
            value: Arc::new(value),
        };
        self.0.insert(TypeId::of::<T>(), entry).is_some()
    }

    /// The value of type `T`.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let entry = self.0.get(&TypeId::of::<T>())?;
        Arc::clone(&entry.value).downcast().ok()
    }

    fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.values().map(|e| e.name))
            .finish()
    }
}

/// Where a server keeps the values of its handlers: those that it was built with, and those of what
/// runs around it while it serves.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    built: Values,
    /// The types that come once the server runs.
    promised: HashSet<TypeId>,
    running: ArcSwapOption<Values>,
}

impl Shelf {
    pub(crate) fn new(built: Values) -> Self {
        Self {
            built,
            ..Self::default()
        }
    }

    /// Says that a value of type `T` comes before the first call.
    pub(crate) fn promise<T: Send + Sync + 'static>(&mut self) {
        self.promised.insert(TypeId::of::<T>());
    }

    /// Sets the values that are there while the server runs.
    pub(crate) fn run_with(&self, values: Values) {
        self.running.store(Some(Arc::new(values)));
    }

    /// The values that are there while the server runs.
    pub(crate) fn running(&self) -> Values {
        self.running.load().as_deref().cloned().unwrap_or_default()
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.built
            .get()
            .or_else(|| self.running.load().as_ref()?.get())
    }

    /// The first of `needs` that is neither here nor promised.
    pub(crate) fn lacks<'a>(&self, needs: &'a Needs) -> Option<&'a str> {
        let lacked = |need: &&Need| {
            !self.built.has(need.id)
                && !self.promised.contains(&need.id)
                && !self.running.load().as_ref().is_some_and(|r| r.has(need.id))
        };
        needs.0.iter().find(lacked).map(|need| need.name)
    }
}

/// The values that handlers of a component must be handed by the server: known when it is built, so
/// that one that is missing is an error then and not at the first call.
#[derive(Clone, Debug, Default)]
pub struct Needs(Vec<Need>);

#[derive(Clone, Debug)]
struct Need {
    id: TypeId,
    name: &'static str,
}

impl Needs {
    /// Adds that there must be a [`State`](crate::context::State) of type `T`.
    pub fn state<T: Send + Sync + 'static>(&mut self) {
        self.0.push(Need {
            id: TypeId::of::<T>(),
            name: type_name::<T>(),
        });
    }

    /// Adds what somebody else needs.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Whether nothing is needed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
