//! An enterprise server: tenants, scopes, classification, an audit trail, long work.
//!
//! Run with: `cargo run -p fastmcp-examples --bin enterprise`

use fastmcp::{
    middleware::{AuditStatus, StateManagementMiddleware, create_audit_record},
    prelude::*,
};

/// How confidential a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Classification {
    Public,
    Internal,
    Confidential,
    Secret,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Document {
    id: String,
    tenant_id: String,
    title: String,
    classification: Classification,
}

/// The documents of every tenant; a database would filter by tenant in its queries too.
struct Documents(Vec<Document>);

/// Says in the audit trail what became of it.
async fn record(ctx: &Context, action: &str, id: &str, status: AuditStatus) {
    let record = create_audit_record(ctx, action, "document")
        .resource_id(id)
        .status(status);
    // In production: to a database or a SIEM.
    ctx.info(record.to_string()).await;
}

/// Whether the caller's token has a scope.
async fn check_permission(ctx: &Context, scope: &str) -> bool {
    let has = ctx.caller().has_scope(scope);
    if !has {
        let user = ctx.caller().subject().to_owned();
        ctx.warning(format!("Permission denied: {user} lacks scope {scope}"))
            .await;
    }
    has
}

#[tools]
impl Documents {
    /// Fetches a document of the caller's tenant.
    #[tool(read_only)]
    async fn fetch_tenant_document(&self, document_id: String, ctx: Context) -> Result<Document> {
        let found = self.0.iter().find(|one| one.id == document_id);
        match found {
            Some(found) if ctx.caller().tenant() == Some(&found.tenant_id) => {
                record(&ctx, "read", &document_id, AuditStatus::Success).await;
                Ok(found.clone())
            }
            // Whether it exists in another tenant is none of the caller's business.
            _ => {
                record(&ctx, "read", &document_id, AuditStatus::Denied).await;
                Err(ToolError::new("Access denied: no such document in your tenant").into())
            }
        }
    }

    /// Creates a document.
    #[tool]
    async fn create_secure_document(
        &self,
        #[arg(min_length = 1, max_length = 200)] title: String,
        classification: Classification,
        ctx: Context,
    ) -> Result<Document> {
        if !check_permission(&ctx, "write:documents").await {
            record(&ctx, "create", &title, AuditStatus::Denied).await;
            return Err(ToolError::new("Permission denied").into());
        }
        let classified = matches!(
            classification,
            Classification::Confidential | Classification::Secret
        );
        if classified && !check_permission(&ctx, "write:classified").await {
            record(&ctx, "create", &title, AuditStatus::Denied).await;
            return Err(ToolError::new("Requires 'write:classified' scope").into());
        }
        record(&ctx, "create", &title, AuditStatus::Success).await;
        Ok(Document {
            id: format!("doc-{}", self.0.len() + 1),
            tenant_id: ctx.caller().tenant().unwrap_or_default().to_owned(),
            title,
            classification,
        })
    }

    /// Processes several documents, telling how far it is.
    #[tool]
    async fn bulk_process_documents(
        &self,
        #[arg(min_items = 1, max_items = 1000)] document_ids: Vec<String>,
        ctx: Context,
    ) -> usize {
        let total = document_ids.len();
        ctx.report_progress(0.0, Some(total as f64), None).await;
        for done in 1..=total {
            if done % 10 == 0 || done == total {
                ctx.report_progress(done as f64, Some(total as f64), None)
                    .await;
                ctx.info(format!("Progress: {done}/{total}")).await;
            }
        }
        total
    }

    /// Tells what the caller may do.
    #[tool(read_only)]
    async fn get_user_activity_summary(&self, ctx: Context) -> String {
        let caller = ctx.caller();
        let scopes: Vec<&str> = caller
            .scopes()
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        format!(
            "{} of {} may {}",
            caller.subject(),
            caller.tenant().unwrap_or("no tenant"),
            scopes.join(", ")
        )
    }
}

fn server() -> FastMcp {
    let document = |id: &str, tenant: &str| Document {
        id: id.to_owned(),
        tenant_id: tenant.to_owned(),
        title: format!("Plans of {tenant}"),
        classification: Classification::Internal,
    };
    FastMcp::new("Enterprise")
        .middleware(StateManagementMiddleware::default())
        .tools(Documents(vec![
            document("doc_in_tenant_a", "tenant_a"),
            document("doc_in_tenant_b", "tenant_b"),
        ]))
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::testing::caller;

    use super::*;

    async fn client(tenant: &str, scopes: &[&str]) -> Client {
        let caller = caller("ada")
            .tenant(tenant)
            .scopes(scopes.iter().copied())
            .build();
        Client::connect_as(&server().build().unwrap(), caller)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn tenants_do_not_see_each_other() {
        let ada = client("tenant_a", &[]).await;
        let own = ada
            .call_tool(
                "fetch_tenant_document",
                json!({"document_id": "doc_in_tenant_a"}),
            )
            .await;
        assert_eq!(
            own.unwrap().data::<Document>().unwrap().tenant_id,
            "tenant_a"
        );
        let other = ada
            .call_tool(
                "fetch_tenant_document",
                json!({"document_id": "doc_in_tenant_b"}),
            )
            .await;
        assert!(other.unwrap_err().message().contains("Access denied"));
    }

    #[tokio::test]
    async fn scopes_are_checked() {
        let write = |classification| json!({"title": "Title", "classification": classification});
        let reader = client("tenant_a", &["read:documents"]).await;
        let refused = reader
            .call_tool("create_secure_document", write("public"))
            .await
            .unwrap_err();
        assert_eq!(refused.message(), "Permission denied");
        let writer = client("tenant_a", &["write:documents"]).await;
        writer
            .call_tool("create_secure_document", write("internal"))
            .await
            .unwrap();
        let refused = writer
            .call_tool("create_secure_document", write("secret"))
            .await
            .unwrap_err();
        assert_eq!(refused.message(), "Requires 'write:classified' scope");
        let unfit = writer
            .call_tool("create_secure_document", write("cosmic"))
            .await
            .unwrap_err();
        assert!(unfit.message().contains("classification"), "{unfit}");
    }
}
