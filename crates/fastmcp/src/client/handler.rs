//! What answers when a server asks.

use std::{fmt, future::Future, sync::Arc};

use fastmcp_protocol::{
    Raw,
    capability::{ClientCapabilities, ElicitationCapability, RootsCapability, SamplingCapability},
    elicit::{ElicitAction, ElicitParams, ElicitResult},
    mrtr::InputRequest,
    roots::{ListRootsResult, Root},
    sampling::{CreateMessageParams, CreateMessageResult},
};
use futures_util::future::BoxFuture;
use serde_json::Map;

use crate::error::{Error, Result};

/// A question of a server, and the key under which it asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked<T> {
    /// The key; the request's id where the server asks by a request of its own.
    pub key: String,
    /// What is asked.
    pub params: T,
}

type Answer<T> = BoxFuture<'static, Result<T>>;
type Elicit = dyn Fn(Asked<ElicitParams>) -> Answer<ElicitResult> + Send + Sync;
type Any = dyn Fn(String, InputRequest) -> Answer<Raw> + Send + Sync;
type Sample = dyn Fn(Asked<CreateMessageParams>) -> Answer<CreateMessageResult> + Send + Sync;

/// What answers a server's questions; what is not set, is not declared.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    /// Answers everything, in place of the others.
    any: Option<Arc<Any>>,
    elicit: Option<Arc<Elicit>>,
    sample: Option<Arc<Sample>>,
    roots: Option<Vec<Root>>,
}

impl Handlers {
    /// One handler for every question: it gets the key and the request.
    pub(crate) fn all<F>(handler: F) -> Self
    where
        F: Fn(String, InputRequest) -> Answer<Raw> + Send + Sync + 'static,
    {
        Self {
            any: Some(Arc::new(handler)),
            ..Self::default()
        }
    }

    pub(super) fn set_elicit<F, A>(&mut self, handler: F)
    where
        F: Fn(Asked<ElicitParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<ElicitResult>> + Send + 'static,
    {
        self.elicit = Some(Arc::new(move |asked| Box::pin(handler(asked))));
    }

    pub(super) fn set_sample<F, A>(&mut self, handler: F)
    where
        F: Fn(Asked<CreateMessageParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<CreateMessageResult>> + Send + 'static,
    {
        self.sample = Some(Arc::new(move |asked| Box::pin(handler(asked))));
    }

    pub(super) fn set_roots(&mut self, roots: Vec<Root>) {
        self.roots = Some(roots);
    }

    pub(super) const fn has_roots(&self) -> bool {
        self.any.is_some() || self.roots.is_some()
    }

    /// Adds to `capabilities` what is answered here.
    pub(super) fn declare(&self, capabilities: &mut ClientCapabilities) {
        let all = self.any.is_some();
        if all || self.elicit.is_some() {
            capabilities.elicitation = Some(ElicitationCapability::form_and_url());
        }
        if all || self.sample.is_some() {
            capabilities.sampling = Some(SamplingCapability {
                tools: Some(Map::new()),
                ..SamplingCapability::default()
            });
        }
        if all || self.roots.is_some() {
            capabilities.roots = Some(RootsCapability::default());
        }
    }

    /// Whether there is something that answers any question.
    pub(super) const fn answers_anything(&self) -> bool {
        self.has_roots() || self.elicit.is_some() || self.sample.is_some()
    }

    /// Whether there is something that answers `request`.
    pub(super) const fn answers(&self, request: &InputRequest) -> bool {
        if self.any.is_some() {
            return true;
        }
        match request {
            InputRequest::Elicit(_) => self.elicit.is_some(),
            InputRequest::CreateMessage(_) => self.sample.is_some(),
            InputRequest::ListRoots => self.roots.is_some(),
            _ => false,
        }
    }

    /// Answers `request`, an object. Fields of a form that the answer leaves out get their defaults.
    ///
    /// Source: MCP 2026-07-28, client/elicitation, "Requested Schema".
    pub(super) async fn answer(&self, key: &str, request: InputRequest) -> Result<Raw> {
        if let Some(any) = &self.any {
            return any(key.to_owned(), request).await;
        }
        let undeclared = || {
            Error::internal(format!(
                "server asks `{key}` by {}, which this client did not declare",
                request.method()
            ))
        };
        let key = key.to_owned();
        let answer = match (&request, &self.elicit, &self.sample, &self.roots) {
            (InputRequest::Elicit(params), Some(elicit), ..) => {
                let params = params.clone();
                let mut result = elicit(Asked {
                    key,
                    params: params.clone(),
                })
                .await?;
                if let (ElicitAction::Accept, ElicitParams::Form(form)) = (result.action, &params) {
                    let content = result.content.get_or_insert_default();
                    form.requested_schema.fill_defaults(content);
                }
                Raw::of(&result)?
            }
            (InputRequest::CreateMessage(params), _, Some(sample), _) => {
                let params = (**params).clone();
                Raw::of(&sample(Asked { key, params }).await?)?
            }
            (InputRequest::ListRoots, .., Some(roots)) => Raw::of(&ListRootsResult {
                roots: roots.clone(),
            })?,
            _ => return Err(undeclared()),
        };
        Ok(answer)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("any", &self.any.is_some())
            .field("elicit", &self.elicit.is_some())
            .field("sample", &self.sample.is_some())
            .field("roots", &self.roots.as_ref().map(Vec::len))
            .finish()
    }
}
