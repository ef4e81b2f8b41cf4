//! A call that goes on after its answer.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_protocol::{Raw, mrtr::InputRequest};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// When a call that may become a task becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Once the gate lets the handler run.
    AtLeaf,
    /// Once the handler says so.
    ByHandler,
}

/// A task under way, as its handler reaches it.
pub(crate) trait Running: fmt::Debug + Send + Sync {
    /// Its id.
    fn id(&self) -> &str;
    /// Asks the client and waits for the answer.
    fn ask<'a>(&'a self, key: &'a str, request: &'a InputRequest) -> BoxFuture<'a, Result<Raw>>;
    /// Says how far it is.
    fn say<'a>(&'a self, message: &'a str) -> BoxFuture<'a, ()>;
}

/// Whether a call is a task by now. Its session makes it one when the call asks for that.
#[derive(Debug)]
pub(crate) struct Promotion {
    begin: Begin,
    stage: Mutex<Stage>,
    settled: Notify,
}

#[derive(Debug)]
enum Stage {
    /// A call like any other.
    Call,
    /// It waits to become a task.
    Wanted,
    /// It could not become one; who waits is told why.
    Refused(Error),
    Task(Arc<dyn Running>),
}

impl Promotion {
    pub(crate) fn new(begin: Begin) -> Self {
        Self {
            begin,
            stage: Mutex::new(Stage::Call),
            settled: Notify::new(),
        }
    }

    /// A call that is a task from its beginning: a later round of one.
    pub(crate) fn of(task: Arc<dyn Running>) -> Self {
        Self {
            begin: Begin::AtLeaf,
            stage: Mutex::new(Stage::Task(task)),
            settled: Notify::new(),
        }
    }

    pub(crate) fn begin(&self) -> Begin {
        self.begin
    }

    /// Whether the call waits to become a task.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(*self.lock(), Stage::Wanted)
    }

    /// Says what became of it.
    pub(crate) fn settle(&self, outcome: Result<Arc<dyn Running>>) {
        *self.lock() = match outcome {
            Ok(task) => Stage::Task(task),
            Err(error) => Stage::Refused(error),
        };
        self.settled.notify_waiters();
    }

    pub(super) fn task(&self) -> Option<Arc<dyn Running>> {
        match &*self.lock() {
            Stage::Task(task) => Some(Arc::clone(task)),
            _ => None,
        }
    }

    /// Asks to become a task and waits until the call is one.
    pub(super) async fn want(&self) -> Result<()> {
        loop {
            let settled = self.settled.notified();
            {
                let mut stage = self.lock();
                match std::mem::replace(&mut *stage, Stage::Wanted) {
                    Stage::Task(task) => {
                        *stage = Stage::Task(task);
                        return Ok(());
                    }
                    Stage::Refused(error) => {
                        *stage = Stage::Call;
                        return Err(error);
                    }
                    Stage::Call | Stage::Wanted => {}
                }
            }
            settled.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
