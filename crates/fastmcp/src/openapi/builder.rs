//! From a document and what the caller of the library says to components.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use fastmcp_guard::http::{Config, UrlFetcher};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::{
    Draft, OpenApi, OpenApiLimits, Problem,
    credential::{Credential, Proof},
    document::{Document, Node},
    endpoint::HeadersBy,
    make::Maker,
    operation::{Operation, operations},
    request::Base,
    route::{Names, Route, RouteKind, RouteMap, Rule, decide},
    schema::Patterns,
};
use crate::{
    component::Component,
    context::Context,
    error::{Error, Result},
};

/// A document: its text in JSON or YAML, or the value that was read from it.
#[derive(Clone, Debug)]
pub struct Spec(Form);

#[derive(Clone, Debug)]
enum Form {
    Text(String),
    Value(Value),
}

impl From<&str> for Spec {
    fn from(text: &str) -> Self {
        Self(Form::Text(text.to_owned()))
    }
}

impl From<String> for Spec {
    fn from(text: String) -> Self {
        Self(Form::Text(text))
    }
}

impl From<Value> for Spec {
    fn from(value: Value) -> Self {
        Self(Form::Value(value))
    }
}

pub(super) type RouteFn = Box<dyn Fn(&Route, RouteKind) -> Option<RouteKind> + Send + Sync>;
pub(super) type Customise = Box<dyn Fn(&Route, &mut Draft) + Send + Sync>;
type Configure = Box<dyn FnOnce(&mut Config) + Send>;

/// An [`OpenApi`] in the making.
#[must_use]
pub struct OpenApiBuilder {
    spec: Spec,
    base_url: Option<String>,
    credentials: BTreeMap<String, Credential>,
    headers: Result<HeaderMap>,
    headers_by: Option<HeadersBy>,
    maps: Vec<RouteMap>,
    route_fn: Option<RouteFn>,
    customise: Option<Customise>,
    names: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    validate_output: bool,
    strict: bool,
    limits: OpenApiLimits,
    timeout: Option<Duration>,
    configure: Option<Configure>,
}

impl OpenApiBuilder {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec,
            base_url: None,
            credentials: BTreeMap::new(),
            headers: Ok(HeaderMap::new()),
            headers_by: None,
            maps: Vec::new(),
            route_fn: None,
            customise: None,
            names: BTreeMap::new(),
            tags: BTreeSet::new(),
            validate_output: true,
            strict: false,
            limits: OpenApiLimits::default(),
            timeout: None,
            configure: None,
        }
    }

    /// Where the API is. Every request goes to this host and beneath this path, whatever the document says.
    ///
    /// Default: the first of the document's `servers`, with the defaults of its variables. Give it where the
    /// document comes from others: it could name a host of your own network.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// Gives the credential of the security scheme `scheme`. It goes along with requests of operations that
    /// demand this scheme, and with no other.
    pub fn credential(mut self, scheme: impl Into<String>, credential: Credential) -> Self {
        self.credentials.insert(scheme.into(), credential);
        self
    }

    /// Sends a header with every request. No argument can set it.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let unfit = || Error::internal(format!("header `{name}`: give visible ASCII characters"));
        self.headers = self.headers.and_then(|mut headers| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unfit())?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Asks `headers` for headers of each single call: a token of its caller, for example. They replace all
    /// others of the same name.
    ///
    /// Nothing of the inbound request is passed on but what this function passes on.
    pub fn headers_by<F, Fut>(mut self, headers: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap>> + Send + 'static,
    {
        self.headers_by = Some(Arc::new(move |context| Box::pin(headers(context))));
        self
    }

    /// Adds a rule; of all rules the first that fits an operation decides. Default: everything is a tool.
    pub fn route(mut self, map: RouteMap) -> Self {
        self.maps.push(map);
        self
    }

    /// Asks `decide` what an operation becomes, after the rules, with what they say; `None` leaves it so.
    pub fn route_fn(
        mut self,
        decide: impl Fn(&Route, RouteKind) -> Option<RouteKind> + Send + Sync + 'static,
    ) -> Self {
        self.route_fn = Some(Box::new(decide));
        self
    }

    /// Lets `change` alter what was made of an operation before it is registered: name, description, tags,
    /// scopes.
    pub fn customise(
        mut self,
        change: impl Fn(&Route, &mut Draft) + Send + Sync + 'static,
    ) -> Self {
        self.customise = Some(Box::new(change));
        self
    }

    /// Names what becomes of the operation with this `operationId`.
    pub fn name(mut self, operation_id: impl Into<String>, name: impl Into<String>) -> Self {
        self.names.insert(operation_id.into(), name.into());
        self
    }

    /// Gives everything this tag, besides the tags of its operation.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Whether tools promise what the document says of their results, and answers that break the promise are
    /// errors. Default: yes. Without it results have no schema.
    pub const fn validate_output(mut self, validate: bool) -> Self {
        self.validate_output = validate;
        self
    }

    /// Whether an operation that cannot be offered is an error. Default: it is left out, logged, and named by
    /// [`OpenApi::problems`].
    pub const fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Bounds the document and what is made of it.
    pub const fn limits(mut self, limits: OpenApiLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a request may take with its answer: above zero, at most 1 hour. Default 30 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Changes how requests leave the process: trusted certificates, bytes of an answer (default 1 MiB),
    /// networks that the host may be in. Redirects stay refused.
    pub fn http(mut self, configure: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.configure = Some(Box::new(configure));
        self
    }

    /// Reads the document.
    ///
    /// # Errors
    ///
    /// When the document cannot be read or is too large, no base URL is known, a rule or credential does not
    /// fit, or, where that is asked for, an operation cannot be offered. Messages name the place in the
    /// document by its JSON pointer.
    pub fn build(self) -> Result<OpenApi> {
        let document = match self.spec.0 {
            Form::Text(text) => Document::read(&text, self.limits.document_bytes)?,
            Form::Value(value) => Document::of(value)?,
        };
        let given = self.base_url.is_some();
        let url = match self.base_url {
            Some(url) => parsed(&url)?,
            None => server(&document.root())?,
        };
        let base = Base::of(&url)?;
        let fetcher = fetcher(&url, self.timeout, self.configure)?;
        let rules: Result<Vec<Rule>> = self.maps.into_iter().map(Rule::compile).collect();
        let rules = rules?;
        let proofs = proofs(&document, &self.credentials)?;
        let found = operations(&document);
        if found.len() > self.limits.operations {
            return Err(document.root().wrong(&format!(
                "has {} operations; {} are read at most, see `limits`",
                found.len(),
                self.limits.operations
            )));
        }
        let mut maker = Maker {
            document: &document,
            base,
            fetcher,
            proofs,
            headers: self.headers?,
            headers_by: self.headers_by,
            customise: self.customise,
            tags: self.tags,
            validate_output: self.validate_output,
            schema_bytes: self.limits.schema_bytes,
            names: Names::new(self.names),
            patterns: Patterns::new(),
        };
        let (mut components, mut problems) = (Vec::new(), Vec::new());
        for (at, operation) in found {
            let made = operation.and_then(|operation| {
                let (kind, tags) = decide(&rules, &operation.route);
                let asked = self.route_fn.as_ref();
                let kind = asked
                    .and_then(|f| f(&operation.route, kind))
                    .unwrap_or(kind);
                if kind == RouteKind::Exclude {
                    return Ok(None);
                }
                if !given {
                    same_server(&operation, &url)?;
                }
                maker.make(&operation, kind, tags).map(Some)
            });
            match made {
                Ok(component) => components.extend(component),
                Err(error) if self.strict => return Err(error),
                Err(error) => {
                    tracing::warn!(at, %error, "an operation is left out");
                    problems.push(Problem {
                        at,
                        reason: error.message().to_owned(),
                    });
                }
            }
        }
        Ok(described(&document, components, problems))
    }
}

/// The API with what the document says of it.
fn described(document: &Document, components: Vec<Component>, problems: Vec<Problem>) -> OpenApi {
    let info = document.root().get("info");
    let text = |key| {
        let value = info.as_ref()?.value.get(key)?;
        value.as_str().map(str::to_owned)
    };
    OpenApi {
        title: text("title"),
        version: text("version"),
        description: text("description"),
        components,
        problems,
    }
}

impl fmt::Debug for OpenApiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenApiBuilder")
            .field("base_url", &self.base_url)
            .field("credentials", &self.credentials.keys())
            .finish_non_exhaustive()
    }
}

