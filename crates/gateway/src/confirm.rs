//! Asking first: a dangerous call reserves an operation and executes nothing until somebody redeems its ticket.
//!
//! One state machine ([`crate::state::machine`]), four faces: REST hands the action token out, modern MCP seals it in
//! `requestState`, legacy MCP asks on the open stream, and a client that can do none of it is approved elsewhere. All
//! of them reserve and redeem here, in this order of questions: is there such a token, is it this caller's, is it
//! open, is it this call, are the obligations still these. Only a redemption that passes them all uses the ticket up.

use std::time::Duration;

use fastmcp_guard::clock::Timestamp;

use crate::state::{
    StateError,
    ledger::{ATTEMPTS, Draft, Field, Ledger, MAX_ARGUMENT_BYTES},
    machine::{Event, Machine, Status},
    operation::{Binding, Created, IdempotencyKey, Note, OperationId, Report, Row, Stepped},
    ticket::Ticket,
};

pub mod approval;
pub mod token;

#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]
mod model_tests;
#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "a test tells its story from beginning to end"
)]
pub(crate) mod replica_tests;
#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]
mod tests;

use token::{ActionToken, TokenBytes};

/// How confirmations are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a ticket can be redeemed (CONFIRM_TTL_SEC); 1 second to 7 days. Default 300 s.
    pub ttl: Duration,
    /// How long a call can be approved by a person, and then run (APPROVAL_TTL_SEC); 1 second to 7 days. Default 3,600 s.
    pub approval_ttl: Duration,
    /// How many random bytes a token has (ACTION_TOKEN_BYTES). Default 24.
    pub token_bytes: TokenBytes,
    /// How many operations of one tenant and subject may wait for consent; at least 1. Default 100.
    pub max_pending_per_subject: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            approval_ttl: Duration::from_secs(3_600),
            token_bytes: TokenBytes::default(),
            max_pending_per_subject: 100,
        }
    }
}

/// The longest time that a ticket can be redeemed.
const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);

/// A setting is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` takes {range}")]
pub struct InvalidConfig {
    field: &'static str,
    range: &'static str,
}

/// How strong a consent must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Whoever holds the token: the client may have accepted for its user. The default.
    #[default]
    Client,
    /// A person, in an act of their own ([`Confirm::approve`]).
    Person,
    /// A person other than the one who asked.
    OtherPerson,
}

/// A ticket as handed out.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The operation that waits.
    pub operation_id: OperationId,
    /// What redeems it.
    pub action_token: ActionToken,
    /// The first moment at which it cannot be redeemed any more.
    pub expires_at: Timestamp,
    /// Whether it was waiting already, under the same idempotency key or for the same call.
    pub reused: bool,
}

/// What is presented to redeem a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// The call as it is made now.
    pub presented: &'a Binding,
    /// The confirmation's own idempotency key.
    pub idempotency_key: Option<&'a IdempotencyKey>,
    /// How strong a consent policy demands now.
    pub consent: Consent,
}

/// A ticket was not handed out, approved or redeemed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such token or operation, or it is another tool's.
    #[error("action token is not valid")]
    Unknown,
    /// It is another caller's.
    #[error("action token was issued to another caller")]
    OtherCaller,
    /// The arguments differ from those that were asked about.
    #[error("arguments differ from those that the action token was issued for")]
    ChangedArguments,
    /// The tool has changed since.
    #[error("tool has changed since the action token was issued; call it again")]
    DefinitionChanged,
    /// Policy demands something else by now.
    #[error("policy demands something else since the action token was issued; call the tool again")]
    ObligationsChanged,
    /// Nobody redeemed it in time.
    #[error("action token has expired; call the tool again")]
    Expired {
        /// Which operation it was for.
        operation_id: OperationId,
    },
    /// It was redeemed, declined or withdrawn before. Also the answer to a key whose operation is past consent.
    #[error("action token was used: operation is {}", .report.status)]
    Used {
        /// The operation as it stands, with its result if it has one.
        report: Box<Report>,
        /// Whether it was repeated under its own idempotency key, and so is to be replayed.
        idempotent_replay: bool,
    },
    /// A person has to consent first.
    #[error("operation awaits approval")]
    AwaitsApproval {
        /// Which.
        operation_id: OperationId,
    },
    /// The person who asked cannot consent.
    #[error("approval takes another person than the one who asked")]
    SelfApproval,
    /// The idempotency key names another call.
    #[error("idempotency key was used for another call")]
    KeyConflict {
        /// Which.
        operation_id: OperationId,
    },
    /// Too many of the caller's operations wait for consent.
    #[error(
        "{limit} operations await confirmation already; confirm or decline one, or wait until one expires"
    )]
    TooManyPending {
        /// How many may.
        limit: u32,
    },
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The room where calls wait for consent.
#[derive(Clone, Debug)]
pub struct Confirm {
    ledger: Ledger,
    config: Config,
}

