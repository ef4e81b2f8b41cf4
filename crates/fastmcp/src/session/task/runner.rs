//! The process's side of a task that it runs.

use std::{
    convert::Infallible,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    Raw, RpcError,
    mrtr::{InputRequest, InputRequests, InputResponses},
};
use fastmcp_store::{Key, StoreError};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{Again, end_task};
use crate::{
    call::{Outcome, Payload},
    context::{Asking, Context, Earlier, Promotion, Replay, Running},
    engine::{
        Engine,
        session::lock,
        task::{Answer, End, Live, Record, Step},
    },
    error::{Error, Result},
    respond,
};

/// How often a call may ask by its outcome before it counts as stuck.
const MAX_ROUNDS: usize = 10;
/// How long it is waited before the end of a task is tried again to be stored, each time twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A task that this process runs.
pub(super) struct Runner {
    engine: Arc<Engine>,
    key: Key,
    id: String,
    live: Arc<Live>,
    /// How long a question may stay open: as long as the task is kept.
    within: Duration,
    /// What was answered so far: a later round finds it here.
    given: Mutex<InputResponses>,
    said: Mutex<Timestamp>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl Runner {
    pub(super) fn new(engine: &Arc<Engine>, key: Key, record: &Record, live: Arc<Live>) -> Self {
        Self {
            engine: Arc::clone(engine),
            key,
            id: record.id.clone(),
            live,
            within: Duration::from_millis(record.ttl_ms),
            given: Mutex::default(),
            said: Mutex::new(Timestamp::UNIX_EPOCH),
        }
    }

    /// Runs the call to its end and stores what became of it.
    pub(super) async fn run(
        self: Arc<Self>,
        call: BoxFuture<'static, Result<Outcome>>,
        context: Context,
        again: Again,
    ) {
        let rounds = AssertUnwindSafe(self.rounds(call, context, again)).catch_unwind();
        let outcome = tokio::select! {
            biased;
            outcome = rounds => {
                outcome.unwrap_or_else(|_| Err(Error::internal("the handler of a task panicked")))
            }
            never = self.beat() => match never {},
        };
        self.finish(outcome).await;
        self.engine.tasks.leave(&self.key);
    }

    /// Says again and again that the task still runs, and hears whether it is still wanted.
    async fn beat(&self) -> Infallible {
        let tasks = &self.engine.tasks;
        let due = tasks.limits.lease / 3;
        let pause = tasks
            .others_act_within()
            .map_or(due, |often| often.min(due));
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(pause).await;
            let renews = renewed.elapsed() >= due;
            let wanted = if renews {
                renewed = Instant::now();
                tasks.renew(&self.key).await
            } else {
                tasks.is_wanted(&self.key).await
            };
            match wanted {
                Ok(true) => {}
                Ok(false) => self.live.cancel.cancel(),
                Err(error) if renews => {
                    tracing::warn!(%error, "lease of a task could not be renewed")
                }
                // It is looked at again soon.
                Err(_) => {}
            }
        }
    }

    /// The call, and again with the answers where its outcome asks for input.
    async fn rounds(
        self: &Arc<Self>,
        mut call: BoxFuture<'static, Result<Outcome>>,
        mut context: Context,
        again: Again,
    ) -> Result<Payload> {
        for round in 1..=MAX_ROUNDS {
            let asks = match call.await? {
                Outcome::Complete(payload) => return Ok(payload),
                Outcome::InputRequired(asks) => asks,
            };
            let answers = self.ask_all(&context, round, &asks.requests).await?;
            let earlier = Earlier {
                answers,
                gate: asks.state,
                remembered: context.asking().replay().remembered(),
            };
            context = Context::new(
                again.origin.clone(),
                Asking::Replay(Replay::new(earlier)),
                Some(Promotion::of(Arc::clone(self) as Arc<dyn Running>)),
            );
            call = again.call(context.clone());
        }
        Err(Error::internal(format!(
            "input was asked for in {MAX_ROUNDS} rounds already"
        )))
    }

    /// Asks what an outcome asks. No key names two questions of one task, so one that is used gets the
    /// round's number.
    async fn ask_all(
        &self,
        context: &Context,
        round: usize,
        requests: &InputRequests,
    ) -> Result<InputResponses> {
        let asked = requests.iter().map(|(key, request)| async move {
            crate::context::require(context.client_capabilities(), request)?;
            let used = lock(&self.given).get(key).is_some();
            let name = if used {
                format!("{key}.{round}")
            } else {
                key.to_owned()
            };
            Ok::<_, Error>((key, self.ask(&name, request).await?))
        });
        let mut answers = InputResponses::default();
        for (key, answer) in futures_util::future::try_join_all(asked).await? {
            answers.answer(key, &answer)?;
        }
        Ok(answers)
    }

