//! What is recorded of calls that do not go their way: who withholds a confirmation, and who is refused before it.

use fastmcp_protocol::Raw;
use serde_json::json;

use super::Pipeline;
use crate::{
    audit::Record,
    call::{Call, Completed, Done, TokenMeta, Withheld},
    error::{Code, Error},
    state::operation::OperationId,
};

impl Pipeline {
    /// Records how the caller's user withheld the confirmation that it was asked for.
    ///
    /// The answer says what became of the operation, or that the caller asks too often.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: polled to its end.
    pub async fn withhold(&self, call: &Call, operation: &OperationId, how: Withheld) -> Error {
        let changes = how != Withheld::Unanswered;
        let action = if changes {
            "tools.decline"
        } else {
            "tools.confirm"
        };
        let mut record = self.audit.open(call, action);
        record.operation(operation);
        let withheld = match self.may_withhold(call, &mut record, changes).await {
            Ok(()) => self.consents.withhold(call, operation, how).await,
            Err(refusal) => Err(refusal),
        };
        let word = if how == Withheld::Declined {
            "declined"
        } else {
            "cancelled"
        };
        // That the call is refused is what was asked for.
        let closed = match &withheld {
            Ok(_) => moved(operation, word),
            Err(refusal) => Err(refusal.clone()),
        };
        self.audit.close(record, &closed).await;
        withheld.unwrap_or_else(|refusal| refusal)
    }

    /// Counts the request, and has it in the log first if it `changes` something.
    async fn may_withhold(
        &self,
        call: &Call,
        record: &mut Record,
        changes: bool,
    ) -> Result<(), Error> {
        self.limit.admit_request(&call.caller)?;
        if changes {
            self.audit.intend_change(record).await?;
        }
        Ok(())
    }

    /// Withdraws what waits for the caller's own confirmation, by its action token, and says which operation it was.
    ///
    /// # Errors
    ///
    /// As for a confirmation by that token.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: polled to its end.
    pub async fn decline(&self, call: &Call, token: &str) -> Result<OperationId, Error> {
        let mut record = self.audit.open(call, "tools.decline");
        let outcome = self.declined(call, token, &mut record).await;
        let closed = match &outcome {
            Ok(id) => moved(id, "declined"),
            Err(refusal) => Err(refusal.clone()),
        };
        self.audit.close(record, &closed).await;
        outcome
    }

    async fn declined(
        &self,
        call: &Call,
        token: &str,
        record: &mut Record,
    ) -> Result<OperationId, Error> {
        self.limit.admit_request(&call.caller)?;
        let id = self.consents.own(call, token).await?;
        record.operation(&id);
        self.audit.intend_change(record).await?;
        self.consents.decline(call, &id).await?;
        Ok(id)
    }

    /// Records that a call was refused before its way began, of which `operation` it was if that can be told, and `why`.
    /// Returns what its caller is to be told: it may ask too often for that.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call may not be recorded.
    pub async fn turn_away(
        &self,
        call: &Call,
        (action, operation): (&str, Option<&OperationId>),
        why: Error,
    ) -> Error {
        let mut record = self.audit.open(call, action);
        about(&mut record, action, &call.tool_id);
        if let Some(operation) = operation {
            record.operation(operation);
        }
        let limited = self.limit.admit_request(&call.caller).err();
        let refusal = limited.unwrap_or(why);
        self.audit.close(record, &Err(refusal.clone())).await;
        refusal
    }

    /// Records a call of a tool that the caller does not have.
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`] when the caller asks too often. That there is no such tool is the door's to say.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call may not be recorded.
    pub async fn unknown(&self, call: &Call) -> Result<(), Error> {
        let why = Error::tool_not_found();
        let refusal = self.turn_away(call, ("tools.invoke", None), why).await;
        match refusal.code() {
            Code::NotFound => Ok(()),
            _ => Err(refusal),
        }
    }
}

/// The outcome of what made an operation `status`, for the record.
fn moved(id: &OperationId, status: &str) -> Result<Done, Error> {
    let result = Raw::of(&json!({"status": status})).map_err(Error::internal)?;
    Ok(Done::Complete(Completed {
        result,
        token_meta: TokenMeta::default(),
        replay: false,
        operation_id: Some(id.clone()),
    }))
}

/// Names in a record what `action` is about, where that is no tool. `name` may not have been read.
fn about(record: &mut Record, action: &str, name: &str) {
    let name = Some(name).filter(|name| !name.is_empty());
    match action {
        "catalog:list" | "approvals.list" => record.resource("catalog", None),
        "metrics.read" => record.resource("metrics", None),
        "manifests.register" => record.resource("manifest", name),
        "approvals.show" | "approvals.decide" => record.resource("operation", name),
        _ => {}
    }
}