impl Confirm {
    /// The room over `ledger`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] names the setting that is out of its range.
    pub fn new(ledger: Ledger, config: Config) -> Result<Self, InvalidConfig> {
        let times = [
            ("CONFIRM_TTL_SEC", config.ttl),
            ("APPROVAL_TTL_SEC", config.approval_ttl),
        ];
        let fits = |ttl: Duration| (Duration::from_secs(1)..=MAX_TTL).contains(&ttl);
        if let Some((field, _)) = times.into_iter().find(|(_, ttl)| !fits(*ttl)) {
            return Err(InvalidConfig {
                field,
                range: "1 to 604800 seconds",
            });
        }
        if config.max_pending_per_subject == 0 {
            return Err(InvalidConfig {
                field: "max_pending_per_subject",
                range: "at least 1",
            });
        }
        Ok(Self { ledger, config })
    }

    /// Reserves an operation for `binding` and its exact `arguments` (canonical JSON), and executes nothing.
    ///
    /// Under the same `key` the same waiting operation is answered, with the same token; and so it is without a key for the
    /// same call of the same caller, for as long as it waits. A changed tool or changed obligations replace it.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyPending`]; [`Refusal::KeyConflict`] when the key names another call; [`Refusal::Used`] when
    /// it names this call and the call is past consent.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have reserved an operation, which then expires.
    pub async fn reserve(
        &self,
        binding: &Binding,
        arguments: &[u8],
        key: Option<&IdempotencyKey>,
    ) -> Result<Issued, Refusal> {
        self.reserve_until(binding, arguments, key, self.config.ttl)
            .await
    }

    /// As [`Confirm::reserve`], for a call that a person has to approve: it waits longer.
    ///
    /// # Errors
    ///
    /// As [`Confirm::reserve`].
    ///
    /// # Cancel safety
    ///
    /// As [`Confirm::reserve`].
    pub async fn submit(
        &self,
        binding: &Binding,
        arguments: &[u8],
        key: Option<&IdempotencyKey>,
    ) -> Result<Issued, Refusal> {
        self.reserve_until(binding, arguments, key, self.config.approval_ttl)
            .await
    }

    async fn reserve_until(
        &self,
        binding: &Binding,
        arguments: &[u8],
        key: Option<&IdempotencyKey>,
        ttl: Duration,
    ) -> Result<Issued, Refusal> {
        if arguments.len() > MAX_ARGUMENT_BYTES {
            return Err(StateError::TooLarge {
                field: "arguments",
                limit: MAX_ARGUMENT_BYTES,
            }
            .into());
        }
        for _ in 0..ATTEMPTS {
            let action_token =
                ActionToken::generate(self.config.token_bytes, self.ledger.random())?;
            let expires_at = self.ledger.now().saturating_add(ttl);
            let draft = Draft {
                binding,
                machine: Machine::reserved(expires_at),
                arguments: Some(arguments),
                token: Some((action_token.expose(), action_token.hash())),
                key,
                max_pending: Some(self.config.max_pending_per_subject),
                attaches: key.is_none(),
            };
            match self.ledger.create(draft).await? {
                (operation_id, Created::New) => {
                    return Ok(Issued {
                        operation_id,
                        action_token,
                        expires_at,
                        reused: false,
                    });
                }
                (_, Created::TooManyPending) => {
                    return Err(Refusal::TooManyPending {
                        limit: self.config.max_pending_per_subject,
                    });
                }
                (_, Created::Existing(row)) => {
                    if let Some(issued) = self.reissue(*row, binding).await? {
                        return Ok(issued);
                    }
                }
            }
        }
        Err(StateError::Contended.into())
    }

