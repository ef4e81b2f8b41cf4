//! What a server needs while it lives: made when it starts, given to handlers, undone when it ends.

use std::{
    any::type_name,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;

use crate::{
    context::{Needs, Shelf, Values},
    error::{Error, Result},
};

/// How long all that a lifespan undoes may take.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Makes a part of what a server needs.
pub(crate) type Begin = Box<dyn FnOnce(Lifespan) -> BoxFuture<'static, Result<()>> + Send>;
type End = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Handed to the functions of [`FastMcp::lifespan`](crate::FastMcp::lifespan): takes the values that they give to
/// handlers, and what undoes them. Cheap to clone.
#[derive(Clone)]
pub struct Lifespan(Arc<Shared>);

struct Shared {
    server: String,
    /// What handlers are handed.
    shelf: Arc<Shelf>,
    begun: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    /// Until the server has started.
    values: Option<Values>,
    ends: Vec<End>,
}

impl Shared {
    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Undoes everything, the last first. What panics or hangs does not keep the others from being undone.
    async fn end(&self) {
        let ends = std::mem::take(&mut self.begun().ends);
        let all = async {
            for end in ends.into_iter().rev() {
                let ended = AssertUnwindSafe(async move { end().await });
                if ended.catch_unwind().await.is_err() {
                    tracing::error!(server = self.server, "what ends a lifespan panicked");
                }
            }
        };
        if tokio::time::timeout(END_WITHIN, all).await.is_err() {
            tracing::error!(server = self.server, "lifespan did not end in time");
        }
        self.shelf.run_with(Values::new());
    }
}

impl Lifespan {
    /// Gives handlers a value, one of its type: a connection pool, a client, settings. They take it as
    /// [`State<T>`](crate::State).
    ///
    /// # Errors
    ///
    /// When there is a value of this type, and when the server has started already.
    pub fn provide<T: Send + Sync + 'static>(&self, value: T) -> Result<()> {
        let wrong = |why| {
            let name = type_name::<T>();
            Err(Error::internal(format!(
                "a value of type `{name}` is provided {why}"
            )))
        };
        match &mut self.0.begun().values {
            None => wrong("after the server has started"),
            Some(values) => {
                let built = self.0.shelf.get::<T>().is_some();
                if values.insert(value) || built {
                    return wrong("twice; wrap one in a type of its own");
                }
                Ok(())
            }
        }
    }

    /// What was provided before, by the server or by a lifespan that was added earlier.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let provided = self.0.begun().values.as_ref().and_then(Values::get);
        provided.or_else(|| self.0.shelf.get())
    }

    /// Runs `end` when the server has ended: what was made last is undone first. All together may take 10 s.
    pub fn on_end<F, Fut>(&self, end: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.0.begun().ends.push(Box::new(move || Box::pin(end())));
    }

    /// The name of the server.
    #[must_use]
    pub fn server_name(&self) -> &str {
        &self.0.server
    }
}

impl fmt::Debug for Lifespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifespan")
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}

/// How far a life is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Starting,
    Started,
    /// It could not start, for this reason.
    Failed(Arc<str>),
    Ended,
}

/// What a component needs that a lifespan may provide, and how it is called.
pub(crate) type Needed = (String, Needs);

/// The life of one server.
pub(crate) struct Life {
    lifespan: Lifespan,
    plan: Mutex<(Vec<Begin>, Vec<Needed>)>,
    phase: watch::Sender<Phase>,
    /// Whether calls may come in: what every call asks.
    open: Arc<AtomicBool>,
    /// Doors that are served, and servers that this one is mounted in.
    serving: AtomicUsize,
    is_plain: bool,
}

impl Life {
    /// A life that begins with `begins`, one after another; then what is `needed` must be on the shelf. Without
    /// anything to begin it has begun.
    pub(crate) fn new(
        server: &str,
        shelf: Arc<Shelf>,
        begins: Vec<Begin>,
        needed: Vec<Needed>,
    ) -> Self {
        let is_plain = begins.is_empty();
        let shared = Shared {
            server: server.to_owned(),
            shelf,
            begun: Mutex::default(),
        };
        Self {
            lifespan: Lifespan(Arc::new(shared)),
            plan: Mutex::new((begins, needed)),
            phase: watch::Sender::new(if is_plain {
                Phase::Started
            } else {
                Phase::Waiting
            }),
            open: Arc::new(AtomicBool::new(is_plain)),
            serving: AtomicUsize::new(0),
            is_plain,
        }
    }

