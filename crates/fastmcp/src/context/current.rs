//! The context of the request that this thread works on.
//!
//! A future's context is put in place while the future is polled and taken away after it, so that it
//! costs two moves per poll and nothing is copied; functions on the blocking pool have theirs too.

use std::cell::Cell;

use super::Context;
use crate::error::{Error, Result};

thread_local! {
    static CURRENT: Cell<Option<Context>> = const { Cell::new(None) };
}

/// Puts a context in place, and what was there before back.
struct Place<'a> {
    slot: &'a mut Option<Context>,
    before: Option<Context>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.slot = CURRENT.replace(self.before.take());
    }
}

/// Runs `work` with the context of `slot` in place; it is in the slot again afterwards.
pub(crate) fn with<R>(slot: &mut Option<Context>, work: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(slot.take());
    let _place = Place { slot, before };
    work()
}

/// The context of the request that is handled here, where one is.
pub(crate) fn current() -> Option<Context> {
    let context = CURRENT.take();
    CURRENT.set(context.clone());
    context
}

/// The context of the request that is handled here, for code that was not handed one.
///
/// It is there in handlers, in middleware, and in what they call and await. It is not in tasks that they
/// spawn: hand it to those, or wrap them in [`Context::scope`].
///
/// # Errors
///
/// When no request is handled here.
pub fn get_context() -> Result<Context> {
    current().ok_or_else(|| {
        Error::internal(
            "no request is handled here; a task that was spawned is wrapped in `Context::scope`",
        )
    })
}

impl Context {
    /// Runs `work` with this context as the current one: for tasks that a handler spawns.
    ///
    /// # Cancel safety
    ///
    /// As `work`.
    pub async fn scope<F>(self, work: F) -> F::Output
    where
        F: Future + Send,
    {
        let mut work = std::pin::pin!(work);
        let mut slot = Some(self);
        std::future::poll_fn(|cx| with(&mut slot, || work.as_mut().poll(cx))).await
    }
}
