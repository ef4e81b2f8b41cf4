//! Files that take effect while the gateway runs.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Changes when a file is written, another one takes its place, or who may read it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
    /// When anything of the file changed last, its owner and mode included.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file at `path`; `None` where there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
            #[cfg(not(unix))]
            inode: 0,
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt as _;
                (metadata.ctime(), metadata.ctime_nsec())
            },
            #[cfg(not(unix))]
            changed: (0, 0),
        })
    }
}

/// What was seen when something was loaded last: one change is loaded once, whoever finds it first.
pub(super) struct Seen<S>(Mutex<S>);

impl<S: PartialEq> Seen<S> {
    pub(super) const fn new(seen: S) -> Self {
        Self(Mutex::new(seen))
    }

    /// Loads it, whether it changed or not. What `look` sees is taken before, so that what changes meanwhile is seen as a
    /// change.
    pub(super) fn load<T>(&self, look: impl FnOnce() -> S, load: impl FnOnce() -> T) -> T {
        // A signal and a changed file may come together.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = look();
        load()
    }

    /// Loads it if it changed.
    pub(super) fn load_changed<T>(
        &self,
        look: impl FnOnce() -> S,
        load: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look();
        if now == *seen {
            return None;
        }
        *seen = now;
        Some(load())
    }
}

/// Something outside that is looked at again and again, until `shutdown` fires.
pub(super) struct Watch<S> {
    /// What was seen when the gateway last loaded it.
    pub(super) seen: S,
    /// How long between two looks.
    pub(super) every: Duration,
    /// Says that it is to be loaded now, whether it changed or not.
    pub(super) asked: watch::Receiver<()>,
    pub(super) shutdown: CancellationToken,
}

impl<S: PartialEq> Watch<S> {
    /// Calls `load` whenever what `look` sees has changed, or somebody asks. What cannot be loaded is tried again each time, since somebody
    /// who was meant to be shut out may not be yet; `tell` hears once why.
    pub(super) async fn run<L, F>(mut self, look: impl Fn() -> S, load: L, tell: impl Fn(&str))
    where
        L: Fn() -> F,
        F: Future<Output = Result<(), String>>,
    {
        let mut trouble = None;
        loop {
            let is_asked = tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(self.every) => false,
                Ok(()) = self.asked.changed() => true,
            };
            let now = look();
            if now == self.seen && !is_asked {
                continue;
            }
            match load().await {
                Ok(()) => {
                    self.seen = now;
                    trouble = None;
                }
                Err(error) if trouble.as_ref() == Some(&error) && !is_asked => {}
                Err(error) => {
                    tell(&error);
                    trouble = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_loaded_is_tried_again_and_told_once() {
        let (file, loads, told) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let (every, shutdown) = (Duration::from_secs(1), CancellationToken::new());
        let (ask, asked) = watch::channel(());
        let watch = Watch {
            seen: 0,
            every,
            asked,
            shutdown: shutdown.clone(),
        };
        let watching = watch.run(
            || file.load(Ordering::Relaxed),
            || async {
                let tries = loads.fetch_add(1, Ordering::Relaxed) + 1;
                if tries % 3 == 0 {
                    Ok(())
                } else {
                    Err("locked".to_owned())
                }
            },
            |_| {
                told.fetch_add(1, Ordering::Relaxed);
            },
        );
        let story = async {
            let counts = || (loads.load(Ordering::Relaxed), told.load(Ordering::Relaxed));
            tokio::time::sleep(every * 5).await;
            assert_eq!(counts(), (0, 0), "nothing changed");
            file.store(1, Ordering::Relaxed);
            tokio::time::sleep(every * 10).await;
            assert_eq!(counts(), (3, 1), "twice in vain, then never again");
            file.store(2, Ordering::Relaxed);
            tokio::time::sleep(every * 10).await;
            assert_eq!(counts(), (6, 2), "new trouble is told");
            for told in 3..5 {
                ask.send_replace(());
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(counts().1, told, "who asks hears why");
            }
            ask.send_replace(());
            tokio::time::sleep(every * 10).await;
            assert_eq!(
                counts(),
                (9, 4),
                "at once, though nothing changed, and once"
            );
            shutdown.cancel();
        };
        tokio::join!(watching, story);
    }
}
