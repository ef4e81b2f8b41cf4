//! What the document says of one operation.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::{
    document::{Document, Node},
    encode::{Encoding, Style},
    route::Route,
};
use crate::error::{Error, Result};

/// The most parameters of one operation.
const MAX_PARAMETERS: usize = 256;

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "path" => Self::Path,
            "query" => Self::Query,
            "header" => Self::Header,
            "cookie" => Self::Cookie,
            _ => return None,
        })
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Parameter<'d> {
    pub(super) name: &'d str,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) description: Option<&'d str>,
    pub(super) deprecated: bool,
    pub(super) schema: Option<Node<'d>>,
    pub(super) encoding: Encoding,
}

/// How a body is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON, under this media type.
    Json(String),
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Text, under this media type.
    Text(String),
}

/// The body that an operation takes.
#[derive(Debug)]
pub(super) struct Body<'d> {
    pub(super) required: bool,
    pub(super) description: Option<&'d str>,
    pub(super) media: Media,
    pub(super) schema: Option<Node<'d>>,
    /// How single fields of a form are written.
    pub(super) encodings: BTreeMap<&'d str, Encoding>,
}

/// An operation.
#[derive(Debug)]
pub(super) struct Operation<'d> {
    pub(super) route: Route,
    pub(super) node: Node<'d>,
    path_item: Node<'d>,
}

/// The operations of the document in the order of their paths; an error in the place of one that cannot
/// be read.
pub(super) fn operations(document: &Document) -> Vec<(String, Result<Operation<'_>>)> {
    let mut found = Vec::new();
    let Some(paths) = document.root().get("paths") else {
        return found;
    };
    for (path, item) in paths.members() {
        // Extensions of the document, `x-…`, are no paths.
        if !path.starts_with('/') {
            continue;
        }
        let at = item.at.clone();
        let item = match document.resolve(item) {
            Ok(item) => item,
            Err(error) => {
                found.push((at, Err(error)));
                continue;
            }
        };
        for method in METHODS {
            if let Some(node) = item.get(&method.as_str().to_ascii_lowercase()) {
                let at = node.at.clone();
                found.push((at, operation(method, path, node, item.clone())));
            }
        }
    }
    found
}

/// `TRACE` is not among them: it shows credentials to who may not see them.
const METHODS: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

fn operation<'d>(
    method: &Method,
    path: &str,
    node: Node<'d>,
    path_item: Node<'d>,
) -> Result<Operation<'d>> {
    if !node.value.is_object() {
        return Err(node.wrong("must be an object"));
    }
    let owned = |key| Ok::<_, Error>(node.text(key)?.map(str::to_owned));
    let tags = node.get("tags");
    let tags = tags.iter().flat_map(Node::items);
    let route = Route {
        method: method.clone(),
        path: path.to_owned(),
        operation_id: owned("operationId")?,
        summary: owned("summary")?,
        description: owned("description")?,
        tags: tags
            .filter_map(|tag| tag.value.as_str().map(str::to_owned))
            .collect(),
        deprecated: node.is("deprecated"),
    };
    Ok(Operation {
        route,
        node,
        path_item,
    })
}

