//! An API as a source among others.

use std::{borrow::Cow, sync::Arc};

use futures_util::future::BoxFuture;

use super::OpenApi;
use crate::{component::Component, error::Result, provider::Provider};

/// ```
/// use fastmcp::{FastMcp, openapi::OpenApi, provider::ProviderExt as _};
///
/// # fn example(pets: OpenApi, orders: OpenApi) -> fastmcp::Result<()> {
/// let server = FastMcp::new("shop")
///     .provider(pets.namespace("pets")?)
///     .provider(orders.namespace("orders")?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
impl Provider for OpenApi {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.title.as_deref().unwrap_or("openapi"))
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        let components = self.components.iter().cloned().map(Arc::new).collect();
        Box::pin(std::future::ready(Ok(components)))
    }
}
