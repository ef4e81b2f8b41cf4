//! One operation, ready to be called.

use std::{fmt, sync::Arc};

use fastmcp_guard::http::{Response, UrlFetcher};
use fastmcp_protocol::Raw;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{
    answer::{self, Promise},
    request::{Given, Shape},
};
use crate::{
    call::Outcome,
    context::Context,
    error::{Error, Result},
    schema::{self, Constraints},
};

/// Gives headers for one call.
pub(super) type HeadersBy =
    Arc<dyn Fn(Context) -> BoxFuture<'static, Result<HeaderMap>> + Send + Sync>;

/// An operation of the API.
pub(super) struct Endpoint {
    pub(super) fetcher: UrlFetcher,
    pub(super) shape: Shape,
    /// The schema of the arguments.
    pub(super) schema: Value,
    pub(super) constraints: Constraints,
    pub(super) promise: Promise,
    pub(super) headers_by: Option<HeadersBy>,
}

impl Endpoint {
    /// Whether calls change nothing.
    ///
    /// Source: RFC 9110, section 9.2.1.
    pub(super) fn is_safe(&self) -> bool {
        self.shape.method.is_safe()
    }

    /// Calls it as a tool.
    pub(super) async fn call(&self, context: Context, args: Option<&Raw>) -> Result<Outcome> {
        let answer = self.send(context, args).await?;
        answer::of_tool(&answer, &self.promise)
    }

    /// Reads it as the resource at `uri`.
    pub(super) async fn read(
        &self,
        context: Context,
        uri: &str,
        params: Map<String, Value>,
    ) -> Result<Outcome> {
        let args = schema::from_strings(&self.schema, params)?;
        let answer = self.send(context, Some(&args)).await.map_err(|error| {
            let status = error.data().and_then(|data| data.get("status"));
            match status.and_then(Value::as_u64) {
                Some(404 | 410) => Error::not_found("no such resource"),
                _ => error,
            }
        })?;
        Ok(answer::of_resource(&answer, uri))
    }

    async fn send(&self, context: Context, args: Option<&Raw>) -> Result<Response> {
        let given = self.given(args)?;
        let more = match &self.headers_by {
            Some(headers_by) => headers_by(context.clone()).await?,
            None => HeaderMap::new(),
        };
        let request = self.shape.request(&given, more.clone())?;
        let exchange = self.fetcher.request(request);
        let answer = if self.is_safe() {
            tokio::select! {
                answer = exchange => answer,
                () = context.cancellation().cancelled() => return Err(Error::cancelled()),
            }
        } else {
            // What has begun to act is heard to its end.
            exchange.await
        };
        let answer = answer.map_err(|error| answer::failure(&error, !self.is_safe()))?;
        let secret = |text: &str| self.shape.is_secret_in(text, &more);
        answer::success(&answer, &secret)?;
        Ok(answer)
    }

    /// The arguments, once they fit the schema. A parameter that may be left out may be null as well: many
    /// models write it so.
    fn given(&self, args: Option<&Raw>) -> Result<Given> {
        let text = args.map_or("{}", Raw::as_str);
        let mut given: Given = serde_json::from_str(text)
            .map_err(|_| Error::validation("invalid arguments: must be an object"))?;
        let before = given.len();
        for slot in self.shape.plan.slots.iter().filter(|slot| !slot.required) {
            if given
                .get(&slot.argument)
                .is_some_and(|v| v.as_str() == "null")
            {
                given.remove(&slot.argument);
            }
        }
        if given.len() == before {
            self.constraints.check(text)?;
        } else {
            self.constraints.check(&serde_json::to_string(&given)?)?;
        }
        Ok(given)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
