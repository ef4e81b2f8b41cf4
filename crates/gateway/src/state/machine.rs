//! What may happen to an operation, as a pure function.
//!
//! ```text
//! reserved -> confirmed -> claimed(owner, fence, lease) -> intended -> completed | failed | unknown
//!                                 a call that only reads -> completed | failed
//! beside them: declined, expired, cancelled (before the intent only)
//! ```
//!
//! [`Machine::step`] is the whole truth; a store implements each step as one conditional `UPDATE` with the same
//! condition, and a test runs both over the same events. This room knows no store, no clock and no caller.

use std::{fmt, sync::Arc};

use fastmcp_guard::clock::Timestamp;

#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]
pub(crate) mod model_tests;

/// The longest name of an owner, in bytes.
const MAX_OWNER_BYTES: usize = 128;

/// Who holds a claim: the stable name of one process (a replica's instance id).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

/// A name that is not an [`Owner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instance name takes 1 to {MAX_OWNER_BYTES} printable ASCII characters")]
pub struct InvalidOwner;

impl Owner {
    /// Reads a name: 1 to 128 printable ASCII characters.
    ///
    /// # Errors
    ///
    /// [`InvalidOwner`] for anything else.
    pub fn parse(name: &str) -> Result<Self, InvalidOwner> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > MAX_OWNER_BYTES || !printable {
            return Err(InvalidOwner);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One claim of one operation. Its fence is larger than that of every claim before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it.
    pub owner: Owner,
    /// The claim's number within its operation, from 1.
    pub fence: u64,
}

/// A claim for a limited time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub claim: Claim,
    /// The first moment at which it is over.
    pub until: Timestamp,
}

/// Whether a failed operation changed anything.
///
/// A failure of which neither can be said is no failure but [`State::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happened, and the provider proves it: doing it again is safe.
    None,
    /// The provider gave a definite answer: it would be the same again.
    Definite,
}

impl Effect {
    /// The word in stores and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Definite => "definite",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Definite]
            .into_iter()
            .find(|effect| effect.as_str() == word)
    }
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for; consent is open.
    Reserved,
    /// Consented to, or given back by a claim that did not act: it may be claimed.
    Confirmed,
    /// Held by one claim that has not acted.
    Claimed(Lease),
    /// The effect may be happening. There is no way back.
    Intended(Lease),
    /// Done, with its result.
    Completed,
    /// Not done, definitely.
    Failed(Effect),
    /// Perhaps done. Only the claim that acted, or a person, moves it on.
    Unknown(Claim),
    /// Consent was refused.
    Declined,
    /// Nobody consented or claimed in time.
    Expired,
    /// Withdrawn before it acted.
    Cancelled,
}

/// The name of a [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the `State` of the same name")]
pub enum Status {
    Reserved,
    Confirmed,
    Claimed,
    Intended,
    Completed,
    Failed,
    Unknown,
    Declined,
    Expired,
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Reserved,
        Self::Confirmed,
        Self::Claimed,
        Self::Intended,
        Self::Completed,
        Self::Failed,
        Self::Unknown,
        Self::Declined,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The word in stores, reports and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Confirmed => "confirmed",
            Self::Claimed => "claimed",
            Self::Intended => "intended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether somebody is at work on it right now.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Claimed | Self::Intended)
    }

    /// Whether nothing moves it any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Declined | Self::Expired | Self::Cancelled
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a person settles what is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It did happen.
    Completed,
    /// It did not. Repeating it takes a new call with a new key.
    Failed,
}

/// What may happen to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody consents: `reserved -> confirmed`.
    Confirm,
    /// Consent and claim in one: `reserved | confirmed -> claimed`.
    Redeem {
        /// By whom.
        owner: Owner,
        /// Until when.
        until: Timestamp,
    },
    /// A claim of what others consented to: `confirmed -> claimed`.
    Claim {
        /// By whom.
        owner: Owner,
        /// Until when.
        until: Timestamp,
    },
    /// The effect comes next: `claimed -> intended`, if the claim still holds and has time left.
    Intend {
        /// The claim that acts.
        claim: Claim,
        /// The first moment at which recovery may doubt the outcome.
        until: Timestamp,
    },
    /// More time for a claim that still holds.
    Renew {
        /// Which.
        claim: Claim,
        /// Until when from now on.
        until: Timestamp,
    },
    /// The claim gives up without having acted: `claimed -> confirmed`.
    Release {
        /// Which.
        claim: Claim,
    },
    /// A call that only read has its answer: `claimed -> completed`. It needs no intent, since nothing happened that a claim
    /// which is given back could do twice.
    Answer {
        /// The claim that read.
        claim: Claim,
    },
    /// Done: `intended | unknown -> completed`.
    Complete {
        /// The claim that acted.
        claim: Claim,
    },
    /// Not done: `intended | unknown -> failed`; `claimed -> failed` with [`Effect::None`] only.
    Fail {
        /// The claim that tried.
        claim: Claim,
        /// Whether anything changed.
        effect: Effect,
    },
    /// Perhaps done: `intended -> unknown`.
    Doubt {
        /// The claim that acted.
        claim: Claim,
    },
    /// The lease is over: `claimed -> confirmed`, `intended -> unknown`.
    Recover,
    /// The time to consent or claim is over: `reserved | confirmed -> expired`.
    Expire,
    /// Consent is refused: `reserved | confirmed -> declined`.
    Decline,
    /// Withdrawn: `reserved | confirmed | claimed -> cancelled`.
    Cancel,
    /// A person has found out: `unknown -> completed | failed`.
    Settle(Settlement),
}

