//! Calls that wait for an answer of their client.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastmcp_protocol::{
    Raw,
    logging::LogMessageParams,
    mrtr::{InputRequest, InputRequests},
};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::DropGuard, task::TaskTracker};

use super::Ended;
use crate::{
    client::{Progress, Step},
    engine::session::random_id,
    error::{Error, Result},
};

/// Calls that may wait at once, and those of one caller: nobody fills the place of all others.
const MAX_PARKED: usize = 1_024;
const MAX_PARKED_PER_CALLER: usize = 64;
/// Events of one call that wait to be passed on.
const EVENTS: usize = 64;

/// What an upstream says during a call.
pub(super) enum Event {
    Progress(Progress),
    Log(Box<LogMessageParams>),
    Asks(Question),
}

/// A question of the upstream that waits for its answer.
pub(super) struct Question {
    pub(super) key: String,
    pub(super) request: InputRequest,
    pub(super) answer: oneshot::Sender<Result<Raw>>,
}

/// A call under way upstream.
pub(super) struct Running {
    pub(super) call: BoxFuture<'static, Result<Step>>,
    pub(super) events: mpsc::Receiver<Event>,
    /// Counts the call among those that may be asked; drops with it.
    pub(super) _under_way: UnderWay,
}

/// A call that waits, with the questions that are open.
pub(super) struct Parked {
    pub(super) running: Running,
    pub(super) open: Vec<Question>,
    principal: String,
    _kept: DropGuard,
}

impl Parked {
    /// What the client is to be asked.
    pub(super) fn requests(&self) -> InputRequests {
        let mut requests = InputRequests::default();
        for question in &self.open {
            requests.set(&question.key, question.request.clone());
        }
        requests
    }
}

/// The calls that wait, and those that may be asked.
#[derive(Default)]
pub(super) struct Parking {
    parked: Mutex<HashMap<String, Parked>>,
    under_way: Mutex<Calls>,
    /// What forgets calls that nobody comes back to.
    tasks: TaskTracker,
}

#[derive(Default)]
struct Calls {
    next: u64,
    open: HashMap<u64, mpsc::Sender<Event>>,
    callers: Callers,
}

/// Who called so far.
#[derive(Default)]
enum Callers {
    #[default]
    Nobody,
    /// One alone: a question that names no call can only be about a call of theirs.
    One(String),
    Several,
}

impl Callers {
    fn note(&mut self, principal: &str) {
        match self {
            Self::Nobody => *self = Self::One(principal.to_owned()),
            Self::One(known) if known != principal => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

/// One call among those that may be asked.
pub(super) struct UnderWay {
    parking: Arc<Parking>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.parking.under_way).open.remove(&self.number);
    }
}

impl Parking {
    /// A channel for the events of one more call, of `principal`.
    pub(super) fn enter(
        self: &Arc<Self>,
        principal: &str,
    ) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>, UnderWay) {
        let (sender, events) = mpsc::channel(EVENTS);
        let mut calls = lock(&self.under_way);
        calls.callers.note(principal);
        calls.next += 1;
        let number = calls.next;
        calls.open.insert(number, sender.clone());
        let under_way = UnderWay {
            parking: Arc::clone(self),
            number,
        };
        (sender, events, under_way)
    }

    /// Asks a question that came outside of any call's stream: of the one call that is under way.
    /// Where there are several, or where somebody else called before, whose late question it may be,
    /// nobody can tell whose it is, and nobody is asked.
    pub(super) async fn ask_the_only_call(
        &self,
        key: String,
        request: InputRequest,
    ) -> Result<Raw> {
        let events = {
            let calls = lock(&self.under_way);
            let mut open = calls.open.values();
            match (&calls.callers, open.next(), open.next()) {
                (Callers::One(_), Some(only), None) => only.clone(),
                _ => {
                    return Err(Error::declined(
                        "the proxy cannot tell which of its calls this question belongs to",
                    ));
                }
            }
        };
        ask(&events, key, request).await
    }

    /// Lets a call of `principal` wait for `within`, and gives the id by which it is found again.
    pub(super) fn park(
        self: &Arc<Self>,
        principal: &str,
        running: Running,
        open: Vec<Question>,
        within: Duration,
    ) -> Result<(String, InputRequests)> {
        let id = random_id()?;
        let given_up = Ended::new();
        let parked = Parked {
            running,
            open,
            principal: principal.to_owned(),
            _kept: given_up.clone().drop_guard(),
        };
        let requests = parked.requests();
        {
            let mut all = lock(&self.parked);
            let own = all.values().filter(|p| p.principal == principal).count();
            if all.len() >= MAX_PARKED || own >= MAX_PARKED_PER_CALLER {
                return Err(Error::tool(
                    "too many calls wait for their clients; try again later",
                ));
            }
            all.insert(id.clone(), parked);
        }
        let (parking, name) = (Arc::clone(self), id.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = given_up.cancelled() => {}
                () = tokio::time::sleep(within) => {
                    // Dropped outside of the lock: the call tells its upstream that it is over.
                    let forgotten = parking.take(&name);
                    drop(forgotten);
                }
            }
        });
        Ok((id, requests))
    }

    /// The call that waits by this id.
    pub(super) fn take(&self, id: &str) -> Option<Parked> {
        lock(&self.parked).remove(id)
    }
}

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parking")
            .field("parked", &lock(&self.parked).len())
            .finish_non_exhaustive()
    }
}

/// Hands a question to whoever drives the call, and waits for the answer.
pub(super) async fn ask(
    events: &mpsc::Sender<Event>,
    key: String,
    request: InputRequest,
) -> Result<Raw> {
    let gone = || Error::declined("the client that called is gone");
    let (answer, answered) = oneshot::channel();
    let question = Question {
        key,
        request,
        answer,
    };
    events
        .send(Event::Asks(question))
        .await
        .map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(parking: &Arc<Parking>, events: &mut mpsc::Receiver<Event>) -> bool {
        let asking = parking.ask_the_only_call("1".to_owned(), InputRequest::ListRoots);
        tokio::select! {
            refused = asking => { assert!(refused.is_err()); false }
            event = events.recv() => matches!(event, Some(Event::Asks(_))),
        }
    }

    #[tokio::test]
    async fn a_question_without_a_call_is_asked_of_nobody_else() {
        let parking = Arc::new(Parking::default());
        let (_sender, mut events, first) = parking.enter("alice");
        assert!(asked(&parking, &mut events).await, "it can only be hers");
        let (_sender, _events, second) = parking.enter("alice");
        assert!(
            !asked(&parking, &mut events).await,
            "which of hers, nobody knows"
        );
        drop((first, second));
        let (_sender, mut events, _third) = parking.enter("bob");
        assert!(
            !asked(&parking, &mut events).await,
            "it may be a late one of alice's"
        );
    }

    #[tokio::test]
    async fn one_caller_does_not_fill_the_place_of_others() {
        let parking = Arc::new(Parking::default());
        let park = |principal: &str| {
            let (_sender, events, under_way) = parking.enter(principal);
            let running = Running {
                call: Box::pin(std::future::pending()),
                events,
                _under_way: under_way,
            };
            parking.park(principal, running, Vec::new(), Duration::from_secs(60))
        };
        for _ in 0..MAX_PARKED_PER_CALLER {
            park("alice").unwrap();
        }
        assert!(park("alice").is_err());
        let (id, _) = park("bob").unwrap();
        assert!(parking.take(&id).is_some());
        assert!(parking.take(&id).is_none(), "once");
    }
}