    /// The ticket of an operation that waits under the same key, or for the same call; `None` when it was put out of the way.
    async fn reissue(&self, row: Row, binding: &Binding) -> Result<Option<Issued>, Refusal> {
        let row = self.ledger.fresh(row).await?;
        if row.binding.args_digest != binding.args_digest {
            return Err(Refusal::KeyConflict {
                operation_id: row.id,
            });
        }
        match row.machine.status() {
            Status::Reserved | Status::Confirmed => {}
            Status::Expired | Status::Cancelled => return Ok(None),
            _ if !row.machine.keeps_key(self.ledger.now(), row.retain_until) => return Ok(None),
            _ => {
                let report = Box::new(self.ledger.report_of(row)?);
                return Err(Refusal::Used {
                    report,
                    idempotent_replay: true,
                });
            }
        }
        let same_call = row.binding.definition_hash == binding.definition_hash
            && row.binding.obligations == binding.obligations;
        match &row.token_sealed {
            Some(_) if !row.binding.same_caller(binding) => Err(Refusal::KeyConflict {
                operation_id: row.id,
            }),
            Some(sealed) if same_call => {
                let token = self.ledger.open(&row.id, Field::Token, sealed)?;
                let action_token = ActionToken::from_bytes(token).ok_or(StateError::Corrupt {
                    column: "token_sealed",
                })?;
                let expires_at = row.machine.expires_at;
                Ok(Some(Issued {
                    operation_id: row.id,
                    action_token,
                    expires_at,
                    reused: true,
                }))
            }
            // What could not be redeemed any more makes room. If a rival moved it first, the next attempt sees that.
            _ => {
                self.ledger
                    .step(&row.binding.tenant, &row.id, Event::Cancel, Note::default())
                    .await?;
                Ok(None)
            }
        }
    }

    /// Redeems a token: of any number of attempts one gets the [`Ticket`].
    ///
    /// # Errors
    ///
    /// [`Refusal`]; none of them uses the token up.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have claimed the operation; the claim's lease gives it back.
    pub async fn redeem(
        &self,
        token: &str,
        redemption: &Redemption<'_>,
    ) -> Result<Ticket, Refusal> {
        let row = self.presented(token).await?;
        self.claim(row, redemption, None).await
    }

    /// Redeems a token that must be the one of `operation_id`: what modern MCP seals in `requestState`.
    ///
    /// # Errors
    ///
    /// As [`Confirm::redeem`].
    ///
    /// # Cancel safety
    ///
    /// As [`Confirm::redeem`].
    pub async fn redeem_operation(
        &self,
        operation_id: &OperationId,
        token: &str,
        redemption: &Redemption<'_>,
    ) -> Result<Ticket, Refusal> {
        let row = self.presented(token).await?;
        if row.id != *operation_id {
            return Err(Refusal::Unknown);
        }
        self.claim(row, redemption, None).await
    }

    /// Redeems, without its token, an operation that a person has approved: for a client that repeats its call
    /// because it cannot keep a token.
    ///
    /// # Errors
    ///
    /// As [`Confirm::redeem`]; [`Refusal::AwaitsApproval`] unless a person consented.
    ///
    /// # Cancel safety
    ///
    /// As [`Confirm::redeem`].
    pub async fn redeem_approved(
        &self,
        operation_id: &OperationId,
        redemption: &Redemption<'_>,
    ) -> Result<Ticket, Refusal> {
        let row = self
            .ledger
            .row(operation_id)
            .await?
            .ok_or(Refusal::Unknown)?;
        // Without a token the client alone proves nothing.
        let least = match redemption.consent {
            Consent::Client => Consent::Person,
            stronger => stronger,
        };
        self.claim(row, redemption, Some(least)).await
    }