impl Event {
    /// The claim that it takes.
    #[must_use]
    pub const fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Intend { claim, .. }
            | Self::Renew { claim, .. }
            | Self::Release { claim }
            | Self::Answer { claim }
            | Self::Complete { claim }
            | Self::Fail { claim, .. }
            | Self::Doubt { claim } => Some(claim),
            Self::Confirm
            | Self::Redeem { .. }
            | Self::Claim { .. }
            | Self::Recover
            | Self::Expire
            | Self::Decline
            | Self::Cancel
            | Self::Settle(_) => None,
        }
    }
}

/// Why an event did not move an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its state does not allow this.
    #[error("operation is {0}")]
    Status(Status),
    /// The time to consent or claim is over.
    #[error("operation has expired")]
    Expired,
    /// Another claim holds it.
    #[error("operation is held by another claim")]
    Fenced,
    /// The claim's time is over.
    #[error("claim has no time left")]
    LeaseOver,
    /// Its time is not over yet, so there is nothing to recover or expire.
    #[error("operation has time left")]
    NotDue,
}

/// An operation, reduced to what decides its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Where it stands.
    pub state: State,
    /// The number of the latest claim; 0 before the first. It never goes down.
    pub fence: u64,
    /// The first moment at which it can be neither consented to nor claimed.
    pub expires_at: Timestamp,
}

impl Machine {
    /// An operation that waits for consent.
    #[must_use]
    pub const fn reserved(expires_at: Timestamp) -> Self {
        Self {
            state: State::Reserved,
            fence: 0,
            expires_at,
        }
    }

    /// An operation that needs no consent, held by its first claim.
    #[must_use]
    pub const fn claimed(owner: Owner, until: Timestamp, expires_at: Timestamp) -> Self {
        let claim = Claim { owner, fence: 1 };
        Self {
            state: State::Claimed(Lease { claim, until }),
            fence: 1,
            expires_at,
        }
    }

    /// The name of its state.
    #[must_use]
    pub const fn status(&self) -> Status {
        match &self.state {
            State::Reserved => Status::Reserved,
            State::Confirmed => Status::Confirmed,
            State::Claimed(_) => Status::Claimed,
            State::Intended(_) => Status::Intended,
            State::Completed => Status::Completed,
            State::Failed(_) => Status::Failed,
            State::Unknown(_) => Status::Unknown,
            State::Declined => Status::Declined,
            State::Expired => Status::Expired,
            State::Cancelled => Status::Cancelled,
        }
    }

    /// Whether somebody did it, is doing it or perhaps did it: whether it holds on to its idempotency key at `now`,
    /// when it is kept until `retain_until`.
    ///
    /// What certainly did nothing gives its key back, so that the call can be made again; a refusal of consent is an
    /// answer and is kept.
    #[must_use]
    pub fn keeps_key(&self, now: Timestamp, retain_until: Timestamp) -> bool {
        match &self.state {
            State::Reserved | State::Confirmed => now < self.expires_at,
            State::Claimed(_) | State::Intended(_) | State::Unknown(_) => true,
            State::Completed | State::Failed(Effect::Definite) | State::Declined => {
                now < retain_until
            }
            State::Failed(Effect::None) | State::Expired | State::Cancelled => false,
        }
    }

    /// Moves on by `event` at `now`.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the event is not possible; the operation then stays as it is.
    pub fn step(&self, event: &Event, now: Timestamp) -> Result<Self, Refused> {
        let state = match event {
            Event::Confirm => self.confirm(now)?,
            Event::Redeem { owner, until } => return self.claim(owner, *until, now, true),
            Event::Claim { owner, until } => return self.claim(owner, *until, now, false),
            Event::Intend { claim, until } => self.intend(claim, *until, now)?,
            Event::Renew { claim, until } => self.renew(claim, *until, now)?,
            Event::Release { claim } => match &self.state {
                State::Claimed(lease) => held(&lease.claim, claim).map(|()| State::Confirmed)?,
                _ => return Err(self.refusal()),
            },
            Event::Answer { claim } => match &self.state {
                State::Claimed(lease) => held(&lease.claim, claim).map(|()| State::Completed)?,
                _ => return Err(self.refusal()),
            },
            Event::Complete { claim } => self.acted(claim).map(|()| State::Completed)?,
            Event::Fail { claim, effect } => self.fail(claim, *effect)?,
            Event::Doubt { claim } => match &self.state {
                State::Intended(lease) => {
                    held(&lease.claim, claim).map(|()| State::Unknown(claim.clone()))?
                }
                _ => return Err(self.refusal()),
            },
            Event::Recover => self.recover(now)?,
            Event::Expire => self.expire(now)?,
            Event::Decline => self.open(now).map(|()| State::Declined)?,
            Event::Cancel => match &self.state {
                State::Reserved | State::Confirmed | State::Claimed(_) => State::Cancelled,
                _ => return Err(self.refusal()),
            },
            Event::Settle(settlement) => self.settle(*settlement)?,
        };
        Ok(Self {
            state,
            fence: self.fence,
            expires_at: self.expires_at,
        })
    }

