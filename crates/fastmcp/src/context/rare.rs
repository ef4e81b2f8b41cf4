//! What few requests need, kept out of the way of the others.

use std::sync::{Mutex, OnceLock, atomic::AtomicUsize};

use tokio::{sync::Notify, time::Instant};

use super::{inject::Made, time::Waiting};

/// What few requests need.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) made: Mutex<Made>,
    pub(super) deadline: OnceLock<Instant>,
    pub(super) waiting: Mutex<Waiting>,
    /// How many calls of the own server are under way.
    pub(super) nested: AtomicUsize,
    /// Nobody is asked any more.
    pub(super) answered: Notify,
}
