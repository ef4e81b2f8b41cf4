//! What handlers are handed beside their arguments.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    ops::Deref,
    sync::{Arc, PoisonError},
};

use fastmcp_auth::{AccessToken, Caller};
use http::HeaderMap;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{Context, value::Needs};
use crate::error::{Error, Result};

/// A value that is made from the context of a request, for a parameter of a handler: it is no part of
/// the schema, and no client can send it.
///
/// Parameters of the types in this crate that implement it are recognised by their names; for types of
/// one's own there is `#[inject]`, which makes one for each parameter, and [`Depends`], which makes one
/// for each request.
///
/// ```
/// use fastmcp::prelude::*;
///
/// struct Tenant(String);
///
/// impl FromContext for Tenant {
///     async fn from_context(ctx: &Context) -> Result<Self> {
///         let tenant = ctx.caller().tenant();
///         let tenant = tenant.ok_or_else(|| ToolError::new("no tenant is known of you"))?;
///         Ok(Self(tenant.to_owned()))
///     }
/// }
///
/// /// Counts the documents.
/// #[tool]
/// async fn count(folder: String, #[inject] tenant: Tenant) -> String {
///     format!("{folder} of {}", tenant.0)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed to a handler",
    label = "nothing makes this from the context of a request",
    note = "implement `fastmcp::FromContext` for `{Self}`; for a value that the server was given write `State<{Self}>`",
    note = "leave out `#[inject]`, or write `#[arg]`, to make it an argument that clients send"
)]
pub trait FromContext: Sized + Send {
    /// Names the [`State`] that is needed, so that a server without it cannot be built.
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }

    /// Makes the value.
    ///
    /// # Errors
    ///
    /// When there is no such value for this request; the handler does not run then.
    ///
    /// # Cancel safety
    ///
    /// As the implementation.
    fn from_context(context: &Context) -> impl Future<Output = Result<Self>> + Send;
}

impl FromContext for Context {
    async fn from_context(context: &Context) -> Result<Self> {
        Ok(context.clone())
    }
}

/// A value of the server: given by [`FastMcp::state`](crate::FastMcp::state), or by what runs around
/// the server while it serves.
///
/// ```
/// use fastmcp::prelude::*;
///
/// struct Stock(Vec<&'static str>);
///
/// /// Lists the books.
/// #[tool(inline)]
/// fn books(State(stock): State<Stock>) -> String {
///     stock.0.join(", ")
/// }
///
/// let server = FastMcp::new("shop").state(Stock(vec!["Emma"])).tool(books).build();
/// assert!(server.is_ok());
/// let without = FastMcp::new("shop").tool(books).build();
/// assert!(without.is_err(), "a server without the value cannot be built");
/// ```
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromContext for State<T> {
    fn needs(needs: &mut Needs) {
        needs.state::<T>();
    }

    async fn from_context(context: &Context) -> Result<Self> {
        context.value().map(Self)
    }
}

/// A value that is made once per request, however many parameters and other values ask for it; gone
/// when the request is. See [`FromContext`].
#[derive(Debug)]
pub struct Depends<T>(pub Arc<T>);

impl<T> Clone for Depends<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Depends<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromContext + Sync + 'static> FromContext for Depends<T> {
    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }

    async fn from_context(context: &Context) -> Result<Self> {
        context.depends().await.map(Self)
    }
}

impl FromContext for Caller {
    async fn from_context(context: &Context) -> Result<Self> {
        Ok(context.caller().clone())
    }
}

impl FromContext for HeaderMap {
    async fn from_context(context: &Context) -> Result<Self> {
        Ok(context.headers().clone())
    }
}

impl FromContext for AccessToken {
    async fn from_context(context: &Context) -> Result<Self> {
        let token = context.access_token().cloned();
        token.ok_or_else(|| Error::forbidden("an access token is needed here"))
    }
}

impl FromContext for Option<AccessToken> {
    async fn from_context(context: &Context) -> Result<Self> {
        Ok(context.access_token().cloned())
    }
}

impl FromContext for CancellationToken {
    async fn from_context(context: &Context) -> Result<Self> {
        Ok(context.cancellation().clone())
    }
}

type Cell = Arc<OnceCell<Arc<dyn Any + Send + Sync>>>;

/// What was made in this request, by the server that it was made for and its type.
pub(super) type Made = HashMap<(usize, TypeId), Cell>;

impl Context {
    /// Whether arguments must have the types of the schema as they are.
    pub(crate) fn is_strict(&self) -> bool {
        self.home().is_strict()
    }

    /// The value of type `T` that the server was given.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn value<T: Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        self.home().values().get().ok_or_else(|| {
            let name = type_name::<T>();
            Error::internal(format!(
                "the server has no `{name}` for its handlers; give it one with `FastMcp::state`"
            ))
        })
    }

    /// The one `T` of this request: made now, or found where it was made before.
    ///
    /// A value may ask for others in its [`FromContext::from_context`], but not for itself.
    ///
    /// # Errors
    ///
    /// What making it returns; then it may be tried again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe where making a `T` is.
    pub async fn depends<T: FromContext + Sync + 'static>(&self) -> Result<Arc<T>> {
        let home = Arc::as_ptr(self.home()).cast::<()>().addr();
        let cell = {
            let mut made = self
                .rare()
                .made
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry((home, TypeId::of::<T>())).or_default())
        };
        let make = || async {
            let value = T::from_context(self).await?;
            Ok::<_, Error>(Arc::new(value) as Arc<dyn Any + Send + Sync>)
        };
        let value = Arc::clone(cell.get_or_try_init(make).await?);
        value
            .downcast()
            .map_err(|_| Error::internal("a value of a request has another type"))
    }
}