fn fetcher(
    url: &Url,
    timeout: Option<Duration>,
    configure: Option<Configure>,
) -> Result<UrlFetcher> {
    let mut config = Config::upstream(url)?;
    config.max_bytes = 1 << 20;
    if let Some(timeout) = timeout {
        config.total_timeout = timeout;
    }
    if let Some(configure) = configure {
        configure(&mut config);
    }
    config.max_redirects = 0;
    let fetcher = UrlFetcher::new(&config)?;
    fetcher.check(url)?;
    Ok(fetcher)
}

fn parsed(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|_| {
        let shown: String = url.chars().take(128).collect();
        Error::internal(format!(
            "base URL: `{shown}` is no absolute URL; give one with `base_url`"
        ))
    })
}

/// The first server, with the defaults of its variables.
fn server(holder: &Node<'_>) -> Result<Url> {
    let servers = holder.get("servers");
    let Some(first) = servers.as_ref().and_then(|servers| servers.items().next()) else {
        return Err(holder.wrong("names no server; give `base_url`"));
    };
    let mut url = first.needed("url")?.to_owned();
    for (name, variable) in first.get("variables").iter().flat_map(Node::members) {
        url = url.replace(&format!("{{{name}}}"), variable.needed("default")?);
    }
    parsed(&url).map_err(|error| first.wrong(error.message()))
}

/// Refuses operations that live elsewhere: the host of a request is settled once.
fn same_server(operation: &Operation<'_>, url: &Url) -> Result<()> {
    let Some(servers) = operation.servers() else {
        return Ok(());
    };
    let first = servers.items().next();
    let own = first.and_then(|first| first.text("url").ok().flatten());
    let same = own.is_some_and(|own| Url::parse(own).is_ok_and(|own| own == *url));
    if same {
        return Ok(());
    }
    Err(servers.wrong("has a server of its own, to which nothing is sent; give `base_url`, or a document for each"))
}

/// The credentials in their places, by scheme.
fn proofs(
    document: &Document,
    credentials: &BTreeMap<String, Credential>,
) -> Result<BTreeMap<String, Proof>> {
    let schemes = document
        .root()
        .get("components")
        .and_then(|c| c.get("securitySchemes"));
    let mut proofs = BTreeMap::new();
    for (name, credential) in credentials {
        let scheme = schemes.as_ref().and_then(|schemes| schemes.get(name));
        let scheme = scheme.ok_or_else(|| {
            Error::internal(format!(
                "credential for `{name}`: the document has no security scheme of that name"
            ))
        })?;
        let scheme = document.resolve(scheme)?;
        proofs.insert(name.clone(), Proof::of(name, &scheme, credential)?);
    }
    Ok(proofs)
}
