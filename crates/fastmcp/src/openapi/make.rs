//! Components of operations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastmcp_guard::http::UrlFetcher;
use fastmcp_protocol::{
    resource::{Resource, ResourceTemplate},
    tool::{JsonSchema, Tool, ToolAnnotations},
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};

use super::{
    Draft,
    answer::Promise,
    arguments::{Plan, plan},
    builder::Customise,
    credential::Proof,
    document::Document,
    encode::escape,
    endpoint::{Endpoint, HeadersBy},
    operation::{Operation, Place},
    request::{Base, Shape, pieces},
    route::{Names, Route, RouteKind, free},
    schema::{Direction, Patterns, Schemas, describes_object},
};
use crate::{
    call::{Input, Outcome},
    component::{Component, Definition, UriTemplate, template, tool},
    context::Context,
    error::{Error, Result},
    schema::Constraints,
};

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 4_096;

/// Makes components.
pub(super) struct Maker<'d> {
    pub(super) document: &'d Document,
    pub(super) base: Base,
    pub(super) fetcher: UrlFetcher,
    pub(super) proofs: BTreeMap<String, Proof>,
    pub(super) headers: HeaderMap,
    pub(super) headers_by: Option<HeadersBy>,
    pub(super) customise: Option<Customise>,
    pub(super) tags: BTreeSet<String>,
    pub(super) validate_output: bool,
    pub(super) schema_bytes: usize,
    pub(super) names: Names,
    pub(super) patterns: Patterns,
}

impl<'d> Maker<'d> {
    pub(super) fn make(
        &mut self,
        operation: &Operation<'d>,
        kind: RouteKind,
        tags: Option<&BTreeSet<String>>,
    ) -> Result<Component> {
        let route = &operation.route;
        if kind != RouteKind::Tool && route.method != Method::GET {
            return Err(operation.node.wrong("only `GET` can be read as a resource"));
        }
        let mut endpoint = self.endpoint(operation)?;
        let name = self.names.name(route, kind);
        let (definition, variables) = match kind {
            RouteKind::Tool | RouteKind::Exclude => {
                let tool = self.tool(operation, &name, &mut endpoint)?;
                (Definition::Tool(tool), Vec::new())
            }
            RouteKind::Resource => {
                if let Some(slot) = endpoint.shape.plan.slots.iter().find(|slot| slot.required) {
                    return Err(operation.node.wrong(&format!(
                        "needs parameter `{}`; make it a `ResourceTemplate` or a `Tool`",
                        slot.name
                    )));
                }
                let mut resource = Resource::new(format!("resource://{name}"), name);
                resource.title = route.summary.clone();
                resource.description = Some(description(route));
                (Definition::Resource(resource), Vec::new())
            }
            RouteKind::ResourceTemplate => {
                let (uri, variables) = uri_template(&name, &endpoint.shape.plan);
                if variables.is_empty() {
                    return Err(operation
                        .node
                        .wrong("has no parameters; make it a `Resource` or a `Tool`"));
                }
                let mut template = ResourceTemplate::new(uri, name);
                template.title = route.summary.clone();
                template.description = Some(description(route));
                (Definition::Template(template), variables)
            }
        };
        let own = route.tags.iter().chain(&self.tags);
        let mut draft = Draft {
            definition,
            tags: own.chain(tags.into_iter().flatten()).cloned().collect(),
            required_scopes: Vec::new(),
        };
        if let Some(customise) = &self.customise {
            customise(route, &mut draft);
        }
        component(draft, endpoint, variables)
    }