    async fn put(&self, key: &str, request: &InputRequest) -> Result<Raw> {
        let tasks = &self.engine.tasks;
        let now = tasks.now();
        let mut room = true;
        let opened = tasks.change(&self.key, |record| {
            if record.status.is_terminal() {
                return Step::Keep;
            }
            room = record.open(key, request.clone(), now);
            if room { Step::Write } else { Step::Keep }
        });
        let record = opened.await?.ok_or_else(Error::cancelled)?;
        if record.status.is_terminal() {
            return Err(Error::cancelled());
        }
        if !room {
            return Err(Error::internal("the task asks too many questions at once"));
        }
        loop {
            let touched = self.live.touched.notified();
            let mut answer = None;
            let looked = tasks.change(&self.key, |record| {
                answer = record.take_answer(key);
                if answer.is_some() {
                    Step::Quiet
                } else {
                    Step::Keep
                }
            });
            let record = looked.await?.ok_or_else(Error::cancelled)?;
            match answer {
                Some(Answer::Given(answer)) => return Ok(answer),
                Some(Answer::Refused(why)) => return Err(Error::declined(why)),
                None if record.status.is_terminal() => return Err(Error::cancelled()),
                None if record.cancel => self.live.cancel.cancel(),
                None => {}
            }
            tokio::select! {
                () = touched => {}
                // Another process may have taken the answer.
                () = tokio::time::sleep(tasks.limits.poll_interval) => {}
                () = self.live.cancel.cancelled() => return Err(Error::cancelled()),
                () = self.engine.shutdown.cancelled() => {
                    return Err(Error::declined("the server is shutting down"));
                }
            }
        }
    }

    /// Takes back a question that nobody waits for any more.
    async fn withdraw(&self, key: &str) {
        let tasks = &self.engine.tasks;
        let now = tasks.now();
        let withdrawn = tasks.change(&self.key, |record| {
            if record.status.is_terminal() || record.requests.get(key).is_none() {
                return Step::Keep;
            }
            record.close(key, now);
            Step::Write
        });
        if let Err(error) = withdrawn.await {
            tracing::warn!(%error, "a question of a task could not be withdrawn");
        }
    }

    /// Stores how the task ended, and tries as long as nobody may take it for lost. What cannot be stored by
    /// then is found as failed.
    async fn finish(&self, outcome: Result<Payload>) {
        let tasks = &self.engine.tasks;
        let mut end = match outcome {
            // Called off, and it heard of it. What was done all the same, is told.
            Err(_) if self.live.cancel.is_cancelled() => End::Cancelled,
            outcome => match respond::settle(outcome, self.engine.mask) {
                Ok(result) => kept(result, tasks.limits.max_result_bytes),
                Err(error) => End::Failed(error),
            },
        };
        let mut pause = PAUSE;
        let until = Instant::now() + tasks.limits.lease;
        while Instant::now() < until {
            match end_task(&self.engine, &self.key, end.clone()).await {
                Ok(_) => return,
                Err(StoreError::ValueTooLarge { .. } | StoreError::Full { .. })
                    if matches!(end, End::Completed(_)) =>
                {
                    end = End::Failed(RpcError::internal(
                        "the task ended with a result that cannot be kept",
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "end of a task could not be stored");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// A result, unless it is too large to be kept.
pub(super) fn kept(result: Raw, max_bytes: usize) -> End {
    let bytes = result.as_str().len();
    if bytes <= max_bytes {
        return End::Completed(result);
    }
    End::Failed(RpcError::internal(format!(
        "the result has {bytes} bytes; at most {max_bytes} are kept of a task"
    )))
}

impl Running for Runner {
    fn id(&self) -> &str {
        &self.id
    }

    fn ask<'a>(&'a self, key: &'a str, request: &'a InputRequest) -> BoxFuture<'a, Result<Raw>> {
        Box::pin(async move {
            let known = lock(&self.given).get(key).cloned();
            if let Some(answer) = known {
                return Ok(answer);
            }
            let answer = match tokio::time::timeout(self.within, self.put(key, request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::declined("the client did not answer in time")),
            };
            match answer {
                Ok(answer) => {
                    lock(&self.given).answer(key, &answer)?;
                    Ok(answer)
                }
                Err(error) => {
                    self.withdraw(key).await;
                    Err(error)
                }
            }
        })
    }

    fn say<'a>(&'a self, message: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let tasks = &self.engine.tasks;
            let now = tasks.now();
            {
                let mut said = lock(&self.said);
                // Who looks sees no more than one message in this time.
                if now.since(*said) < tasks.limits.poll_interval {
                    return;
                }
                *said = now;
            }
            let written = tasks.change(&self.key, |record| {
                if record.status.is_terminal() {
                    return Step::Keep;
                }
                record.say(message, now);
                Step::Write
            });
            if let Err(error) = written.await {
                tracing::warn!(%error, "message of a task could not be stored");
            }
        })
    }
}
