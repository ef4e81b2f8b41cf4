//! One call, before anything is known of it but who makes it.

use std::{fmt, sync::Arc};

use data_encoding::HEXLOWER;
use fastmcp_auth::Caller;
use fastmcp_guard::random::Random;
use fastmcp_policy::ConsentLevel;
use fastmcp_protocol::Raw;
use serde_json::{Map, Value};
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
    /// The client program's name, where it gave one.
    pub client: Option<String>,
    /// The session's id, where the call is made in one.
    pub session: Option<String>,
    /// Under which the call happens once.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What confirms it.
    pub presented: Presented,
    /// Whether this caller can be asked to confirm.
    pub can_confirm: bool,
    /// Whether a call that is being done already is waited for, instead of refused.
    pub can_attach: bool,
    /// Fires when the answer is no longer wanted. Ends the call until it has an intent.
    pub cancel: CancellationToken,
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
    /// What is told of the credential: its type, audience and remaining seconds, never its value.
    pub token_meta: Map<String, Value>,
    /// Whether it is the result of an earlier call.
    pub replay: bool,
    /// The durable operation, where there is one.
    pub operation_id: Option<OperationId>,
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
    /// The same call of a short while ago, where there is one.
    pub done_before: Option<OperationId>,
    /// Which person has to approve it, where the client's own confirmation is not enough.
    pub approval: Option<ConsentLevel>,
    /// Whether an earlier call waits already, which this one repeats.
    pub again: bool,
}
