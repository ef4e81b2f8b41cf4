//! A process and everything that it started.

use std::sync::{Mutex, PoisonError};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// The process group of a child, as long as it may be signalled.
///
/// INVARIANT: once the child was waited for, its number may be another's. The group is told so at
/// once ([`Group::finish`]) and signals nobody afterwards.
#[derive(Debug)]
pub(super) struct Group {
    #[cfg(unix)]
    leader: Mutex<Option<Pid>>,
    #[cfg(not(unix))]
    leader: Mutex<Option<u32>>,
}

impl Group {
    /// The group that `child` leads.
    pub(super) fn of(child: &Child) -> Self {
        #[cfg(unix)]
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        #[cfg(not(unix))]
        let leader = child.id();
        Self {
            leader: Mutex::new(leader),
        }
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        #[cfg(unix)]
        self.signal(Signal::TERM);
    }

    /// Ends the group.
    pub(super) fn kill(&self) {
        #[cfg(unix)]
        self.signal(Signal::KILL);
    }

    /// Ends what the leader left behind; it was waited for a moment ago.
    pub(super) fn finish(&self) {
        self.kill();
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = *leader
            && let Err(error) = kill_process_group(leader, signal)
        {
            // Nobody may be left of it.
            tracing::debug!(%error, ?signal, "group not signalled");
        }
    }
}
