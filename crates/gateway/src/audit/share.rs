//! Which refusals at the door are recorded: so many in a second that no flood fills the log, and so few of each that none
//! hides another. The number of the others is recorded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use fastmcp_audit::{Draft, Status};
use serde_json::json;

use super::{Audit, From};

/// Recorded in a second of nobody known. Who has no token must not be able to hide what known callers are refused.
const UNKNOWN: u64 = 10;
/// Recorded in a second of known callers together.
const KNOWN: u64 = 50;
/// Recorded in a second of one of them.
const EACH: u64 = 5;

/// What was recorded in this second, and how much was not before.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    second: u64,
    unknown: u64,
    known: u64,
    /// By tenant and subject; as many as there are records at most.
    each: HashMap<(Option<String>, String), u64>,
    /// How many were not recorded, and are not told of yet.
    untold: u64,
}

impl Taken {
    fn admits(&mut self, from: From<'_>) -> bool {
        let From::Caller(caller) = from else {
            return takes(&mut self.unknown, UNKNOWN);
        };
        if self.known >= KNOWN {
            return false;
        }
        let tenant = caller.tenant().map(str::to_owned);
        let own = (tenant, caller.subject().to_owned());
        takes(self.each.entry(own).or_default(), EACH) && takes(&mut self.known, KNOWN)
    }
}

/// Takes one of `most`, if one is left.
const fn takes(taken: &mut u64, most: u64) -> bool {
    let left = *taken < most;
    if left {
        *taken += 1;
    }
    left
}

impl Shares {
    /// Whether a refusal in this second is recorded; then with how many others were not before.
    pub(super) fn take(&self, second: u64, from: From<'_>) -> Option<u64> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.second != second {
            *taken = Taken {
                second,
                untold: taken.untold,
                ..Taken::default()
            };
        }
        if taken.admits(from) {
            return Some(std::mem::take(&mut taken.untold));
        }
        taken.untold += 1;
        None
    }

    fn untold(&self) -> u64 {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut taken.untold)
    }
}

impl Audit {
    /// Records how many refusals at the door were not, where no later one says it.
    pub(super) fn tell_untold(&self) {
        let untold = self.inner.door.untold();
        if untold == 0 {
            return;
        }
        let mut draft = Draft::event("door.unrecorded", Status::Denied);
        let details = draft.details.get_or_insert_default();
        details.put("refusals", &json!(untold));
        self.leave(draft);
    }
}
