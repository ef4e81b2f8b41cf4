//! What a server says without being asked.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::{
    client::{ClientBuilder, Notified},
    error::{Error, Result},
};

/// Notifications that are kept; the oldest go first.
const KEPT: usize = 10_000;
/// How long something is waited for that may never come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps what a server says without being asked, and waits for what it is about to say. Clones share what
/// they keep: the last 10,000 notifications.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    heard: Mutex<VecDeque<Notified>>,
    news: Notify,
}

impl Recorder {
    /// Has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hears what the client hears that `builder` makes, which wants every log message and the progress of
    /// every call. Takes the place of another listener to [every
    /// notification](ClientBuilder::on_notification).
    pub fn attach(&self, builder: ClientBuilder) -> ClientBuilder {
        let shared = Arc::clone(&self.0);
        builder.observe().on_notification(move |notified| {
            let mut heard = shared.heard();
            if heard.len() >= KEPT {
                heard.pop_front();
            }
            heard.push_back(notified.clone());
            drop(heard);
            shared.news.notify_waiters();
        })
    }

    /// Everything that was heard, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Notified> {
        self.0.heard().iter().cloned().collect()
    }

    /// Everything that was heard with this method, such as `notifications/message`, in order.
    #[must_use]
    pub fn of(&self, method: &str) -> Vec<Notified> {
        let heard = self.0.heard();
        let of = heard.iter().filter(|notified| notified.method == method);
        of.cloned().collect()
    }

    /// Forgets what was heard, and returns it.
    #[must_use]
    pub fn take(&self) -> Vec<Notified> {
        self.0.heard().drain(..).collect()
    }

    /// Waits until `count` notifications of this method were heard, and returns them.
    ///
    /// # Errors
    ///
    /// When they do not come within 5 s; the message says what came.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(&self, method: &str, count: usize) -> Result<Vec<Notified>> {
        let is_of = |notified: &Notified| notified.method == method;
        self.wait(count, is_of).await.map_err(|came| {
            let methods: Vec<_> = came.into_iter().map(|notified| notified.method).collect();
            Error::internal(format!(
                "no {count} of `{method}` came within {PATIENCE:?}; what came: {methods:?}"
            ))
        })
    }

    /// Waits until `count` notifications were heard that are `wanted`; all that came where they do not.
    pub(super) async fn wait(
        &self,
        count: usize,
        wanted: impl Fn(&Notified) -> bool + Send,
    ) -> std::result::Result<Vec<Notified>, Vec<Notified>> {
        let comes = async {
            loop {
                // Before it is looked: what comes in between wakes this one too.
                let news = self.0.news.notified();
                let found: Vec<_> = {
                    let heard = self.0.heard();
                    heard.iter().filter(|n| wanted(n)).cloned().collect()
                };
                if found.len() >= count {
                    return found;
                }
                news.await;
            }
        };
        timeout(PATIENCE, comes).await.map_err(|_| self.all())
    }
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, VecDeque<Notified>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.heard().iter()).finish()
    }
}