    /// What is handed to whatever begins.
    pub(crate) const fn lifespan(&self) -> &Lifespan {
        &self.lifespan
    }

    /// Whether there is nothing to begin and to end.
    pub(crate) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether calls may come in.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Begins, if nobody has, and waits until it has begun. What was begun goes on in `tracker` even if nobody
    /// waits any more.
    pub(crate) async fn start(&self, tracker: &TaskTracker) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        let mut phase = self.phase.subscribe();
        let is_first = self.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Waiting;
            if is_first {
                *phase = Phase::Starting;
            }
            is_first
        });
        if is_first {
            let plan =
                std::mem::take(&mut *self.plan.lock().unwrap_or_else(PoisonError::into_inner));
            let lifespan = self.lifespan.clone();
            let (open, told) = (Arc::clone(&self.open), self.phase.clone());
            drop(tracker.spawn(async move {
                let outcome = begin(&lifespan, plan).await;
                open.store(outcome.is_ok(), Ordering::Release);
                told.send_replace(match outcome {
                    Ok(()) => Phase::Started,
                    Err(error) => Phase::Failed(error.message().into()),
                });
            }));
        }
        let settled = phase
            .wait_for(|phase| !matches!(phase, Phase::Waiting | Phase::Starting))
            .await
            .map(|phase| phase.clone());
        match settled {
            Ok(Phase::Started) => Ok(()),
            Ok(Phase::Failed(reason)) => Err(Error::internal(reason.to_string())),
            _ => Err(Error::internal(format!(
                "server `{}` has ended",
                self.lifespan.server_name()
            ))),
        }
    }

    /// Counts a door as served, or this server as mounted, until [`Self::leave`].
    pub(crate) fn enter(&self) {
        self.serving.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes back one [`Self::enter`].
    pub(crate) fn leave(&self) {
        self.serving.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends it, unless a door is served: nobody is let in any more, and what was begun is undone.
    pub(crate) async fn end(&self) {
        let has_ends = !self.lifespan.0.begun().ends.is_empty();
        // A server that needs nothing undone may serve again.
        if self.serving.load(Ordering::Acquire) > 0 || !has_ends {
            return;
        }
        let is_mine = self.phase.send_if_modified(|phase| {
            let is_mine = *phase == Phase::Started;
            if is_mine {
                *phase = Phase::Ended;
            }
            is_mine
        });
        if is_mine {
            self.open.store(false, Ordering::Release);
            self.lifespan.0.end().await;
        }
    }
}

/// Begins one after another. Where one fails, what was begun before is undone.
async fn begin(lifespan: &Lifespan, (begins, needed): (Vec<Begin>, Vec<Needed>)) -> Result<()> {
    let shared = &lifespan.0;
    shared.begun().values = Some(shared.shelf.running());
    let all = AssertUnwindSafe(async {
        for begin in begins {
            begin(lifespan.clone()).await?;
        }
        Ok(())
    });
    let outcome = all.catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(Error::internal("its lifespan panicked")));
    let values = shared.begun().values.take().unwrap_or_default();
    let outcome = outcome.and_then(|()| {
        shared.shelf.run_with(values);
        let lacks =
            |(what, needs): &Needed| Some((what.clone(), shared.shelf.lacks(needs)?.to_owned()));
        match needed.iter().find_map(lacks) {
            Some((what, lacked)) => Err(lacking(&what, &lacked)),
            None => Ok(()),
        }
    });
    let Err(error) = outcome else {
        return Ok(());
    };
    shared.end().await;
    let server = lifespan.server_name();
    tracing::error!(server, error = error.message(), "server could not start");
    Err(Error::internal(format!(
        "server `{server}` could not start: {}",
        error.message()
    )))
}

/// Says that a component is not given what it needs.
pub(crate) fn lacking(what: &str, lacked: &str) -> Error {
    Error::internal(format!(
        "{what} takes `State<{lacked}>`, and the server has no such value; give it one with `FastMcp::state`, or in a lifespan"
    ))
}

impl Drop for Life {
    /// Undoes in the background what nobody waited for.
    fn drop(&mut self) {
        let has_ends = !self.lifespan.0.begun().ends.is_empty();
        if let (true, Ok(runtime)) = (has_ends, Handle::try_current()) {
            let shared = Arc::clone(&self.lifespan.0);
            drop(TaskTracker::new().spawn_on(async move { shared.end().await }, &runtime));
        }
    }
}
