//! Who did what, for whoever has to know later.

use std::{fmt, sync::Arc};

use fastmcp_auth::CallerKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Message, Middleware, MiddlewareContext, Next, Response};
use crate::{
    component::{Component, Definition},
    context::{Context, rfc3339},
    error::{ErrorKind, Result},
};

/// One thing that somebody did or tried to do.
///
/// Source: the enterprise patterns, "Audit Logging & Compliance".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AuditRecord {
    /// What: `create`, `read`, `update`, `delete`, or what [`AuditMiddleware`] says of a call.
    pub action: String,
    /// To what kind of thing: `document`, `user`, `tool`.
    pub resource_type: String,
    /// To which one.
    pub resource_id: Option<String>,
    /// Who: the caller's subject, `anonymous` where nobody was authenticated.
    pub user_id: String,
    /// Whose it is.
    pub tenant_id: Option<String>,
    /// When: RFC 3339, UTC.
    pub timestamp: String,
    /// Whence, as the connection says; `unknown` where there is none.
    pub ip_address: String,
    /// How it ended: `success`, `failed` or `denied`.
    pub status: AuditStatus,
    /// What else is worth knowing.
    pub details: Map<String, Value>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditStatus {
    /// Well.
    #[default]
    Success,
    /// With an error.
    Failed,
    /// It was not allowed.
    Denied,
}

impl AuditRecord {
    /// Names the one thing.
    #[must_use]
    pub fn resource_id(mut self, id: impl Into<String>) -> Self {
        self.resource_id = Some(id.into());
        self
    }

    /// Says how it ended.
    #[must_use]
    pub const fn status(mut self, status: AuditStatus) -> Self {
        self.status = status;
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }
}

impl fmt::Display for AuditRecord {
    /// As it is logged: `AUDIT: ada@acme read document:7 from 10.0.0.1 - success`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            AuditStatus::Success => "success",
            AuditStatus::Failed => "failed",
            AuditStatus::Denied => "denied",
        };
        write!(
            f,
            "AUDIT: {}@{} {} {}:{} from {} - {status}",
            self.user_id,
            self.tenant_id.as_deref().unwrap_or("-"),
            self.action,
            self.resource_type,
            self.resource_id.as_deref().unwrap_or("-"),
            self.ip_address,
        )
    }
}

/// Begins a record of what the caller of this request does. Nothing in it comes from what a client can
/// claim: who and whose are the caller's, the address is the connection's.
///
/// ```
/// use fastmcp::{
///     middleware::{AuditStatus, create_audit_record},
///     prelude::*,
/// };
///
/// /// Deletes a document.
/// #[tool]
/// async fn delete_document(id: String, ctx: Context) -> Result<()> {
///     let record = create_audit_record(&ctx, "delete", "document").resource_id(id);
///     ctx.info(record.status(AuditStatus::Denied).to_string()).await;
///     Err(Error::tool("Permission denied"))
/// }
/// ```
#[must_use]
pub fn create_audit_record(
    context: &Context,
    action: impl Into<String>,
    resource_type: impl Into<String>,
) -> AuditRecord {
    let caller = context.caller();
    let user_id = match caller.kind() {
        CallerKind::Anonymous => "anonymous",
        _ => caller.subject(),
    };
    let address = caller
        .client_address()
        .or_else(|| context.peer().address.map(|address| address.ip()));
    AuditRecord {
        action: action.into(),
        resource_type: resource_type.into(),
        resource_id: None,
        user_id: user_id.to_owned(),
        tenant_id: caller.tenant().map(str::to_owned),
        timestamp: rfc3339(context.now()),
        ip_address: address.map_or_else(|| "unknown".to_owned(), |address| address.to_string()),
        status: AuditStatus::Success,
        details: Map::new(),
    }
}

type Sink = Arc<dyn Fn(AuditRecord) + Send + Sync>;

/// Records each call when it has ended: who called which tool, resource or prompt, and how it went.
///
/// `action` is `call` for tools (`read` where they are marked read-only), `read` for resources and `get`
/// for prompts. A call that asks the client is recorded in each round, with `input_required` in its
/// details. Arguments and results are not recorded. The gateway's log is another thing: it proves itself,
/// and no call acts without it.
///
/// ```
/// use fastmcp::{middleware::AuditMiddleware, prelude::*};
///
/// let audit = AuditMiddleware::new(|record| {
///     // To a database, or to whatever collects such records.
///     assert_eq!(record.tenant_id, None);
/// });
/// let server = FastMcp::new("audited").middleware(audit);
/// ```
#[derive(Clone)]
pub struct AuditMiddleware {
    sink: Sink,
}

impl Default for AuditMiddleware {
    /// Writes records into the log, at target `fastmcp::audit`.
    fn default() -> Self {
        Self::new(|record| {
            let details = Value::Object(record.details.clone());
            tracing::info!(target: "fastmcp::audit", %details, "{record}");
        })
    }
}

impl AuditMiddleware {
    /// Hands records to `sink`, which must not block.
    #[must_use]
    pub fn new(sink: impl Fn(AuditRecord) + Send + Sync + 'static) -> Self {
        Self {
            sink: Arc::new(sink),
        }
    }
}

impl fmt::Debug for AuditMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditMiddleware").finish_non_exhaustive()
    }
}

fn described(message: &Message) -> Option<(&'static str, &'static str)> {
    let reads = |component: Option<&Component>| {
        component.is_some_and(|c| matches!(c.definition(), Definition::Tool(t) if t.is_read_only()))
    };
    match message {
        Message::CallTool(call) if reads(call.component()) => Some(("read", "tool")),
        Message::CallTool(_) => Some(("call", "tool")),
        Message::ReadResource(_) => Some(("read", "resource")),
        Message::GetPrompt(_) => Some(("get", "prompt")),
        _ => None,
    }
}

impl Middleware for AuditMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let Some((action, kind)) = described(&context.message) else {
            return next.run(context).await;
        };
        let mut record = create_audit_record(context.fastmcp_context(), action, kind);
        record.resource_id = context.message.target().map(str::to_owned);
        let answer = next.run(context).await;
        let (status, why) = match &answer {
            Ok(response) if response.is_input_required() => {
                record = record.detail("input_required", true);
                (AuditStatus::Success, None)
            }
            Ok(response) if response.is_tool_error() => (AuditStatus::Failed, None),
            Ok(_) => (AuditStatus::Success, None),
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                (AuditStatus::Denied, Some(error.message().to_owned()))
            }
            Err(error) => (AuditStatus::Failed, Some(error.message().to_owned())),
        };
        if let Some(why) = why {
            record = record.detail("error", why);
        }
        (self.sink)(record.status(status));
        answer
    }
}