impl<'d> Operation<'d> {
    /// The parameters, those of the path included.
    pub(super) fn parameters(&self, document: &'d Document) -> Result<Vec<Parameter<'d>>> {
        let mut found: BTreeMap<(Place, &str), Parameter<'d>> = BTreeMap::new();
        for holder in [&self.path_item, &self.node] {
            let Some(list) = holder.get("parameters") else {
                continue;
            };
            for (index, node) in list.items().enumerate() {
                if index >= MAX_PARAMETERS {
                    return Err(list.wrong(&format!("more than {MAX_PARAMETERS} parameters")));
                }
                let node = document.resolve(node)?;
                if let Some(parameter) = parameter(document, &node)? {
                    found.insert((parameter.place, parameter.name), parameter);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The body, where it takes one.
    pub(super) fn body(&self, document: &'d Document) -> Result<Option<Body<'d>>> {
        let Some(node) = self.node.get("requestBody") else {
            return Ok(None);
        };
        let node = document.resolve(node)?;
        let Some(content) = node.get("content") else {
            return Err(node.wrong("must have `content`"));
        };
        let mut chosen: Option<(u8, Media, Node<'d>)> = None;
        for (name, media) in content.members() {
            let Some((rank, kind)) = media_of(name) else {
                continue;
            };
            if chosen.as_ref().is_none_or(|(best, ..)| rank < *best) {
                chosen = Some((rank, kind, media));
            }
        }
        let Some((_, media, chosen)) = chosen else {
            let names: Vec<_> = content.members().map(|(name, _)| name).take(5).collect();
            if names.is_empty() {
                return Ok(None);
            }
            return Err(content.wrong(&format!(
                "bodies of type `{}` are not sent; JSON, `application/x-www-form-urlencoded` and text are",
                names.join("`, `")
            )));
        };
        let mut encodings = BTreeMap::new();
        for (name, encoding) in chosen.get("encoding").iter().flat_map(Node::members) {
            if ["style", "explode"]
                .iter()
                .any(|key| encoding.get(key).is_some())
            {
                encodings.insert(name, style(&encoding, Place::Query)?);
            }
        }
        Ok(Some(Body {
            required: node.is("required"),
            description: node.text("description")?,
            media,
            schema: chosen.get("schema"),
            encodings,
        }))
    }

    /// The schema of what a success returns as JSON: nothing where there are several, or successes without.
    pub(super) fn returned(&self, document: &'d Document) -> Result<Option<Node<'d>>> {
        let mut schema: Option<Node<'d>> = None;
        let responses = self.node.get("responses");
        for (status, response) in responses.iter().flat_map(Node::members) {
            if !status.starts_with('2') {
                continue;
            }
            let response = document.resolve(response)?;
            let content = response.get("content");
            let mut json = content
                .iter()
                .flat_map(Node::members)
                .filter(|(name, _)| is_json(name));
            let Some(found) = json.next().and_then(|(_, media)| media.get("schema")) else {
                return Ok(None);
            };
            match &schema {
                Some(other) if other.value != found.value => return Ok(None),
                _ => schema = Some(found),
            }
        }
        Ok(schema)
    }

    /// What the operation demands: alternatives, each the names of schemes that are needed together.
    pub(super) fn security(&self, document: &'d Document) -> Vec<Vec<&'d str>> {
        let own = self.node.get("security");
        let demanded = own.or_else(|| document.root().get("security"));
        let alternatives = demanded.iter().flat_map(Node::items);
        alternatives
            .map(|alternative| alternative.members().map(|(name, _)| name).collect())
            .collect()
    }

    /// Servers that are not those of the whole document.
    pub(super) fn servers(&self) -> Option<Node<'d>> {
        let own = self.node.get("servers");
        own.or_else(|| self.path_item.get("servers"))
    }
}

fn parameter<'d>(document: &'d Document, node: &Node<'d>) -> Result<Option<Parameter<'d>>> {
    let name = node.needed("name")?;
    let place = node.needed("in")?;
    let place = Place::of(place)
        .ok_or_else(|| node.wrong("`in` must be `path`, `query`, `header` or `cookie`"))?;
    // Source: OpenAPI 3.1.1, section 4.8.12.2.1: these are said elsewhere, and not by arguments.
    let elsewhere = ["accept", "content-type", "authorization", "cookie", "host"];
    if place == Place::Header && elsewhere.contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    let (schema, encoding) = match node.get("content") {
        Some(content) => {
            let (_, media) = content
                .members()
                .next()
                .ok_or_else(|| content.wrong("must name a media type"))?;
            let encoding = Encoding {
                style: Style::Json,
                explode: false,
            };
            (document.resolve(media)?.get("schema"), encoding)
        }
        None => (node.get("schema"), style(node, place)?),
    };
    Ok(Some(Parameter {
        name,
        place,
        required: place == Place::Path || node.is("required"),
        description: node.text("description")?,
        deprecated: node.is("deprecated"),
        schema,
        encoding,
    }))
}

/// How a parameter is written.
///
/// Source: OpenAPI 3.1.1, section 4.8.12.2.2.
fn style(node: &Node<'_>, place: Place) -> Result<Encoding> {
    let usual = match place {
        Place::Path | Place::Header => Style::Simple,
        Place::Query | Place::Cookie => Style::Form,
    };
    let style = match (place, node.text("style")?) {
        (_, None) => usual,
        (Place::Path | Place::Header, Some("simple")) => Style::Simple,
        (Place::Path, Some("label")) => Style::Label,
        (Place::Path, Some("matrix")) => Style::Matrix,
        (Place::Query | Place::Cookie, Some("form")) => Style::Form,
        (Place::Query, Some("spaceDelimited")) => Style::Space,
        (Place::Query, Some("pipeDelimited")) => Style::Pipe,
        (Place::Query, Some("deepObject")) => Style::Deep,
        (place, Some(_)) => {
            return Err(node.wrong(&format!(
                "`style` is none that a parameter in `{}` may have",
                place.as_str()
            )));
        }
    };
    let explode = match node.get("explode").map(|e| e.value) {
        Some(Value::Bool(explode)) => *explode,
        _ => style == Style::Form,
    };
    Ok(Encoding { style, explode })
}

/// How good a media type of a body is, the best first.
fn media_of(name: &str) -> Option<(u8, Media)> {
    let plain = essence(name);
    if plain == "application/json" {
        return Some((0, Media::Json(plain)));
    }
    if plain == "*/*" || plain == "application/*" {
        return Some((2, Media::Json("application/json".to_owned())));
    }
    if is_json(name) {
        return Some((1, Media::Json(plain)));
    }
    if plain == "application/x-www-form-urlencoded" {
        return Some((3, Media::Form));
    }
    if plain.starts_with("text/") && !plain.contains('*') {
        return Some((4, Media::Text(plain)));
    }
    None
}

/// A media type without its parameters.
pub(super) fn essence(name: &str) -> String {
    let essence = name.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Whether what has this media type is JSON.
///
/// Source: RFC 6839, section 3.1.
pub(super) fn is_json(name: &str) -> bool {
    let essence = essence(name);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}
