//! Where the changes of one server are told.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::broadcast;

use super::Change;

/// Changes that a slow listener may be behind by, before it is told that everything changed.
const BACKLOG: usize = 64;

/// A server that shows what another one has.
pub(crate) trait Follow: fmt::Debug + Send + Sync {
    /// The components of the other server are not what they were.
    fn components_changed(&self);

    /// The other server told its subscribers of something.
    fn told(&self, change: &Change);
}

/// What a change is about, in the words of who keeps it.
pub(crate) type Moved = Arc<dyn Any + Send + Sync>;

/// A change as streams hear of it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) change: Change,
    /// What came, went or is not what it was; nothing where that is not known, and so may be anything.
    pub(crate) moved: Option<Moved>,
}

/// Tells the subscribers of one server, and the servers that show what it has. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Changes(Arc<Heard>);

#[derive(Debug)]
struct Heard {
    subscribers: broadcast::Sender<Change>,
    streams: broadcast::Sender<Told>,
    followers: Mutex<Vec<Weak<dyn Follow>>>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Heard {
            subscribers: broadcast::channel(BACKLOG).0,
            streams: broadcast::channel(BACKLOG).0,
            followers: Mutex::default(),
        }))
    }

    /// Tells of a change, here and wherever else it shows.
    pub(crate) fn tell(&self, change: Change) {
        for follower in self.followers() {
            follower.told(&change);
        }
        self.tell_here(change, None);
    }

    /// Tells of a change to the subscribers of this server alone.
    pub(crate) fn tell_here(&self, change: Change, moved: Option<Moved>) {
        // Nobody listening is no failure.
        let _listeners = self.0.subscribers.send(change.clone());
        let _streams = self.0.streams.send(Told { change, moved });
    }

    /// Says to whoever shows the components that they are others.
    pub(crate) fn components_changed(&self) {
        for follower in self.followers() {
            follower.components_changed();
        }
    }

    /// Hears of changes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.subscribers.subscribe()
    }

    /// Hears of changes from now on, and what they are about.
    pub(crate) fn hear(&self) -> broadcast::Receiver<Told> {
        self.0.streams.subscribe()
    }

    /// Tells `follower` of changes for as long as somebody holds it.
    pub(crate) fn follow(&self, follower: &Arc<dyn Follow>) {
        let mut followers = self.lock();
        followers.retain(|one| one.strong_count() > 0);
        followers.push(Arc::downgrade(follower));
    }

    /// Taken out of the lock, since a follower may ask for more than this.
    fn followers(&self) -> Vec<Arc<dyn Follow>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Follow>>> {
        self.0
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
