//! What few requests need, kept out of the way of the others.

use std::sync::Mutex;

use super::inject::Made;

/// What few requests need.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) made: Mutex<Made>,
}
