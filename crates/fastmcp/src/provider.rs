//! Sources of components.
//!
//! A server has components of its own, and those of any number of providers: other servers, files, anything
//! that can list what it has and say when that changes. They start at the same time and none waits for
//! another. One that fails, or does not come up in time, is logged, shown by
//! [`Server::providers`](crate::Server::providers) and tried again, ever more seldom; the others are served
//! meanwhile, and what it had before it failed stays.
//!
//! ```
//! use fastmcp::{
//!     ToolBuilder,
//!     prelude::*,
//!     provider::{LocalProvider, ProviderExt as _},
//! };
//!
//! # async fn example() -> Result<()> {
//! let plugins = LocalProvider::new("plugins");
//! let server = FastMcp::new("demo")
//!     .provider(plugins.clone().namespace("plugin")?)
//!     .build()?;
//! let client = Client::connect(&server).await?;
//! plugins.add_tool(ToolBuilder::new("hello", |(): (), _: Context| async { "hello" }))?;
//! # while client.list_tools().await?.is_empty() { tokio::task::yield_now().await; }
//! let said = client.call_tool("plugin_hello", json!({})).await?;
//! assert_eq!(said.data::<String>()?, "hello");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod drive;
mod local;

use std::{borrow::Cow, fmt, sync::Arc};

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};

use crate::{
    component::Component,
    error::Result,
    transform::{Namespace, Transform},
};

pub use crate::registry::{Change, ProviderState, ProviderStatus, SourceId};
pub(crate) use drive::Driven;
pub use local::LocalProvider;

/// A source of components.
///
/// A server starts it, asks for its changes, and then for what it has; asks again whenever a change says
/// that a list is another; and stops it at the end. Where one of these fails, it is stopped and started
/// again after a pause.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// What people call it, in logs and where its state is shown.
    fn name(&self) -> Cow<'_, str>;

    /// Begins: connects, opens, looks. May be called again after [`Self::stop`]. It has 30 s.
    ///
    /// # Errors
    ///
    /// When it cannot begin now.
    ///
    /// # Cancel safety
    ///
    /// Must bear being dropped where it awaits.
    fn start(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Everything that it has now. It has 30 s.
    ///
    /// # Errors
    ///
    /// When that cannot be said now. What was there stays.
    ///
    /// # Cancel safety
    ///
    /// Must bear being dropped where it awaits.
    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>>;

    /// What changes from now on. A stream that ends says that the source is gone: it is started again.
    /// Default: nothing ever changes.
    fn changes(&self) -> BoxStream<'static, Change> {
        stream::pending().boxed()
    }

    /// Ends what [`Self::start`] began. It has 10 s.
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// What makes other components of those that it has, in this order.
    fn transforms(&self) -> Vec<Arc<dyn Transform>> {
        Vec::new()
    }
}

impl Provider for Arc<dyn Provider> {
    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        (**self).start()
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        (**self).components()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        (**self).changes()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        (**self).stop()
    }

    fn transforms(&self) -> Vec<Arc<dyn Transform>> {
        (**self).transforms()
    }
}

/// What every provider can be made into.
pub trait ProviderExt: Provider + Sized {
    /// The provider with other faces for its components.
    fn transform(self, transform: impl Transform) -> Transformed {
        Transformed {
            transforms: vec![Arc::new(transform)],
            inner: Arc::new(self),
        }
    }

    /// The provider with a prefix for everything that it has, as
    /// [`FastMcp::mount`](crate::FastMcp::mount) puts it.
    ///
    /// # Errors
    ///
    /// When `prefix` is unfit.
    fn namespace(self, prefix: &str) -> Result<Transformed> {
        Ok(self.transform(Namespace::new(prefix)?))
    }
}

impl<P: Provider> ProviderExt for P {}

/// A provider with other faces for its components.
#[derive(Clone, Debug)]
pub struct Transformed {
    inner: Arc<dyn Provider>,
    transforms: Vec<Arc<dyn Transform>>,
}

impl Provider for Transformed {
    fn name(&self) -> Cow<'_, str> {
        self.inner.name()
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.start()
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        self.inner.components()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        self.inner.changes()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.inner.stop()
    }

    fn transforms(&self) -> Vec<Arc<dyn Transform>> {
        let mut all = self.inner.transforms();
        all.extend(self.transforms.iter().cloned());
        all
    }
}