    fn confirm(&self, now: Timestamp) -> Result<State, Refused> {
        if self.state != State::Reserved {
            return Err(self.refusal());
        }
        self.open(now).map(|()| State::Confirmed)
    }

    fn claim(
        &self,
        owner: &Owner,
        until: Timestamp,
        now: Timestamp,
        consents: bool,
    ) -> Result<Self, Refused> {
        if self.state == State::Reserved && !consents {
            return Err(self.refusal());
        }
        self.open(now)?;
        let fence = self.fence.saturating_add(1);
        let claim = Claim {
            owner: owner.clone(),
            fence,
        };
        Ok(Self {
            state: State::Claimed(Lease { claim, until }),
            fence,
            expires_at: self.expires_at,
        })
    }

    fn intend(&self, claim: &Claim, until: Timestamp, now: Timestamp) -> Result<State, Refused> {
        match &self.state {
            State::Claimed(lease) => {
                live(lease, claim, now)?;
                Ok(State::Intended(Lease {
                    claim: claim.clone(),
                    until,
                }))
            }
            _ => Err(self.refusal()),
        }
    }

    fn renew(&self, claim: &Claim, until: Timestamp, now: Timestamp) -> Result<State, Refused> {
        match &self.state {
            State::Claimed(lease) => {
                live(lease, claim, now)?;
                Ok(State::Claimed(Lease {
                    claim: claim.clone(),
                    until,
                }))
            }
            State::Intended(lease) => {
                live(lease, claim, now)?;
                Ok(State::Intended(Lease {
                    claim: claim.clone(),
                    until,
                }))
            }
            _ => Err(self.refusal()),
        }
    }

    fn fail(&self, claim: &Claim, effect: Effect) -> Result<State, Refused> {
        match (&self.state, effect) {
            (State::Claimed(lease), Effect::None) => held(&lease.claim, claim)?,
            _ => self.acted(claim)?,
        }
        Ok(State::Failed(effect))
    }

    fn recover(&self, now: Timestamp) -> Result<State, Refused> {
        match &self.state {
            State::Claimed(lease) | State::Intended(lease) if now < lease.until => {
                Err(Refused::NotDue)
            }
            State::Claimed(_) => Ok(State::Confirmed),
            State::Intended(lease) => Ok(State::Unknown(lease.claim.clone())),
            _ => Err(self.refusal()),
        }
    }

    fn expire(&self, now: Timestamp) -> Result<State, Refused> {
        match &self.state {
            State::Reserved | State::Confirmed if now < self.expires_at => Err(Refused::NotDue),
            State::Reserved | State::Confirmed => Ok(State::Expired),
            _ => Err(self.refusal()),
        }
    }

    fn settle(&self, settlement: Settlement) -> Result<State, Refused> {
        match (&self.state, settlement) {
            (State::Unknown(_), Settlement::Completed) => Ok(State::Completed),
            (State::Unknown(_), Settlement::Failed) => Ok(State::Failed(Effect::Definite)),
            _ => Err(self.refusal()),
        }
    }

    /// Consent and claims are possible.
    fn open(&self, now: Timestamp) -> Result<(), Refused> {
        match &self.state {
            State::Reserved | State::Confirmed if now < self.expires_at => Ok(()),
            State::Reserved | State::Confirmed => Err(Refused::Expired),
            _ => Err(self.refusal()),
        }
    }

    /// The claim is the one that acted; its lease may be over, since nobody else can have acted.
    fn acted(&self, claim: &Claim) -> Result<(), Refused> {
        match &self.state {
            State::Intended(lease) => held(&lease.claim, claim),
            State::Unknown(holder) => held(holder, claim),
            _ => Err(self.refusal()),
        }
    }

    const fn refusal(&self) -> Refused {
        Refused::Status(self.status())
    }
}

fn held(holder: &Claim, claim: &Claim) -> Result<(), Refused> {
    if holder == claim {
        Ok(())
    } else {
        Err(Refused::Fenced)
    }
}

fn live(lease: &Lease, claim: &Claim, now: Timestamp) -> Result<(), Refused> {
    held(&lease.claim, claim)?;
    if now < lease.until {
        Ok(())
    } else {
        Err(Refused::LeaseOver)
    }
}
