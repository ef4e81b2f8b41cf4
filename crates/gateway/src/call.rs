//! One call, before anything is known of it but who makes it.

use std::{fmt, sync::Arc};

use data_encoding::HEXLOWER;
use fastmcp_auth::{Caller, UserAgent};
use fastmcp_guard::random::Random;
use fastmcp_policy::ConsentLevel;
use fastmcp_protocol::Raw;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::state::operation::{IdempotencyKey, OperationId};

/// Ties log lines, records and errors of one request together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrId(Arc<str>);

impl CorrId {
    /// The id that a client sent, if it is 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            (1..=128).contains(&text.len()) && text.bytes().all(|b| (0x21..0x7f).contains(&b));
        fits.then(|| Self(text.into()))
    }

    /// A new id: 16 random bytes in hexadecimal.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        if random.fill(&mut bytes).is_err() {
            tracing::warn!("no randomness for a correlation id");
        }
        Self(HEXLOWER.encode(&bytes).into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a caller presents to confirm an earlier call.
#[derive(Clone, Debug)]
pub enum Presented {
    /// Nothing: this is the first call.
    Nothing,
    /// The action token.
    Token(String),
    /// The action token and the operation that it must belong to: what MCP seals.
    Operation(OperationId, String),
}

/// Whether a caller can be asked to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanConfirm {
    /// It can.
    Yes,
    /// Its client does not say that it can.
    Undeclared,
    /// Its client may have said so when its session began, and the gateway keeps no sessions.
    WithoutSession,
}

/// How a caller that was asked withholds its confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Its user said no.
    Declined,
    /// Its user put the question away.
    Dismissed,
    /// The answer says neither yes nor no.
    Unanswered,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// Its correlation id.
    pub corr_id: CorrId,
    /// The tool, as named by the caller.
    pub tool_id: String,
    /// The arguments, as sent.
    pub args: Option<Raw>,
    /// The client program, as MCP's `clientInfo` names it, where it does; see [`Self::program`].
    pub client: Option<UserAgent>,
    /// The session's id, where the call is made in one.
    pub session: Option<String>,
    /// Under which the call happens once.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What confirms it.
    pub presented: Presented,
    /// Whether this caller can be asked to confirm.
    pub can_confirm: CanConfirm,
    /// Whether a call that is being done already is waited for, instead of refused.
    pub can_attach: bool,
    /// Fires when the answer is no longer wanted. Ends the call until it has an intent.
    pub cancel: CancellationToken,
}

impl Call {
    /// The program that calls, for rules and records: what `clientInfo` says, else the first product of the `User-Agent`.
    /// Nobody vouches for it. It has a [`product`](UserAgent::product).
    #[must_use]
    pub fn program(&self) -> Option<&UserAgent> {
        let named = |agent: &&UserAgent| agent.product().is_some();
        let header = || self.caller.user_agent().filter(named);
        self.client.as_ref().filter(named).or_else(header)
    }

    /// The name that `clientInfo` gives. A `User-Agent` is none: two programs of one caller may do one thing over REST.
    #[must_use]
    pub fn declared_client(&self) -> Option<&str> {
        self.client.as_ref().and_then(UserAgent::product)
    }
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum Done {
    /// With a result.
    Complete(Completed),
    /// It waits for a confirmation.
    Pending(Pending),
}

/// A result.
#[derive(Clone, Debug)]
pub struct Completed {
    /// What the provider returned: a JSON object.
    pub result: Raw,
    /// What is told of the credential.
    pub token_meta: TokenMeta,
    /// Whether it is the result of an earlier call.
    pub replay: bool,
    /// The durable operation, where there is one.
    pub operation_id: Option<OperationId>,
}

/// What is told of a provider's credential: never its value. Nothing where a call needed none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TokenMeta {
    /// Its type, such as `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// For how many seconds it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// For whom it is good, where its provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// The same call of a short while ago.
#[derive(Clone, Debug)]
pub struct DoneBefore {
    /// Which operation it was.
    pub operation_id: OperationId,
    /// When it was done; RFC 3339.
    pub at: String,
    /// With what result, where that was kept and is at most [`Self::MAX_RESULT_BYTES`].
    pub result: Option<Raw>,
}

impl DoneBefore {
    /// The largest result that is told, in bytes.
    pub const MAX_RESULT_BYTES: usize = 16 * 1024;
}

/// What confirms a call that waits.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The operation.
    pub operation_id: OperationId,
    /// The action token, a secret.
    pub action_token: String,
    /// Until when it can be confirmed; RFC 3339.
    pub expires_at: String,
    /// What is to be confirmed, for a person.
    pub summary: String,
    /// The same call of a short while ago, where it was done.
    pub done_before: Option<DoneBefore>,
    /// Which person has to approve it, where the client's own confirmation is not enough.
    pub approval: Option<ConsentLevel>,
    /// Whether an earlier call waits already, which this one repeats.
    pub again: bool,
}