    async fn presented(&self, token: &str) -> Result<Row, Refusal> {
        let hash = token::hash(token).ok_or(Refusal::Unknown)?;
        self.ledger
            .row_of_token(hash)
            .await?
            .ok_or(Refusal::Unknown)
    }

    async fn claim(
        &self,
        mut row: Row,
        redemption: &Redemption<'_>,
        least: Option<Consent>,
    ) -> Result<Ticket, Refusal> {
        let Redemption {
            presented,
            idempotency_key,
            consent,
        } = *redemption;
        let consent = least.unwrap_or(consent);
        presented.check()?;
        if !row.binding.same_caller(presented) {
            return Err(Refusal::OtherCaller);
        }
        if row.binding.tool_id != presented.tool_id {
            return Err(Refusal::Unknown);
        }
        // Before the status: whoever names other arguments is told nothing of what was done.
        if row.binding.args_digest != presented.args_digest {
            return Err(Refusal::ChangedArguments);
        }
        for _ in 0..ATTEMPTS {
            row = self.ledger.fresh(row).await?;
            match row.machine.status() {
                Status::Reserved | Status::Confirmed => {}
                Status::Expired => {
                    return Err(Refusal::Expired {
                        operation_id: row.id,
                    });
                }
                _ => return Err(self.used(row, idempotency_key).await?),
            }
            same_call(&row, presented)?;
            consented(&row, consent)?;
            let (owner, until) = (self.ledger.owner(), self.ledger.claim_until());
            let event = match consent {
                Consent::Client => Event::Redeem { owner, until },
                Consent::Person | Consent::OtherPerson => Event::Claim { owner, until },
            };
            let key = idempotency_key.map(|key| {
                (
                    presented.subject.clone(),
                    presented.tool_id.clone(),
                    key.clone(),
                )
            });
            let policy_version = Some(presented.policy_version.clone());
            let note = Note {
                key,
                policy_version,
                ..Note::default()
            };
            match self
                .ledger
                .step(&presented.tenant, &row.id, event, note)
                .await?
            {
                Stepped::Moved(machine) => {
                    let ticket = Ticket::of(&self.ledger, &presented.tenant, &row.id, machine);
                    return ticket.ok_or_else(|| StateError::Contended.into());
                }
                Stepped::KeyTaken(operation_id) => {
                    return Err(Refusal::KeyConflict { operation_id });
                }
                // A rival was faster: what it did is the answer.
                Stepped::Refused(_) | Stepped::Missing | Stepped::Held => {
                    row = self.ledger.row(&row.id).await?.ok_or(Refusal::Unknown)?;
                }
            }
        }
        Err(StateError::Contended.into())
    }

    async fn used(&self, row: Row, key: Option<&IdempotencyKey>) -> Result<Refusal, StateError> {
        let idempotent_replay = self.ledger.has_key(&row, key).await?;
        let report = Box::new(self.ledger.report_of(row)?);
        Ok(Refusal::Used {
            report,
            idempotent_replay,
        })
    }
}

fn same_call(row: &Row, presented: &Binding) -> Result<(), Refusal> {
    if row.binding.definition_hash != presented.definition_hash {
        return Err(Refusal::DefinitionChanged);
    }
    if row.binding.args_digest != presented.args_digest {
        return Err(Refusal::ChangedArguments);
    }
    if row.binding.obligations != presented.obligations {
        return Err(Refusal::ObligationsChanged);
    }
    Ok(())
}

fn consented(row: &Row, consent: Consent) -> Result<(), Refusal> {
    let given = match (consent, &row.confirmed_by) {
        (Consent::Client, _) | (Consent::Person, Some(_)) => true,
        (Consent::OtherPerson, Some(approver)) => *approver != row.binding.subject,
        (Consent::Person | Consent::OtherPerson, None) => false,
    };
    if given {
        Ok(())
    } else {
        Err(Refusal::AwaitsApproval {
            operation_id: row.id.clone(),
        })
    }
}