    fn endpoint(&mut self, operation: &Operation<'d>) -> Result<Endpoint> {
        let wrong = |why: &str| operation.node.wrong(why);
        let proofs = self.proofs_of(operation);
        let headers = &self.headers;
        let given = |place: Place, name: &str| {
            let fixed = place == Place::Header && headers.contains_key(name);
            fixed || proofs.iter().any(|proof| proof.fills(place, name))
        };
        let (schema, plan) = plan(self.document, operation, &given, &mut self.patterns)?;
        let bytes = schema.to_string().len();
        if bytes > self.schema_bytes {
            return Err(wrong(&format!(
                "the schema of its arguments has {bytes} bytes; {} are taken at most, see `limits`",
                self.schema_bytes
            )));
        }
        let constraints = Constraints::compile(&schema).map_err(|e| wrong(e.message()))?;
        let path = pieces(&operation.route.path, &plan).map_err(|why| wrong(&why))?;
        let mut headers = self.headers.clone();
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static("application/json, */*;q=0.5"));
        Ok(Endpoint {
            fetcher: self.fetcher.clone(),
            shape: Shape {
                method: operation.route.method.clone(),
                base: self.base.clone(),
                path,
                plan,
                proofs,
                headers,
            },
            schema,
            constraints,
            promise: Promise::Nothing,
            headers_by: self.headers_by.clone(),
        })
    }

    /// The credentials of the first alternative for which all are there.
    fn proofs_of(&self, operation: &Operation<'d>) -> Vec<Proof> {
        let alternatives = operation.security(self.document);
        let found = alternatives.into_iter().find_map(|schemes| {
            let proofs = schemes
                .into_iter()
                .map(|name| self.proofs.get(name).cloned());
            proofs
                .collect::<Option<Vec<_>>>()
                .filter(|proofs| !proofs.is_empty())
        });
        found.unwrap_or_default()
    }

    /// What the tool promises to return, as a schema and to check it.
    fn promise(&mut self, operation: &Operation<'d>) -> Result<(Option<Value>, Promise)> {
        let nothing = (None, Promise::Nothing);
        let Some(node) = operation.returned(self.document)? else {
            return Ok(nothing);
        };
        let mut schemas = Schemas::new(self.document, Direction::Response, &mut self.patterns);
        let converted = schemas.convert(&node)?;
        let mut schema = schemas.finish(converted)?;
        let object = describes_object(&schema);
        match schema.as_object_mut() {
            Some(members) if object => drop(members.insert("type".to_owned(), json!("object"))),
            _ => schema = tool::wrap(schema),
        }
        let too_long = schema.to_string().len() > self.schema_bytes;
        match Constraints::compile(&schema) {
            Ok(constraints) if !too_long && object => {
                Ok((Some(schema), Promise::Object(constraints)))
            }
            Ok(constraints) if !too_long => Ok((Some(schema), Promise::Wrapped(constraints))),
            _ => {
                tracing::debug!(at = %node.at, "the schema of a result is too large or unfit and left out");
                Ok(nothing)
            }
        }
    }

    fn tool(
        &mut self,
        operation: &Operation<'d>,
        name: &str,
        endpoint: &mut Endpoint,
    ) -> Result<Tool> {
        let route = &operation.route;
        let mut tool = Tool::new(name, JsonSchema::from_value(&endpoint.schema)?);
        tool.title = route.summary.clone();
        tool.description = Some(description(route));
        tool.annotations = Some(annotations(&route.method));
        if self.validate_output {
            let (promised, promise) = self.promise(operation)?;
            tool.output_schema = promised.map(|s| JsonSchema::from_value(&s)).transpose()?;
            endpoint.promise = promise;
        }
        Ok(tool)
    }
}

/// What the method says of an operation.
///
/// Source: RFC 9110, section 9.2.
fn annotations(method: &Method) -> ToolAnnotations {
    let destructive = matches!(*method, Method::PUT | Method::DELETE);
    ToolAnnotations {
        read_only_hint: Some(method.is_safe()),
        destructive_hint: destructive.then_some(true),
        idempotent_hint: Some(method.is_idempotent()),
        open_world_hint: Some(true),
        ..ToolAnnotations::default()
    }
}

fn description(route: &Route) -> String {
    let summary = route.summary.as_deref().map(str::trim).unwrap_or_default();
    let more = route
        .description
        .as_deref()
        .map(str::trim)
        .unwrap_or_default();
    let mut text = match (summary, more) {
        ("", "") => route.to_string(),
        (one, "") | ("", one) => one.to_owned(),
        (one, other) if other.starts_with(one) => other.to_owned(),
        (one, other) => format!("{one}\n\n{other}"),
    };
    if let Some((at, _)) = text.char_indices().nth(MAX_DESCRIPTION) {
        text.truncate(at);
        text.push('…');
    }
    if route.deprecated {
        text.push_str("\n\nDeprecated.");
    }
    text
}

/// A variable of a URI template and the argument that it fills.
type Variable = (String, String);

/// `resource://name/{id}{?limit}`: parameters of the path first, those of the query behind.
fn uri_template(name: &str, plan: &Plan) -> (String, Vec<Variable>) {
    let mut variables: Vec<Variable> = Vec::new();
    let mut uri = format!("resource://{name}");
    let mut query = Vec::new();
    for slot in &plan.slots {
        let plain = slot.argument.replace(['-', '.'], "_");
        let variable = free(&plain, 64, |v| {
            variables.iter().all(|(taken, _)| taken != v)
        });
        match slot.place {
            Place::Path => uri.push_str(&format!("/{{{variable}}}")),
            Place::Query => query.push(variable.clone()),
            Place::Header | Place::Cookie => continue,
        }
        variables.push((variable, slot.argument.clone()));
    }
    if !query.is_empty() {
        uri.push_str(&format!("{{?{}}}", query.join(",")));
    }
    (uri, variables)
}

fn component(draft: Draft, endpoint: Endpoint, variables: Vec<Variable>) -> Result<Component> {
    let endpoint = Arc::new(endpoint);
    let component = match draft.definition {
        definition @ Definition::Tool(_) => Component::new(
            definition,
            move |context: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
                let endpoint = Arc::clone(&endpoint);
                Box::pin(async move { endpoint.call(context, input.args.as_ref()).await })
            },
        ),
        Definition::Template(definition) => {
            let template = UriTemplate::parse(&definition.uri_template)?;
            let matching = template.clone();
            let handler = move |context: Context, input: Input| {
                let endpoint = Arc::clone(&endpoint);
                let uri = input.uri.unwrap_or_default();
                let params = params(&matching, &variables, &uri);
                Box::pin(async move { endpoint.read(context, &uri, params?).await })
                    as BoxFuture<'static, Result<Outcome>>
            };
            Component::new(Definition::Template(definition), handler).with_template(template)
        }
        definition @ Definition::Resource(_) => Component::new(
            definition,
            move |context: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
                let endpoint = Arc::clone(&endpoint);
                let uri = input.uri.unwrap_or_default();
                Box::pin(async move { endpoint.read(context, &uri, Map::new()).await })
            },
        ),
        Definition::Prompt(_) => {
            return Err(Error::internal("an operation cannot become a prompt"));
        }
    };
    Ok(component
        .with_tags(draft.tags)
        .with_required_scopes(draft.required_scopes))
}

/// The arguments that a URI of the template carries.
fn params(matching: &UriTemplate, variables: &[Variable], uri: &str) -> Result<Map<String, Value>> {
    let mut found = matching
        .matches(uri)
        .ok_or_else(|| Error::not_found("no such resource"))?;
    template::screen(&found)?;
    let params = variables
        .iter()
        .filter_map(|(variable, argument)| Some((argument.clone(), found.remove(variable)?)));
    Ok(params.collect())
}

impl Proof {
    /// Whether a parameter of this name would be this credential.
    fn fills(&self, place: Place, name: &str) -> bool {
        match self {
            Self::Header(own, _) => {
                place == Place::Header && own.as_str().eq_ignore_ascii_case(name)
            }
            Self::Query(own, _) => place == Place::Query && *own == escape(name),
            Self::Cookie(own, _) => place == Place::Cookie && *own == escape(name),
        }
    }
}
